"""`da3 plan`: its JSON turns a decoded image into the network's input, in other programs too."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from depth_anything_3.api import DepthAnything3
from depth_anything_3.diagnostics.synthetic import photo
from depth_anything_3.inputs.plan.resize_plan import plan_resize
from depth_anything_3.utils.io.input_processor import InputProcessor
from support.command import DONE, FAILURES, MISUSE
from support.images import encoded, exif_block, largest_difference, write
from support.markdown import Page
from support.tiny_graphs import METADATA, STATIC

ROOT = Path(__file__).parents[2]
NODE = shutil.which("node")
METHODS = ["upper_bound_resize", "upper_bound_crop", "lower_bound_resize", "lower_bound_crop"]
FOCAL_LENGTH_35MM = 0xA405


@pytest.fixture(scope="module")
def samples(tmp_path_factory) -> Path:
    """Images that are reduced, halved, enlarged, not resized, rotated, grey, and black and white noise."""
    folder = tmp_path_factory.mktemp("samples")
    noise = np.random.default_rng(0).integers(0, 2, (61, 83, 3), np.uint8) * 255
    images = {
        "reduced.png": encoded(photo(301, 233, 1), "PNG"),
        "halved.png": encoded(photo(168, 112, 2), "PNG"),
        "wide.png": encoded(photo(600, 119, 3), "PNG"),
        "enlarged.png": encoded(photo(37, 29, 4), "PNG"),
        "noise.png": encoded(noise, "PNG"),
        "exact.png": encoded(photo(84, 56, 5), "PNG"),
        "grey.jpg": encoded(Image.fromarray(photo(200, 150, 6)).convert("L"), "JPEG"),
        **{f"exif{n}.jpg": encoded(photo(211, 140, n), "JPEG", exif=exif_block(n)) for n in range(2, 9)},
    }
    for name, data in images.items():
        write(folder / name, data)
    return folder


def stored_pixels(path: Path) -> np.ndarray:
    """What a decoder returns that leaves the orientation alone."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def expected_input(path: Path, **options: object) -> np.ndarray:
    """(height, width, 3) uint8: the network's input by the package."""
    tensor, _, _ = InputProcessor()([path], perform_normalization=False, process_res=84, **options)
    return tensor[0].permute(1, 2, 0).numpy()


@pytest.fixture(scope="module")
def documented():
    """The functions of the page about exported models."""
    page = Page(ROOT / "docs" / "export-model.md")
    names: dict = {}
    code = next(one.text for one in page.fences if "def network_input" in one.text)
    exec(compile(code, str(page.path), "exec"), names)
    return names


@pytest.fixture
def plan_of(da3):
    """Runs the command and reads its JSON."""

    def plan(*arguments: object) -> dict:
        run = da3("plan", *arguments, "--json")
        assert (run.code, run.err) == (DONE, "")
        return json.loads(run.out)

    return plan


@pytest.mark.parametrize("method", METHODS)
def test_the_documented_code_computes_the_input_of_the_network(plan_of, documented, samples, method):
    plan = plan_of(samples, "--process-res", 84, "--process-res-method", method)
    assert [Path(one["file"]).name for one in plan["images"]] == sorted(one.name for one in samples.iterdir())
    differing = []
    for image in plan["images"]:
        found = documented["network_input"](stored_pixels(image["file"]), image, plan)
        expected = expected_input(image["file"], process_res_method=method)
        assert found.shape[:2] == tuple(image["target_hw"])
        assert largest_difference(found, expected) <= 1, image["file"]
        differing.append(np.mean(found != expected))
    assert max(differing) <= 1e-3  # sums near a tie, in another order or precision


def test_normalised_values_are_those_of_the_package(plan_of, documented, samples):
    plan = plan_of(samples / "reduced.png", "--process-res", 84)
    pixels = expected_input(samples / "reduced.png")
    expected, _, _ = InputProcessor()([samples / "reduced.png"], process_res=84)
    np.testing.assert_array_equal(documented["normalized"](pixels, plan), expected[0].numpy())


@pytest.mark.skipif(NODE is None, reason="needs node")
def test_the_javascript_example_computes_the_input_of_the_network(plan_of, samples, tmp_path):
    plan = plan_of(samples, "--process-res", 84)
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    for index, image in enumerate(plan["images"]):
        (tmp_path / f"{index}.rgb").write_bytes(stored_pixels(image["file"]).tobytes())
    module = (ROOT / "examples" / "javascript" / "network_input.mjs").as_uri()
    script = f"""
        import {{ readFileSync, writeFileSync }} from "node:fs";
        import {{ networkInput }} from {json.dumps(module)};
        const plan = JSON.parse(readFileSync("plan.json", "utf8"));
        plan.images.forEach((image, i) =>
            writeFileSync(`${{i}}.input`, networkInput(readFileSync(`${{i}}.rgb`), 3, image, plan)));
    """
    subprocess.run([NODE, "--input-type=module", "-e", script], check=True, cwd=tmp_path, timeout=60)
    for index, image in enumerate(plan["images"]):
        found = np.fromfile(tmp_path / f"{index}.input", np.uint8).reshape(*image["target_hw"], 3)
        assert largest_difference(found, expected_input(image["file"])) <= 1, image["file"]


