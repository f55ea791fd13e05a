"""Depth at the size of the source image: its place, its edges, its cameras, and what is refused."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from depth_anything_3.api import DepthAnything3
from depth_anything_3.errors import InvalidInputError, ShapeMismatchError, UnsupportedError
from depth_anything_3.inputs.plan.resize_plan import plan_resize
from depth_anything_3.inputs.resample.normalize import MEAN, STD
from depth_anything_3.model.catalog import DepthKind
from depth_anything_3.prediction import Prediction
from depth_anything_3.prediction.metric import MetricConversion
from depth_anything_3.prediction.upsampling import Placement, Upsampler
from support.jobs import run_images

SMALL = {"process_res": 56}


def depth_of(image: np.ndarray) -> np.ndarray:
    """What the stand-in sees in an image: inverse depth is linear in its red and green."""
    red, green = image[..., 0] / 255.0, image[..., 1] / 255.0
    return 1 / (1 + red + 2 * green)


class Ramp(nn.Module):
    """A network whose depth is that of `depth_of`, with confidence 2 and sky where the image is blue."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def check_options(self, **options):
        """Takes what there is."""

    def forward(self, x, **options):
        mean, std = (torch.tensor(one).view(3, 1, 1) for one in (MEAN, STD))
        red, green, blue = (x * std + mean).unbind(dim=2)
        depth = 1 / (1 + red + 2 * green)
        return {"depth": depth, "sky": (blue > 0.5).float(), "depth_conf": torch.full_like(depth, 2.0)}


@pytest.fixture(scope="module")
def model() -> DepthAnything3:
    with torch.device("meta"):
        made = DepthAnything3("da3-small")
    made.model, made.model_name = Ramp(), "da3mono-large"
    return made


def ramp_image(height: int, width: int, blue: int = 0) -> np.ndarray:
    image = np.empty((height, width, 3), np.uint8)
    image[..., 0] = np.linspace(10, 240, width)
    image[..., 1] = np.linspace(10, 240, height)[:, None]
    image[..., 2] = blue
    return image


def png(image: np.ndarray, orientation: int = 1) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG", exif=exif)
    return file.getvalue()


@pytest.mark.parametrize("orientation", [1, 3, 6, 7])
@pytest.mark.parametrize("method", ["upper_bound_resize", "upper_bound_crop", "lower_bound_resize", "lower_bound_crop"])
def test_depth_lies_where_the_image_shows_it(model, method, orientation):
    """Every resize, crop and orientation: the depth of each pixel is that of its colour."""
    stored = ramp_image(180, 250)
    image = Image.open(io.BytesIO(png(stored, orientation)))
    upright = np.asarray(
        image
        if orientation == 1
        else Image.Image.transpose(
            image,
            {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE}[orientation],
        )
    )
    options = {"process_res": 68, "process_res_method": method, "output_size": "input"}
    (prediction,) = model.depth([png(stored, orientation)], upsampling="linear", **options)
    depth = prediction.depth[0]
    assert depth.shape == upright.shape[:2] == prediction.source_hw[0]
    assert (prediction.processed_images[0] == upright).all()
    shown = depth > 0
    plan = plan_resize(depth.shape, 68, method)
    assert shown.mean() == pytest.approx(np.prod(plan.result_hw) / np.prod(plan.resized_hw), rel=0.01)
    assert (prediction.conf[0][shown] == 2).all()
    assert (prediction.conf[0][~shown] == 1).all()
    inner = np.zeros_like(shown)
    inner[16:-16, 16:-16] = True  # at the border, colours are those of the outermost pixels of the network
    error = (depth / depth_of(upright) - 1)[inner & shown]
    assert np.abs(error).max() < 0.008, "two roundings to 8 bits"
    assert abs(error.mean()) < 0.001, "a pixel further, depth differs by 1.4 %"


def test_cameras_come_back_as_given_also_after_padding(model):
    images = [ramp_image(100, 200), ramp_image(100, 200)]
    given = np.array([[[150, 0, 90], [0, 140, 60], [0, 0, 1]]] * 2, np.float32)
    prediction = model.inference(images, intrinsics=given, process_res=58, process_res_method="lower_bound_crop")
    assert prediction.source_offset == ((-1, -2), (-1, -2))
    enlarged = prediction.at_input_size(images)
    np.testing.assert_allclose(enlarged.intrinsics, given, rtol=1e-5)
    assert (enlarged.source_scale, enlarged.source_offset) == (((1.0, 1.0),) * 2, ((0, 0),) * 2)
    assert enlarged.at_input_size() is enlarged


