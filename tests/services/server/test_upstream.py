"""Upstream's routes: paths only inside the allowed folders, and the fields of its answers."""

from __future__ import annotations

import asyncio
import os

import pytest

from depth_anything_3.services.server.allowed_paths import confined, resolve_folders
from depth_anything_3.services.server.problems import Problem
from support.images import jpeg
from support.serving import asking, grey_engine


@pytest.fixture
def folder(tmp_path):
    """The allowed folder, with two images; a secret and a link to it are beside and inside."""
    inside = tmp_path / "allowed"
    inside.mkdir()
    for name in "ab":
        (inside / f"{name}.jpg").write_bytes(jpeg(84, 56, seed=ord(name)))
    (tmp_path / "secret.jpg").write_bytes(jpeg(84, 56))
    (inside / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    (inside / "out-link").symlink_to(tmp_path)
    (tmp_path / "allowed-too").mkdir()
    return inside


def body(folder, **more):
    paths = [str(folder / "a.jpg"), str(folder / "b.jpg")]
    return {"image_paths": paths, "export_dir": str(folder / "out"), "export_format": "npz", "process_res": 56} | more


def ask(question, engine=None, folder=None, **settings):
    allowed = resolve_folders([folder]) if folder else ()
    return asking(engine or grey_engine("da3-small"), question, upstream=True, allow_paths=allowed, **settings)


@pytest.mark.parametrize(
    "path",
    ["../secret.jpg", "link.jpg", "out-link/secret.jpg", "../allowed-too/a.jpg", "../nothing",
     "../allowed/../secret.jpg"],
)  # fmt: skip
def test_paths_outside_are_refused_whether_they_exist_or_not(folder, path):
    with pytest.raises(Problem, match="not inside a folder of --allow-paths") as refused:
        confined(f"{folder}/{path}", [folder])
    assert refused.value.status == 403


def test_paths_inside_are_resolved(folder):
    assert confined(f"{folder}/out/../a.jpg", [folder.parent / "allowed-too", folder]) == folder / "a.jpg"
    assert confined(f"{folder}/new/results", [folder]) == folder / "new" / "results"
    for text in ("a.jpg", "", f"{folder}/a\0.jpg", "~/a.jpg"):
        with pytest.raises(Problem, match="absolute path"):
            confined(text, [folder])


def test_nothing_is_read_or_written_outside(folder):
    outside = str(folder.parent / "secret.jpg")

    async def question(client):
        bodies = [body(folder, image_paths=[outside]), body(folder, export_dir=str(folder.parent / "out"))]
        return [(await client.post("/inference", json=one)).status_code for one in bodies]

    assert ask(question, folder=folder) == [403, 403]

    async def without(client):
        answer = await client.post("/inference", json=body(folder))
        return answer.status_code, answer.json()["detail"]

    assert ask(without) == (403, "this server uses no paths of requests; whoever runs it can allow a folder with "
                            "--allow-paths DIR")  # fmt: skip
    assert sorted(os.listdir(folder.parent)) == ["allowed", "allowed-too", "secret.jpg"]


def test_a_task_goes_from_pending_to_completed_and_writes_its_results(seeded_small, folder):
    async def question(client):
        began = (await client.post("/inference", json=body(folder))).json()
        found = {}
        while found.get("status") not in ("completed", "failed"):
            found = (await client.get(f"/task/{began['task_id']}")).json()
            await asyncio.sleep(0.01)
        tasks, status = (await client.get("/tasks")).json(), (await client.get("/status")).json()
        others = [
            (await client.get(f"/v1/jobs/{began['task_id']}")).status_code,
            (await client.post("/cleanup")).status_code,
            (await client.get("/gpu-memory")).json(),
            (await client.post("/reload")).status_code,
            (await client.delete(f"/task/{began['task_id']}")).status_code,
            (await client.get(f"/task/{began['task_id']}")).status_code,
        ]
        return began, found, tasks, status, others

    began, found, tasks, status, others = ask(question, seeded_small, folder)
    assert began["success"]
    assert (began["export_format"], began["processing_time"]) == ("npz", None)
    assert (found["status"], found["progress"], found["num_images"]) == ("completed", 1.0, 2)
    assert found["created_at"] <= found["started_at"] <= found["completed_at"]
    assert found["request"]["process_res"] == 56
    assert (tasks["total_count"], tasks["active_count"]) == (1, 0)
    assert (status["model_loaded"], status["device"], status["gpu_memory"]) == (True, "cpu", None)
    assert others == [404, 200, None, 501, 200, 404]
    assert (folder / "out" / "exports" / "npz" / "results.npz").is_file()


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"image_paths": []}, 422),
        ({"unknown": 1}, 422),
        ({"export_dir": None}, 422),
        ({"export_format": "nothing"}, 422),
        ({"process_res_method": "best"}, 422),
        ({"extrinsics": [[[1.0]]]}, 422),
        ({"process_res": 5000}, 422),
        ({"image_paths": ["missing.jpg"]}, 422),
        ({"image_paths": ["a" * 5000]}, 422),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_is_not_accepted_is_refused_at_once(folder, change, status):
    if change.get("image_paths"):
        change = {"image_paths": [str(folder / change["image_paths"][0])]}

    async def question(client):
        answer = await client.post("/inference", json=body(folder, **change))
        return answer.status_code, client.server.admission.requests, client.server.admission.bytes

    assert ask(question, folder=folder) == (status, 0, 0)


def test_only_json_is_taken_and_da3_serve_has_none_of_this(folder):
    async def question(client):
        text = await client.post("/inference", content="{}", headers={"Content-Type": "text/plain"})
        return text.status_code, (await client.get("/tasks")).status_code

    assert ask(question, folder=folder) == (415, 200)
    assert asking(grey_engine(), question) == (404, 404)


def test_allowed_folders_must_exist_and_be_narrow(tmp_path):
    from depth_anything_3.errors import InvalidInputError

    (tmp_path / "file").touch()
    for one in (tmp_path / "missing", tmp_path / "file", tmp_path.anchor):
        with pytest.raises(InvalidInputError, match="allow_paths"):
            resolve_folders([type(tmp_path)(one)])
