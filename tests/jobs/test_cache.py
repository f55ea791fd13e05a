"""What `da3 cache` lists and removes."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from depth_anything_3.cli import app
from depth_anything_3.errors import InvalidInputError
from depth_anything_3.exported.model_store import ModelStore
from depth_anything_3.inputs.routing import cost_store
from depth_anything_3.jobs import cache


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A cache with a model, batch sizes and an abandoned conversion; the package's own kernels are not touched."""
    monkeypatch.setattr(cost_store.platformdirs, "user_cache_path", lambda *_, **__: tmp_path)
    monkeypatch.setattr(cache, "__file__", str(tmp_path / "package" / "jobs" / "cache.py"))
    (tmp_path / "package" / "jobs" / "__pycache__").mkdir(parents=True)
    (tmp_path / "package" / "jobs" / "__pycache__" / "kernel.nbc").write_bytes(b"123")
    (tmp_path / "batches-0.json").write_text("{}")

    def write(path):
        path.write_bytes(bytes(2_000_000))
        return 0.0

    ModelStore().add("da3-small-openvino-image", {}, "model.xml", write)
    (tmp_path / "models" / ".half").mkdir()
    return tmp_path


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["cache", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_everything_in_the_folder_is_listed_and_removed(folder):
    shown = run()
    assert "da3-small-openvino-image-" in shown
    assert "2.0 MB  converted model, used 20" in shown
    assert f"folder: {folder}" in shown
    listed = {one["kind"]: one for one in json.loads(run("--json"))}
    assert listed.keys() >= {
        "converted model", "unfinished conversion", "batch sizes measured on this CPU", "compiled kernels"
    }  # fmt: skip
    name = listed["converted model"]["name"]
    assert json.loads(run("--clear", name, "--json"))[0]["name"] == name
    assert not (folder / "models" / name).exists()
    assert (folder / "batches-0.json").exists()
    run("--clear")
    assert [one for one in folder.rglob("*") if one.is_file()] == []
    assert run("--clear").startswith("removed: 0.0 kB, 0 entries")


def test_a_wrong_name_lists_what_there_is(folder):
    with pytest.raises(InvalidInputError, match=r"'nothing' is not in the cache, which holds .*batches-0\.json"):
        cache.clear_cache("nothing")
    with pytest.raises(InvalidInputError, match="add --clear"):
        CliRunner().invoke(app, ["cache", "batches-0.json"], catch_exceptions=False)