@pytest.mark.parametrize("mixed", ["crop", "pad"])
def test_views_that_were_cropped_or_padded_to_one_size_find_their_place(model, mixed):
    """Sources of one size cannot mix; the place of each view is checked alone."""
    images = [ramp_image(100, 200), ramp_image(200, 100)]
    both = model.inference(images, mixed_sizes=mixed, **SMALL)
    for view, image in enumerate(images):
        one = replace(
            both,
            **{name: getattr(both, name)[view : view + 1] for name in ("depth", "conf", "sky", "processed_images")},
            **{name: getattr(both, name)[view : view + 1] for name in ("sources", "source_hw", "source_scale")},
            source_offset=both.source_offset[view : view + 1],
        )
        depth = one.at_input_size([image], upsampling="linear").depth[0]
        shown = depth > 0
        assert shown.all() if mixed == "pad" else 0.4 < shown.mean() < 0.6
        shown[:8], shown[-8:], shown[:, :8], shown[:, -8:] = (False,) * 4
        assert np.abs(depth / depth_of(image) - 1)[shown].max() < 0.015


@pytest.mark.parametrize("focal", [{"focal": 900.0}, {"fov": 60.0}], ids=["focal", "fov"])
def test_metric_depth_is_the_same_before_and_after(model, focal):
    (small,) = model.depth([ramp_image(120, 150)], **SMALL)
    small = replace(small, depth_kind=DepthKind.CANONICAL)
    image = ramp_image(120, 150)
    large = small.at_input_size([image])
    converted, _ = MetricConversion(**focal).apply(small)
    expected = converted.at_input_size([image])
    np.testing.assert_allclose(large.metric_depth(**focal), expected.depth, rtol=1e-5)
    np.testing.assert_allclose(MetricConversion(**focal).apply(large)[0].intrinsics, expected.intrinsics, rtol=1e-5)


def placement(source_hw: tuple[int, int], map_hw: tuple[int, int]) -> Placement:
    return Placement(source_hw, (map_hw[0] / source_hw[0], map_hw[1] / source_hw[1]), (0, 0))


@pytest.mark.parametrize("guided", [False, True])
def test_undefined_depth_does_not_spread(guided):
    depth = np.full((20, 24), 4.0, np.float32)
    depth[5:10, 6:12] = 0
    depth[0, 0], depth[19, 23] = np.nan, np.inf
    guide = np.random.default_rng(0).integers(0, 255, (200, 240, 3), np.uint8) if guided else None
    found = Upsampler(placement((200, 240), depth.shape), guide).depth(depth)
    undefined = np.zeros((200, 240), bool)
    undefined[50:100, 60:120] = undefined[:10, :10] = undefined[190:, 230:] = True
    np.testing.assert_allclose(found[~undefined], 4.0, rtol=1e-5)
    assert (found[undefined] == 0).all()


def test_depth_without_a_defined_pixel_stays_undefined():
    guide = np.zeros((40, 40, 3), np.uint8)
    assert (Upsampler(placement((40, 40), (14, 14)), guide).depth(np.zeros((14, 14), np.float32)) == 0).all()


