"""`POST /v1/depth`: its results are those of `da3 image`, and its errors say what to do."""

from __future__ import annotations

import asyncio
import io
import json
import sys
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image

from depth_anything_3 import cli
from depth_anything_3.api import DepthAnything3
from depth_anything_3.inputs.image_source import ImageSource
from depth_anything_3.inputs.options import PreprocessOptions
from depth_anything_3.prediction import Prediction
from depth_anything_3.services.server.results import ResultOptions, choose_media_type, encode
from support.corpus.cases import corpus
from support.corpus.damaged import bombs, non_images
from support.images import encoded, exif_block, jpeg
from support.serving import asking, depth_of, grey_engine, grey_jpeg

FILES = {
    "image/png": ("depth_png", "png"),
    "application/x-npz": ("npz", "npz"),
    "image/x-exr": ("exr", "exr"),
    "image/tiff": ("tiff", "tiff"),
}


@pytest.fixture(scope="module")
def nano():
    return DepthAnything3.from_pretrained("da3-nano", device="cpu")


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    path = tmp_path_factory.mktemp("photo") / "photo.jpg"
    path.write_bytes(jpeg(150, 100, exif=exif_block(6)))
    return path


def run_image(photo, out, *flags, formats):
    """The files of `da3 image`, by format."""
    words = ["da3", "-q", "image", str(photo), "--model-dir", "da3-nano", "--device", "cpu", "--process-res", "98"]
    words = ["da3", "image", *words[3:], "--export-dir", str(out), "--export-format", "-".join(formats), *flags, "-q"]
    before, sys.argv = sys.argv, words
    try:
        with pytest.raises(SystemExit) as left:
            cli.main()
    finally:
        sys.argv = before
    assert not left.value.code
    return {path.parent.name: path.read_bytes() for path in out.glob("*/photo.*")}


@pytest.mark.parametrize("size", ["network", "input"])
def test_results_are_the_files_of_the_command_byte_for_byte(nano, photo, tmp_path, size):
    formats = [name for name, _ in FILES.values()]
    expected = run_image(photo, tmp_path, "--output-size", size, formats=[*formats, "depth_color"])

    async def question(client):
        found = {}
        for kind in (*FILES, "image/jpeg", "application/octet-stream", "application/json"):
            answer = await client.post(
                "/v1/depth",
                files={"image": ("C:\\photos\\photo.jpg", photo.read_bytes())},
                params={"process_res": 98, "output_size": size},
                headers={"Accept": kind},
            )
            assert (answer.status_code, answer.headers["content-type"]) == (200, kind)
            found[kind] = answer
        return found

    found = asking(nano, question)
    for kind, (name, _) in FILES.items():
        assert found[kind].content == expected[name], kind
    colors = Image.open(io.BytesIO(expected["depth_color"]))
    assert found["image/jpeg"].content == encoded(colors.convert("RGB"), "JPEG", quality=95)

    headers = found["application/octet-stream"].headers
    height, width = map(int, headers["X-Depth-Shape"].split(","))
    raw = np.frombuffer(found["application/octet-stream"].content, "<f4").reshape(height, width)
    exact = np.asarray(Image.open(io.BytesIO(expected["tiff"])))
    np.testing.assert_array_equal(raw, exact)
    assert (height, width) == ((150, 100) if size == "input" else (98, 70))
    assert (headers["X-Image-Size"], headers["X-Depth-Unit"], headers["X-Model"]) == ("100,150", "relative", "da3-nano")
    assert (float(headers["X-Depth-Min"]), float(headers["X-Depth-Max"])) == (raw.min(), raw.max())
    png = found["image/png"]
    values = np.asarray(Image.open(io.BytesIO(png.content)))
    np.testing.assert_allclose(values * float(png.headers["X-Depth-Scale"]), raw, atol=1e-4)
    summary = json.loads(found["application/json"].content)
    assert (summary["height"], summary["width"], summary["min"]) == (height, width, raw.min())


