"""`da3 download`: folders on stdout, and what is checked before."""

from __future__ import annotations

from collections import namedtuple
from pathlib import Path

import pytest
from typer.testing import CliRunner

from depth_anything_3.cli import app
from depth_anything_3.errors import CheckpointNotFoundError, ExportError
from depth_anything_3.model import hub_cache
from depth_anything_3.runtime import disk

Usage = namedtuple("Usage", "total free")


@pytest.fixture(autouse=True)
def empty_cache(monkeypatch, tmp_path):
    monkeypatch.setattr(hub_cache.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(hub_cache, "try_to_load_from_cache", lambda *_, **__: None)
    monkeypatch.setattr(hub_cache.constants, "HF_HUB_OFFLINE", True)


def test_download_prints_the_folder_of_a_checkpoint():
    result = CliRunner().invoke(app, ["download", "da3-nano"])
    assert result.exit_code == 0
    assert (Path(result.stdout.strip()) / "model.safetensors").is_file()
    assert result.stderr == "da3-nano: bundled with the package\n"


def test_the_help_names_models_once():
    (line,) = (one for one in CliRunner().invoke(app, ["download", "-h"]).stdout.splitlines() if "Hub ids" in one)
    assert line.split()[0] == "MODEL..."


def test_download_names_needed_and_free_space(monkeypatch):
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda _: Usage(10**12, 100_000_000))
    with pytest.raises(ExportError, match="da3-giant needs 5,423 MB, but 100 MB are free"):
        CliRunner().invoke(app, ["download", "da3-giant"], catch_exceptions=False)


def test_download_offline_names_the_hint(monkeypatch):
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda _: Usage(10**12, 10**12))
    with pytest.raises(CheckpointNotFoundError, match="HF_HUB_OFFLINE is set"):
        CliRunner().invoke(app, ["download", "da3-small"], catch_exceptions=False)
