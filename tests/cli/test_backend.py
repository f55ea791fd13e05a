"""`--use-backend`: a scene that a server computes has the results of the command itself."""

from __future__ import annotations

import json

import pytest

from depth_anything_3.services.server.allowed_paths import resolve_folders
from support.command import DONE, FAILURES, MISUSE
from support.images import jpeg
from support.serving import grey_engine, serve_on_socket

URL = "http://127.0.0.1:9"


@pytest.fixture
def room(tmp_path):
    folder = tmp_path / "room"
    folder.mkdir()
    for name in "ab":
        (folder / f"{name}.jpg").write_bytes(jpeg(84, 56, seed=ord(name)))
    return folder


def test_a_server_writes_the_results_of_the_command(da3, seeded_small, room, tmp_path):
    flags = ["--process-res", 56, "--export-format", "glb-depth_png", "--num-max-points", 500, "--colormap", "turbo"]
    assert da3("auto", room, *flags, "--export-dir", tmp_path / "here").code == DONE
    with serve_on_socket(seeded_small, upstream=True, allow_paths=resolve_folders([tmp_path])) as url:
        server = ["--use-backend", "--backend-url", url]
        same = ["--model-dir", seeded_small.model_name]
        run = da3(
            "auto", room, *flags, "--export-dir", tmp_path / "there", *server, "--model-dir", seeded_small.model_name
        )
        other = da3("auto", room, *server, "--model-dir", "da3-large")
        (room / "c.jpg").write_bytes(jpeg(84, 56)[:300])
        damaged = da3("images", room, "--scene", *flags, "--export-dir", tmp_path / "third", *server, *same)
    assert run.code == DONE, run.err
    for name in ("scene.glb", "depth_png/0000.png", "depth_png/0001.png"):
        assert (tmp_path / "there" / name).read_bytes() == (tmp_path / "here" / name).read_bytes()
    assert json.loads((tmp_path / "there" / "report.json").read_text())["images"] == 2
    assert (other.code, "computes with" in other.err) == (MISUSE, True)
    assert (damaged.code, "c.jpg" in damaged.err) == (FAILURES, True)


def test_a_server_of_another_kind_or_none_is_named(da3, room):
    run = da3("auto", room, "--use-backend", "--backend-url", URL)
    assert (run.code, "no answer of a server" in run.err) == (FAILURES, True)
    with serve_on_socket(grey_engine()) as url:  # da3 serve, without upstream's routes
        run = da3("auto", room, "--use-backend", "--backend-url", url)
    assert (run.code, "/status" in run.err) == (FAILURES, True)


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["auto", "--output-size", "input"], "--output-size does not work with --use-backend"),
        (["auto", "--resume"], "--resume does not work with --use-backend"),
        (["auto", "--max-pixels", "1000"], "--max-pixels does not work with --use-backend"),
        (["auto", "--depth-range", "1:2"], "--depth-range does not work with --use-backend"),
        (["auto", "--backend-url", "localhost:8008"], "give an address such as"),
        (["image"], "--use-backend computes the views of one scene"),
        (["images"], "--use-backend computes the views of one scene"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_flags_that_a_server_does_not_get_are_refused(da3, room, words, part):
    run = da3(words[0], room / "a.jpg", "--use-backend", *words[1:])
    assert run.code == MISUSE
    assert part in run.err


def test_the_backend_needs_folders_that_exist(da3, tmp_path):
    run = da3("backend", "--allow-paths", tmp_path / "missing")
    assert run.code == MISUSE
    assert "no such folder" in run.err