def test_a_raw_body_and_a_form_give_the_same(nano):
    async def question(client):
        raw = await client.post("/v1/depth", content=jpeg(), params={"process_res": 56})
        form = await client.post("/v1/depth", files={"file": jpeg()}, params={"process_res": 56})
        return raw, form

    raw, form = asking(nano, question)
    assert (raw.status_code, raw.headers["content-type"]) == (200, "image/png")
    assert raw.content == form.content


def test_clients_with_images_of_many_sizes_get_the_depth_of_their_own_image():
    engine = grey_engine()
    sizes = [(56, 42), (42, 56), (84, 56), (60, 60), (200, 42)]
    asked = [(level, *sizes[level % len(sizes)]) for level in range(0, 160, 4)]

    async def question(client):
        async def one(level, width, height):
            params = {"process_res": 56 if level % 3 else 42, "fidelity": "fast" if level % 2 else "exact"}
            image = grey_jpeg(level, width, height)
            return await client.post(
                "/v1/depth", content=image, params=params, headers={"Accept": "application/octet-stream"}
            )

        return await asyncio.gather(*(one(*each) for each in asked))

    for (level, _, _), answer in zip(asked, asking(engine, question, batch_size="4"), strict=True):
        assert answer.status_code == 200
        depth = np.frombuffer(answer.content, "<f4")
        np.testing.assert_allclose(depth, depth_of(level), atol=0.02)
    assert max(shape[0] for shape in engine.network.batches) > 1


CALLS = {
    "empty": ({"content": b""}, 400, "empty-body"),
    "text": ({"content": b"hello world, this is no image"}, 415, "not-an-image"),
    "damaged": ({"content": jpeg()[:700]}, 422, "damaged-image"),
    "damaged header": ({"content": jpeg()[:20]}, 422, "damaged-image"),
    "a form without a file": ({"files": {"picture": jpeg()}}, 400, "no-image"),
    "two files": ({"files": [("image", jpeg()), ("file", jpeg())]}, 400, "damaged-form"),
    "damaged form": (
        {"content": b"--x\r\nnonsense", "headers": {"content-type": "multipart/form-data; boundary=x"}},
        400,
        "no-image",
    ),
    "no boundary": ({"content": b"--x", "headers": {"content-type": "multipart/form-data"}}, 400, "damaged-form"),
    "unknown parameter": ({"content": jpeg(), "params": {"proces_res": 56}}, 422, "invalid-request"),
    "no number": ({"content": jpeg(), "params": {"process_res": "big"}}, 422, "invalid-request"),
    "unknown value": ({"content": jpeg(), "params": {"fidelity": "best"}}, 422, "invalid-request"),
    "focal": ({"content": jpeg(), "params": {"focal": "nan"}}, 422, "invalid-request"),
    "too fine": ({"content": jpeg(), "params": {"process_res": 5000}}, 422, "invalid-request"),
    "accept": ({"content": jpeg(), "headers": {"accept": "text/html"}}, 406, "not-acceptable"),
    "pixels": ({"content": jpeg(400, 300)}, 413, "too-many-pixels"),
    "bytes": ({"content": bytes(30_001)}, 413, "body-too-large"),
    "result": ({"content": jpeg(300, 200), "params": {"output_size": "input"}}, 422, "invalid-request"),
    "method": ({"method": "GET"}, 405, "wrong-method"),
    "path": ({"url": "/v1/nothing"}, 404, "not-found"),
}


def test_errors_are_problems_with_a_name_and_our_class(nano):
    async def question(client):
        found = {}
        for name, (call, *_) in CALLS.items():
            found[name] = await client.request(**{"method": "POST", "url": "/v1/depth", **call})
        return found

    found = asking(nano, question, max_body_bytes=30_000, max_pixels=100_000, max_output_pixels=50_000)
    for name, (_, status, kind) in CALLS.items():
        answer = found[name]
        assert answer.headers["content-type"] == "application/problem+json", name
        problem = answer.json()
        assert (name, answer.status_code, problem["type"]) == (name, status, f"urn:da3:error:{kind}")
        assert (problem["status"], bool(problem["title"]), bool(problem["detail"])) == (status, True, True)
    assert found["damaged"].json()["error"] == "ImageDecodeError"
    assert "did you mean process_res?" in found["unknown parameter"].json()["detail"]
    assert "text" in found["text"].json()["detail"]


