"""`POST /v1/scenes` and the jobs: results are those of `da3 auto`, and what is kept is bounded."""

from __future__ import annotations

import asyncio
import json
import sys
import time

import pytest

from depth_anything_3 import cli
from depth_anything_3.inference.views import GivenCameras
from depth_anything_3.services.server import scene_route
from support.images import jpeg
from support.serving import asking, grey_engine, grey_jpeg

VIEWS = [("images", (f"{name}.jpg", jpeg(120, 90, seed=number))) for number, name in enumerate("abc")]
SMALL = {"options": json.dumps({"process_res": 56, "formats": ["depth_png"]})}


async def until(condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        await asyncio.sleep(0.005)


async def ended(client, answer):
    """The description of a job once it has ended."""
    assert answer.status_code == 202, answer.text
    place = answer.json()["status_url"]
    assert answer.headers["Location"] == place
    found = {}

    async def asked():
        return (await client.get(place)).json()

    while not found or found["status"] in ("queued", "running"):
        found = await asked()
        await asyncio.sleep(0.01)
    return found


def is_taken(client):
    """Whether the scheduler has a scene, which waits or is computed."""
    scheduler = client.server.scheduler
    return scheduler._exclusive or scheduler._running


def scene(client, views=VIEWS, **more):
    return client.post("/v1/scenes", files=views, data=more or SMALL)


@pytest.fixture
def engine(monkeypatch):
    """An engine whose scenes hold the depth of the grey network; it waits at `gate`."""
    engine = grey_engine("da3-small")

    def infer(engine, sources, views, cameras):
        assert isinstance(cameras, GivenCameras)
        found = list(engine.stream(sources, scene_route_options(views), lambda failure: None))
        if not found:
            raise ValueError("nothing computed")
        return found[0]

    def scene_route_options(views):
        from depth_anything_3.inference.options import StreamOptions

        return StreamOptions(preprocess=views.preprocess)

    monkeypatch.setattr(scene_route, "infer_views", infer)
    yield engine
    engine.network.gate.set()


def test_results_are_the_files_of_the_command_byte_for_byte(seeded_small, small_checkpoint, tmp_path, monkeypatch):
    photos = tmp_path / "photos"
    photos.mkdir()
    for _, (name, data) in VIEWS:
        (photos / name).write_bytes(data)
    words = ["auto", photos, "--model-dir", small_checkpoint, "--device", "cpu", "--process-res", 98]
    words += ["--export-dir", tmp_path / "out", "--export-format", "glb-ply-npz-depth_png", "-q"]
    monkeypatch.setattr(sys, "argv", ["da3", *map(str, words)])
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert not left.value.code

    async def question(client):
        job = await ended(client, await scene(client, options=json.dumps({"process_res": 98})))
        assert job["status"] == "done", job
        urls = [url for found in job["results"].values() for url in ([found] if isinstance(found, str) else found)]
        files = {url.split("/results/")[1]: await client.get(url) for url in urls}
        folder = client.server.jobs.find(job["id"]).folder
        return job, files, folder, folder.stat().st_mode & 0o777, (await client.get("/v1/models")).json()

    job, files, folder, mode, model = asking(seeded_small, question)
    assert model["scenes"]
    assert sorted(job["results"]) == ["depth", "glb", "npz", "ply"]
    assert len(job["results"]["depth"]) == 3
    assert files["scene.glb"].headers["content-type"] == "model/gltf-binary"
    for name, answer in files.items():
        expected = (tmp_path / "out" / name).read_bytes()
        if name.endswith("npz"):  # it holds the paths of the images
            continue
        assert answer.content == expected, name
    assert mode == 0o700
    assert not folder.exists()
    assert not folder.parent.exists()


@pytest.mark.parametrize(
    ("parts", "status", "name"),
    [
        ({"files": VIEWS, "data": {"options": "nonsense"}}, 422, "invalid-request"),
        ({"files": VIEWS, "data": {"options": '{"proces_res": 1}'}}, 422, "invalid-request"),
        ({"files": VIEWS, "data": {"options": '{"process_res": "1"}'}}, 422, "invalid-request"),
        ({"files": VIEWS, "data": {"options": '{"formats": ["gs_video"]}'}}, 422, "invalid-request"),
        ({"files": VIEWS, "data": {"options": '{"formats": "glb"}'}}, 422, "invalid-request"),
        ({"files": VIEWS, "data": {"options": '{"num_max_points": 90000000}'}}, 422, "invalid-request"),
        ({"files": VIEWS, "data": {"options": '{"ref_view_strategy": "best"}'}}, 422, "invalid-request"),
        ({"files": VIEWS, "data": {"options": '{"process_res": 1000}'}}, 422, "invalid-request"),
        ({"files": VIEWS, "data": {"path": "/etc/passwd"}}, 400, "unknown-part"),
        ({"files": {"other": jpeg()}}, 400, "unknown-part"),
        ({"data": {"options": "{}"}, "files": [("images", (None, "text"))]}, 400, "no-images"),
        ({"files": [*VIEWS, *VIEWS]}, 413, "too-many-views"),
        ({"files": [("images", b"no image")]}, 415, "not-an-image"),
        ({"content": jpeg()}, 415, "not-a-form"),
    ],
)
def test_what_is_not_accepted_says_why(engine, parts, status, name):
    async def question(client):
        answer = await client.post("/v1/scenes", **parts)
        return answer, client.server.admission

    answer, admission = asking(engine, question, max_views=4, max_scene_pixels=1_000_000)
    assert (answer.status_code, answer.json()["type"]) == (status, f"urn:da3:error:{name}")
    assert (admission.requests, admission.pixels, admission.bytes) == (0, 0, 0)


def test_a_model_without_cameras_computes_no_scenes():
    async def question(client):
        return await scene(client), (await client.get("/v1/models")).json()["scenes"]

    answer, listed = asking(grey_engine(), question)
    assert (answer.status_code, answer.json()["type"], listed) == (422, "urn:da3:error:no-cameras", False)


def test_a_scene_waits_for_requests_before_it_and_lets_others_in_between(engine):
    async def question(client):
        depth = {"params": {"process_res": 56}, "headers": {"Accept": "application/json"}}
        engine.network.gate.clear()
        first = asyncio.ensure_future(client.post("/v1/depth", content=grey_jpeg(10), **depth))
        await until(lambda: client.server.admission.requests == 1)
        jobs = [await scene(client) for _ in range(2)]
        await until(lambda: is_taken(client))
        later = asyncio.ensure_future(client.post("/v1/depth", content=grey_jpeg(90), **depth))
        await until(lambda: client.server.admission.requests == 4)
        held = client.server.admission.bytes
        engine.network.gate.set()
        answers = await asyncio.gather(first, later)
        states = [(await ended(client, job))["status"] for job in jobs]
        await until(lambda: not client.server.admission.bytes)
        return held, answers, states, client.server.admission

    held, answers, states, admission = asking(engine, question)
    assert held > 2 * sum(len(data) for _, (_, data) in VIEWS)
    assert [one.status_code for one in answers] == [200, 200]
    assert states == ["done", "done"]
    assert (admission.requests, admission.pixels) == (0, 0)


def test_a_job_is_cancelled_deleted_and_forgotten(engine):
    async def question(client):
        engine.network.gate.clear()
        jobs = [(await scene(client)).json()["status_url"] for _ in range(2)]
        await until(lambda: is_taken(client))
        refused = await scene(client)
        deleted = [(await client.delete(url)).status_code for url in (jobs[1], jobs[0])]
        states = [(await client.get(url)).json()["status"] for url in jobs]
        engine.network.gate.set()
        await until(lambda: not client.server.admission.requests)
        gone = [(await client.delete(url)).status_code for url in jobs]
        missing = [(await client.get(url)).status_code for url in jobs]
        kept = await scene(client)
        done = await ended(client, kept)
        names = [(await client.get(f"{kept.json()['status_url']}/results/{name}")).status_code
                 for name in ("depth_png/0000.png", "../../etc/passwd", "%2e%2e/x", "nothing")]  # fmt: skip
        await client.delete(kept.json()["status_url"])
        return refused, deleted, states, gone, missing, done, names, len(client.server.jobs), client.server.jobs.bytes

    refused, deleted, states, gone, missing, done, names, left, size = asking(engine, question, max_jobs=2)
    assert (refused.status_code, refused.json()["type"]) == (429, "urn:da3:error:busy")
    assert deleted == gone == [204, 204]
    assert states == ["cancelled", "cancelled"]
    assert missing == [404, 404]
    assert done["bytes"] > 0
    assert names == [200, 404, 404, 404]
    assert (left, size) == (0, 0)


def test_results_are_kept_for_a_time_and_fill_a_bounded_storage(engine):
    async def question(client):
        first = await ended(client, await scene(client))
        refused = await scene(client)
        folder = client.server.jobs._root
        await until(lambda: not list(folder.iterdir()))  # without a request that asks for it
        return refused, (await client.get(f"/v1/jobs/{first['id']}")).status_code

    refused, missing = asking(engine, question, max_job_bytes=1, job_lifetime=0.3)
    assert (refused.status_code, missing) == (429, 404)
    assert 1 <= int(refused.headers["Retry-After"]) <= 2


def test_a_scene_that_fails_says_why_and_harms_no_other(engine):
    damaged = [("images", ("a.jpg", jpeg(120, 90)[:900]))]

    async def question(client):
        failed = await ended(client, await scene(client, damaged))
        engine.network.fault = None
        return failed, await ended(client, await scene(client))

    failed, done = asking(engine, question)
    assert (failed["status"], failed["results"], done["status"]) == ("failed", {}, "done")
    assert failed["error"]["type"].startswith("urn:da3:error:")
    assert "/" not in failed["error"]["detail"]


def test_jobs_that_are_not_finished_at_the_end_are_dropped(engine):
    async def question(client):
        engine.network.gate.clear()
        await scene(client)
        await until(lambda: is_taken(client))
        client.server.drain()
        refused = await scene(client)
        client.server.scheduler.abandon()
        await until(lambda: not client.server.admission.requests)
        engine.network.gate.set()
        return refused.status_code

    assert asking(engine, question) == 503
