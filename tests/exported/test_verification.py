"""Verification finds graphs that compute something else than the network, and passes those that do not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from depth_anything_3.errors import InvalidInputError
from depth_anything_3.exported.reference import NetworkReference, StoredReference, store_reference
from depth_anything_3.exported.runtimes.installed import read_metadata
from depth_anything_3.exported.specification import GraphMetadata
from depth_anything_3.exported.verification import verify_graphs
from depth_anything_3.exported.verification_inputs import (
    CORNER_SIZES,
    GraphShape,
    VerificationImages,
    bundled_images,
    corners,
)
from depth_anything_3.inference.export_model import export_network, parse_specification
from depth_anything_3.model.catalog import MODEL_CARDS, DepthKind, ModelCard
from depth_anything_3.model.network import DepthAnything3Net
from support.fake_graphs import FakeGraph
from support.seeded_values import seeded_images_uint8
from support.tiny_networks import TINY_METRIC, seeded

IMAGES = VerificationImages(list(seeded_images_uint8(3, 28, 42, seed=1)))


class Brightness(nn.Module):
    """A network whose depth is the brightness of a pixel and, a little, that of all views of its scene."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(0.1))

    def forward(self, x):
        depth = 1 + self.scale * (x.mean(2) + 0.1 * x.mean((1, 2, 3, 4))[:, None, None, None])
        poses = x.mean((3, 4))[..., None].expand(*x.shape[:2], 3, 4)
        return {"depth": depth, "depth_conf": depth + 1, "sky": x[:, :, 0] * 0.25, "extrinsics": poses}


def described(**values):
    standard = {"model": "da3-nano", "licence": "Apache-2.0", "depth_unit": "relative", "weights_sha256": "0"}
    standard |= {"size_hw": (28, 42), "dynamic": "none", "views": 1, "dtype": "float32", "input": "normalised"}
    return GraphMetadata.from_json(GraphMetadata(**{**standard, "outputs": ("depth",), **values}).to_json())


def verified(change=lambda found: None, preset="da3-nano", images=IMAGES, **values):
    graph = FakeGraph(described(**values), Brightness(), change)
    return verify_graphs([graph], NetworkReference(Brightness(), MODEL_CARDS[preset]), images, lambda line: None)


def problems(*arguments, **values):
    return [one.problem for one in verified(*arguments, **values) if one.problem is not None]


def scale(factor, name="depth"):
    def change(found):
        found[name] *= np.float32(factor)

    return change


def poison(value):
    def change(found):
        found["depth"][0, 3, 4] = value

    return change


def swap_batch(found):
    found["depth"] = found["depth"][::-1]


def swap_views(found):
    found["depth"] = found["depth"][:, ::-1]


def drop(found):
    del found["depth"]


def flatten(found):
    found["depth"] = found["depth"][..., 0]


def fail(found):
    raise RuntimeError("\nno kernel for this operator\nat line 3")


VIEWS = {"outputs": ("depth", "conf", "extrinsics"), "views": "dynamic", "dynamic": "batch"}


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"dynamic": "batch", "input": "uint8"},
        {"outputs": ("depth", "sky"), "input": "uint8"},
        VIEWS,
        {"views": 3, "outputs": ("depth", "conf")},
        {"views": 2, "input": "uint8"},
    ],
    ids=str,
)
def test_a_graph_that_computes_the_same_passes(values):
    cases = verified(**values)
    assert [one.problem for one in cases if one.problem] == []
    assert {one.output.value for one in cases} == set(values.get("outputs", ["depth"]))
    assert max(one.max_error for one in cases) < 1e-6


@pytest.mark.parametrize(
    ("change", "values", "problem"),
    [
        (scale(1.001), {}, "largest relative error 1.0e-03, limit 1e-04"),
        (poison(np.nan), {}, "1 of 1176 values are NaN or infinite"),
        (poison(np.inf), {"dtype": "float16"}, "1 of 1176 values are NaN or infinite"),
        (poison(1.5), {}, "largest relative error"),
        (swap_batch, {"dynamic": "batch"}, "largest relative error"),
        (swap_views, {"views": 2}, "largest relative error"),
        (drop, {}, "missing; the graph returned "),
        (flatten, {}, "shape (1, 1, 28), with an axis of views, instead of (1, 1, 28, 42)"),
        (fail, {}, "RuntimeError: no kernel for this operator"),
        (scale(1.002), {"dtype": "float16"}, "AbsRel 2.0e-03, limit 1e-03"),
        (scale(1.02), {"dtype": "bfloat16"}, "AbsRel 2.0e-02, limit 1e-02"),
        (scale(1.1, "extrinsics"), {**VIEWS, "dtype": "float16"}, "mean relative error"),
    ],
    ids=lambda one: getattr(one, "__name__", None) or str(one)[:30],
)
def test_a_graph_that_computes_something_else_fails(change, values, problem):
    assert [one for one in problems(change, **values) if problem in one]