def test_images_of_one_size_share_their_operators(plan_of, tmp_path):
    for seed in range(3):
        write(tmp_path / f"{seed}.png", encoded(photo(64, 48, seed), "PNG"))
    plan = plan_of(tmp_path, "--process-res", 56)
    assert len(plan["images"]) == 3
    assert len(plan["operators"]) == 2


def test_operators_of_a_4k_frame_are_compact(da3):
    run = da3("plan", "--source-size", "2160x3840", "--json")
    assert len(run.out) < 100_000
    plan = json.loads(run.out)
    image = plan["images"][0]
    assert (image["file"], image["source_hw"], image["target_hw"]) == (None, [2160, 3840], [280, 504])
    for operator in plan["operators"]:
        rows = np.split(np.array(operator["weights"]), np.cumsum(operator["count"])[:-1])
        np.testing.assert_allclose([one.sum() for one in rows], 1, atol=2e-3)  # OpenCV drops short overlaps
        assert (np.add(operator["start"], operator["count"]) <= operator["source_size"]).all()


def test_the_size_is_the_best_of_the_model(plan_of):
    assert plan_of("--source-size", "480x640", "--model-dir", "da3-nano")["images"][0]["target_hw"] == [168, 224]
    assert plan_of("--source-size", "480x640", "--model-dir", "da3-small")["process_res"] == 504


@pytest.mark.parametrize(("metadata", "process_res"), [(STATIC, 42), (METADATA, 504)], ids=["static", "dynamic"])
def test_the_size_is_that_of_an_exported_file(plan_of, monkeypatch, metadata, process_res):
    monkeypatch.setattr("depth_anything_3.jobs.plan.read_metadata", lambda path: metadata)
    assert plan_of("--source-size", "480x640", "--model-dir", "m.onnx")["process_res"] == process_res


def test_intrinsics_and_focal_length_are_those_of_a_prediction(plan_of, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    exif.get_ifd(0x8769)[FOCAL_LENGTH_35MM] = 26
    path = write(tmp_path / "a.jpg", encoded(photo(230, 150, 0), "JPEG", exif=exif))
    options = {"process_res": 56, "process_res_method": "upper_bound_crop"}
    image = plan_of(path, "--process-res", 56, "--process-res-method", "upper_bound_crop")["images"][0]
    camera = np.array([[200.0, 0, 75], [0, 210, 115], [0, 0, 1]])
    expected = plan_resize((150, 230), 56, "upper_bound_crop", exif_orientation=6).transform_intrinsics(camera)
    np.testing.assert_allclose(np.array(image["intrinsics_transform"]) @ camera, expected, rtol=1e-12)
    prediction = DepthAnything3.from_pretrained("da3-nano").depth(path, **options)
    known = prediction.focal_length()
    assert image["focal"]["pixels"] == pytest.approx(known.pixels[0])
    assert image["focal"]["origin"] == known.origins[0] == "Exif, 35 mm equivalent"


@pytest.mark.parametrize(
    ("flags", "pixels"), [(("--focal", 400), 35.0), (("--fov", 90), 28.0)], ids=["focal length", "field of view"]
)
def test_a_given_focal_length_is_converted_to_the_network(plan_of, flags, pixels):
    assert plan_of("--source-size", "320x640", "--process-res", 56, *flags)["images"][0]["focal"] == {
        "pixels": pytest.approx(pixels),
        "origin": "given focal length" if flags[0] == "--focal" else "given field of view",
        "doubt": "",
    }


def test_the_text_states_sizes_resizes_and_strategy(da3, samples):
    run = da3("plan", samples / "exif6.jpg", "--process-res", 84, "--process-res-method", "upper_bound_crop")
    assert run.code == DONE
    assert run.out.splitlines()[1:] == [
        "  height x width: JPEG, EXIF orientation 6, upright 211x140; network 84x56",
        "  resizes: area to 84x56; in passes: 1",
        "  intrinsics: fx, cx times 0.4; fy, cy times 0.398104",
        "  focal length: unknown; give --focal or --fov for metric depth",
        "  strategy: cpu, the network is on the CPU",
    ]


def test_an_unusable_image_is_reported_beside_the_others(da3, tmp_path):
    write(tmp_path / "a.png", encoded(photo(64, 48, 0), "PNG"))
    write(tmp_path / "b.jpg", b"\xff\xd8\xff")
    run = da3("plan", tmp_path, "--json")
    assert run.code == FAILURES
    assert "b.jpg: truncated or damaged JPEG" in run.err
    plan = json.loads(run.out)
    assert [Path(one["file"]).name for one in plan["images"]] == ["a.png"]
    assert plan["failures"] == [{"file": str(tmp_path / "b.jpg"), "error": run.err.removeprefix("failed: ").strip()}]
    run = da3("plan", tmp_path, "--on-error", "raise")
    assert (run.code, run.out) == (FAILURES, "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "give image files, or --source-size HxW, such as 1080x1920"),
        (("a.png", "--source-size", "9x9"), "give image files, or --source-size HxW, such as 1080x1920"),
        (("--source-size", "1080"), "--source-size 1080: give height and width in pixels, such as 1080x1920"),
        (("--source-size", "99x99", "--focal", "1", "--fov", "1"), "both given"),
    ],
    ids=["nothing", "both", "one number", "two focal lengths"],
)
def test_misuse_is_reported(da3, arguments, message):
    run = da3("plan", *arguments)
    assert run.code == MISUSE
    assert message in run.err