def blurred_step(position: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """An image with an edge at a column, its true depth, and depth at an eighth of its size."""
    truth = np.where(np.arange(320) < position, 1.0, 4.0)[None].repeat(240, axis=0)
    image = np.where(truth[..., None] < 2, (200, 60, 40), (70, 120, 110))
    noise = np.random.default_rng(0).normal(0, 3, image.shape)
    inverse = (1 / truth).reshape(30, 8, 40, 8).mean(axis=(1, 3))
    return np.clip(image + noise, 0, 255).astype(np.uint8), truth, (1 / inverse).astype(np.float32)


@pytest.mark.parametrize("position", [157, 160, 163])
def test_edges_follow_the_image(position):
    image, truth, depth = blurred_step(position)
    where = placement(truth.shape, depth.shape)
    near = slice(position - 8, position + 8)
    guided, linear = (
        np.abs(Upsampler(where, guide).depth(depth) / truth - 1)[:, near].mean() for guide in (image, None)
    )
    assert guided < 0.35 * linear
    assert np.abs(Upsampler(where, image).depth(depth) / truth - 1)[:, : position - 40].max() < 0.03


def test_sky_follows_the_image_too():
    image, truth, depth = blurred_step(163)
    found = Upsampler(placement(truth.shape, depth.shape), image).sky(depth > 2)
    assert (found == (truth > 2)).mean() > 0.995


def test_an_image_smaller_than_the_network_sees_is_averaged(model):
    image = ramp_image(30, 40)
    (prediction,) = model.depth([image], process_res=112, output_size="input")
    assert prediction.depth.shape == (1, 30, 40)
    assert np.abs(prediction.depth[0] / depth_of(image) - 1)[2:-2, 2:-2].max() < 0.02


def test_an_array_needs_its_pixels_or_linear_interpolation(model):
    image = ramp_image(60, 80)
    (prediction,) = model.depth([image], **SMALL)
    with pytest.raises(InvalidInputError, match="pass images=, or upsampling='linear'"):
        prediction.at_input_size()
    assert (prediction.at_input_size(image).processed_images[0] == image).all()  # one image need not be in a list
    enlarged = prediction.at_input_size(upsampling="linear")
    assert np.abs(enlarged.processed_images[0].astype(int) - image)[4:-4, 4:-4].max() <= 3
    with pytest.raises(InvalidInputError, match=r"80x61 pixels, but the depth of image 0 .* from 80x60"):
        prediction.at_input_size([ramp_image(61, 80)])
    with pytest.raises(InvalidInputError, match=r"images has 2 image\(s\), but the prediction has 1"):
        prediction.at_input_size([image, image])
    with pytest.raises(InvalidInputError, match="upsampling='cubic' is unknown"):
        prediction.at_input_size([image], upsampling="cubic")
    with pytest.raises(InvalidInputError, match="does not hold the size of its source images"):
        Prediction(depth=prediction.depth).at_input_size([image])


def test_views_of_different_sizes_are_refused_before_the_network_runs(model, monkeypatch):
    monkeypatch.setattr(Ramp, "forward", None)
    with pytest.raises(ShapeMismatchError, match="do not form one array; keep output_size='network'"):
        model.inference([ramp_image(60, 80), ramp_image(80, 60)], output_size="input", **SMALL)


def test_a_processor_of_the_caller_reports_no_sizes(model):
    model.input_processor = lambda images, *_: (torch.zeros(len(images), 3, 56, 56), None, None)
    try:
        with pytest.raises(UnsupportedError, match="use output_size='network'"):
            model.depth([ramp_image(60, 80)], output_size="input")
    finally:
        model.input_processor = None


def test_a_stream_enlarges_each_image_by_its_own_pixels(model, tmp_path):
    """Arrays, files and bytes in any order of sizes, with a failure between them."""
    arrays = [ramp_image(60 + 4 * number, 80) for number in range(6)]
    (tmp_path / "a.png").write_bytes(png(arrays[1]))
    inputs = [arrays[0], tmp_path / "a.png", b"not an image", arrays[2], png(arrays[3]), Image.fromarray(arrays[4])]
    failures = []
    found = list(model.stream(iter(inputs), output_size="input", on_error="skip", on_failure=failures.append, **SMALL))
    assert [one.index for one in failures] == [2]
    for prediction, image in zip(found, arrays[:5], strict=True):
        assert (prediction.processed_images[0] == image).all()
        assert prediction.seconds["upsample"] > 0


def test_a_file_that_is_gone_fails_alone(model, tmp_path, monkeypatch):
    paths = [tmp_path / f"{name}.png" for name in "ab"]
    for path in paths:
        path.write_bytes(png(ramp_image(60, 80)))
    forward = Ramp.forward

    def forward_and_delete(self, x, **options):
        paths[0].unlink(missing_ok=True)
        return forward(self, x, **options)

    monkeypatch.setattr(Ramp, "forward", forward_and_delete)
    failures = []
    given = [b"no image", *paths]
    (left,) = model.depth(given, output_size="input", on_error="skip", on_failure=failures.append, **SMALL)
    assert left.sources == (str(paths[1]),)
    assert [(one.index, one.label) for one in failures[1:]] == [(1, str(paths[0]))]


def test_jobs_write_results_at_the_size_of_the_input(model, tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(png(ramp_image(60, 80)))
    options = {"output_size": "input", **SMALL}
    run_images(model, [path], tmp_path / "images", "depth_png", **options)
    with Image.open(tmp_path / "images/depth_png/a.png") as written:
        assert written.size == (80, 60)
    with pytest.raises(InvalidInputError, match="upsampling=guided, now linear"):
        run_images(model, [path], tmp_path / "images", "depth_png", resume=True, upsampling="linear", **options)
    again = run_images(model, [path], tmp_path / "images", "depth_png", resume=True, **options)
    assert (again.images, again.skipped) == (0, 1)


def test_frames_of_a_video_are_enlarged_by_their_pixels(model, tmp_path):
    frames = [ramp_image(60, 80), ramp_image(60, 80)[:, ::-1].copy()]
    found = list(model.stream_video(frames, output_size="input", temporal="ema", **SMALL))
    assert [one.depth.shape for _, one in found] == [(1, 60, 80)] * 2
    assert all((one.processed_images[0] == frame.image).all() for frame, one in found)