@pytest.mark.parametrize(
    ("change", "dtype"), [(scale(1.00005), "float32"), (scale(1.0005), "float16"), (scale(1.005), "bfloat16")]
)
def test_rounding_passes(change, dtype):
    assert problems(change, dtype=dtype) == []


def test_metres_are_those_of_the_given_focal_length():
    metric = {"preset": "da3metric-large", "depth_unit": "metres", "dynamic": "batch", "takes_focal": True}
    assert problems(**metric) == []
    assert problems(**{**metric, "takes_focal": False})  # a graph that leaves the focal length out


def test_pixels_that_rounding_makes_sky_are_not_compared():
    image = np.full((28, 42, 3), 120, np.uint8)
    image[:, :40, 0] = 10  # the rest has sky near 0.3
    image[:, 40:, 0] = 195

    def flicker(found):
        found["depth"][..., 40:] = 9

    images = VerificationImages([image])
    edge = float(images.inputs(GraphShape((28, 42), 1, 1)).normalized()[0, 0, 0, 0, -1]) * 0.25
    assert abs(edge - 0.3) < 3e-2
    assert problems(flicker, images=images, dtype="float16", outputs=("depth", "sky")) == []
    assert problems(flicker, images=images, dtype="float32", outputs=("depth", "sky")) != []


def test_a_dynamic_graph_is_verified_at_every_corner():
    found = corners(described(dynamic="all"))
    assert {one.size_hw for one in found if one.batch == 1} == {(28, 42), *CORNER_SIZES}
    assert {one.size_hw for one in found if one.batch == 3} == {(28, 42), (14, 14), (1008, 560)}
    assert {(one.batch, one.views) for one in corners(described(views="dynamic", dynamic="batch"))} == {
        (batch, views) for batch in (1, 3) for views in (1, 2, 3, 5)
    }
    assert corners(described()) == (GraphShape((28, 42), 1, 1),)


def test_images_fill_any_shape_and_differ():
    inputs = IMAGES.inputs(GraphShape((42, 14), 3, 5))
    assert inputs.pixels.shape == (3, 5, 42, 14, 3)
    assert len({one.tobytes() for one in inputs.pixels.reshape(15, -1)}) == 15
    assert len(set(inputs.focal_px.ravel().tolist())) == 15
    assert str(inputs.shape) == "42x14, batch 3, 5 views"


def test_no_image_is_an_error():
    with pytest.raises(InvalidInputError, match="give at least one"):
        VerificationImages([])


def test_the_bundled_images_are_there():
    assert [one.name for one in bundled_images()] == ["hall.jpg", "street.jpg", "table.jpg"]


def stored(images=IMAGES):
    reference = NetworkReference(Brightness(), MODEL_CARDS["da3-nano"])
    return StoredReference.from_text(store_reference(reference, images.inputs(GraphShape((28, 42), 1, 3))))


@pytest.mark.parametrize(
    ("change", "wrong"), [(scale(1.00001), False), (scale(1.001), True), (swap_views, True), (flatten, True)]
)
def test_stored_results_find_a_wrong_graph(change, wrong):
    cases = verify_graphs(
        [FakeGraph(described(views=3, outputs=("depth", "conf")), Brightness(), change)],
        stored(),
        IMAGES,
        lambda line: None,
    )
    assert [one.output.value for one in cases] == ["depth"]
    assert any(one.problem for one in cases) == wrong


def test_stored_results_of_slightly_other_pixels_are_compared_with_a_wider_limit():
    nearly = [np.clip(one.astype(np.int16) + 1, 0, 255).astype(np.uint8) for one in seeded_images_uint8(3, 28, 42, 1)]
    graph = FakeGraph(described(views=3), Brightness())
    (case,) = verify_graphs([graph], stored(), VerificationImages(nearly), lambda line: None)
    assert (case.problem, case.limit) == (None, 1e-2)
    assert case.mean_error > 1e-4


def test_damaged_stored_results_are_an_error():
    with pytest.raises(InvalidInputError, match="stored results"):
        StoredReference.from_text('{"size_hw": [28, 42]}')


@pytest.mark.slow
def test_a_real_export_is_verified(tmp_path):
    card = ModelCard(TINY_METRIC, "Apache-2.0", DepthKind.CANONICAL)
    network = seeded(lambda: DepthAnything3Net(TINY_METRIC))
    specification = parse_specification(tmp_path / "tiny.pt2", card, {"size": "42x28", "input": "uint8"})
    steps = []
    found = export_network(network, card, specification, tmp_path / "tiny.pt2", True, steps.append)
    assert found.problems == ()
    assert {one.output.value for one in found.cases} == {"depth", "sky"}
    assert [one.name for one in tmp_path.iterdir()] == ["tiny.pt2"]
    assert read_metadata(tmp_path / "tiny.pt2") == found.metadata
    assert StoredReference.from_text(found.metadata.reference).depth.shape == (1, 1, 32, 28)
    assert len(steps) == 3
