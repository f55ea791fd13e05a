"""What the hub's cache has of each checkpoint is found, without the network."""

from __future__ import annotations

from pathlib import Path

import pytest

from depth_anything_3.model import hub_cache
from depth_anything_3.model.checkpoint import find_checkpoint
from depth_anything_3.model.hub_cache import find_cached, is_cached

COMMIT = "0" * 40
HUB_ID = "depth-anything/DA3-SMALL"


@pytest.fixture
def repository(monkeypatch, tmp_path):
    """Writes a repository to the cache; returns its folder."""
    monkeypatch.setattr(hub_cache.constants, "HF_HUB_CACHE", str(tmp_path))
    weights = find_checkpoint("da3-nano").weights.read_bytes()

    def write(*, cut: int | None = 0, config: bool = True, parts: tuple[int, ...] = ()) -> Path:
        folder = tmp_path / f"models--{HUB_ID.replace('/', '--')}"
        snapshot = folder / "snapshots" / COMMIT
        for one in (snapshot, folder / "refs", folder / "blobs"):
            one.mkdir(parents=True)
        (folder / "refs" / "main").write_text(COMMIT)
        if cut is not None:
            (snapshot / "model.safetensors").write_bytes(weights[: len(weights) - cut])
        if config:
            (snapshot / "config.json").write_text("{}")
        for number, size in enumerate(parts):
            (folder / "blobs" / f"{number}.incomplete").write_bytes(bytes(size))
        return folder

    return write


@pytest.mark.parametrize(
    ("content", "problem", "hint"),
    [
        ({}, None, None),
        ({"cut": 9}, "truncated or damaged", "delete {folder} and run da3 download"),
        ({"config": False}, "it has no config.json", "run da3 download"),
        ({"cut": None}, "it has no weights", "run da3 download"),
        ({"cut": None, "config": False, "parts": (700, 300)}, "the download is not complete", "run da3 download"),
    ],
    ids=["complete", "truncated", "no configuration", "no weights", "interrupted"],
)
def test_a_checkpoint_in_the_cache_is_complete_or_has_a_problem(repository, content, problem, hint):
    folder = repository(**content)
    (found,) = find_cached()
    assert (found.hub_id, found.preset, found.file_bytes) == (HUB_ID, "da3-small", 137_197_852)
    assert (found.problem, found.hint) == (problem, hint and f"{hint.format(folder=folder)} {HUB_ID}")
    size = 1000 if content.get("parts") else sum(one.stat().st_size for one in folder.rglob("*.safetensors"))
    assert found.stored_bytes == size


def test_an_empty_folder_of_the_cache_is_no_checkpoint(repository):
    repository(cut=None, config=False)
    assert find_cached() == ()
    assert not is_cached(HUB_ID)