def test_a_body_of_unknown_length_is_refused_as_soon_as_it_is_too_long(nano):
    sent = []

    async def endless():
        while len(sent) < 100:
            sent.append(1)
            yield bytes(1000)

    async def question(client):
        return await client.post("/v1/depth", content=endless())

    assert asking(nano, question, max_body_bytes=20_000).status_code == 413
    assert len(sent) == 21 + 20  # and as much is discarded, so that the client reads the answer


def test_canonical_depth_becomes_metres_with_a_focal_length():
    async def question(client):
        ask = {"content": grey_jpeg(100), "params": {"process_res": 56}, "headers": {"Accept": "application/json"}}
        return [
            await client.post("/v1/depth", **{**ask, "params": {"process_res": 56, **more}})
            for more in ({}, {"focal": 600})
        ]

    without, with_focal = asking(grey_engine("da3metric-large"), question)
    assert without.headers["X-Depth-Unit"] == "canonical"
    assert "focal" in unquote(without.headers["X-Warnings"])
    assert "X-Depth-Intrinsics" not in without.headers
    assert with_focal.headers["X-Depth-Unit"] == "metres"
    assert with_focal.json()["min"] == pytest.approx(2 * without.json()["min"])
    assert with_focal.headers["X-Depth-Intrinsics"] == "600.0,600.0,28.0,21.0"


def test_intrinsics_are_the_predicted_ones_unless_a_focal_length_is_given():
    camera = np.array([[50, 0, 27], [0, 52, 20], [0, 0, 1]], np.float32)
    prediction = Prediction(
        depth=np.full((1, 42, 56), 2, np.float32),
        intrinsics=camera[None],
        source_hw=((84, 112),),
        source_scale=((0.5, 0.5),),
        sources=("image",),
    )
    found = [
        encode(
            prediction,
            ImageSource("image", b""),
            PreprocessOptions(),
            ResultOptions(media_type="application/json", focal=focal),
        )
        for focal in (None, 90.0)
    ]
    assert [one.headers["X-Depth-Intrinsics"] for one in found] == ["50.0,52.0,27.0,20.0", "45.0,45.0,28.0,21.0"]


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("*/*", "image/png"),
        ("image/*", "image/png"),
        ("application/*", "application/x-npz"),
        ("image/png;q=0.2, image/tiff", "image/tiff"),
        ("image/png;q=0, image/*;q=0.5", "image/x-exr"),
        ("text/html, */*;q=0.1", "image/png"),
        ("IMAGE/JPEG", "image/jpeg"),
        ("", "image/png"),
    ],
)
def test_the_accept_header_chooses_the_format(accept, kind):
    assert choose_media_type(accept) == kind


def hostile(cases):
    async def question(client):
        return [await client.post("/v1/depth", content=case.data, params={"process_res": 28}) for case in cases]

    for case, answer in zip(cases, asking(grey_engine(), question, max_pixels=1 << 20), strict=True):
        refused = {400, 413, 415, 422} if case.pixels is None else {200, 413, 422}
        assert answer.status_code in refused, (str(case), answer.text)
        assert "Traceback" not in answer.text


def test_hostile_files_do_no_harm():
    hostile([*bombs(), *non_images()])


@pytest.mark.slow
def test_images_may_be_decoded_in_processes():
    async def question(client):
        good = client.post("/v1/depth", content=grey_jpeg(90), headers={"Accept": "application/json"})
        bad = client.post("/v1/depth", content=jpeg()[:700])
        return await asyncio.gather(good, bad)

    good, bad = asking(grey_engine(), question, executor="process")
    assert (good.status_code, bad.status_code) == (200, 422)
    assert good.json()["min"] == pytest.approx(depth_of(90), abs=0.02)


@pytest.mark.slow
def test_the_whole_hostile_corpus_does_no_harm():
    hostile(corpus())
