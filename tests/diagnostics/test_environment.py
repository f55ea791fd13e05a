"""Variables, disks and checkpoints are reported without secrets, and with what to do."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console, Group

from depth_anything_3.diagnostics import environment as parts
from depth_anything_3.diagnostics.environment import (
    BundledCheckpoint,
    Environment,
    examine_environment,
    relevant_variables,
    variable_hints,
)
from depth_anything_3.diagnostics.environment_report import (
    checkpoints_table,
    environment_lines,
    extras_table,
    memory_text,
    variables_table,
)
from depth_anything_3.diagnostics.hub_answer import HubAnswer
from depth_anything_3.model.hub_cache import CachedCheckpoint
from depth_anything_3.runtime.disk import DiskSpace
from depth_anything_3.runtime.extras import extra_states
from depth_anything_3.runtime.memory import MainMemory

GIB = 2**30
FOUND = Environment(
    container=True,
    memory=MainMemory(16 * GIB, 9 * GIB, 4 * GIB, 3 * GIB),
    hub_disk=DiskSpace(Path("[hub]"), 10**12, 64_600_000_000, True),
    cache_disk=DiskSpace(Path("own"), None, None, False),
    extras=extra_states({"av": "18.1", "torchcodec": "0.9"}.get),
    bundled=(BundledCheckpoint("da3-nano", 9_250_000),),
    cached=(
        CachedCheckpoint("depth-anything/DA3-BASE", "da3-base", 541_500_000, 541_466_396),
        CachedCheckpoint("depth-anything/DA3-GIANT-1.1", "da3-giant", 12_000_000, 5_422_696_500, "not complete", "x"),
    ),
    hub=HubAnswer("https://hub.test", False, "no answer"),
    variables={"HF_HOME": "/data/[x]\n"},
)


def printed(*tables: object) -> list[str]:
    console = Console(width=80, file=io.StringIO())
    console.print(Group(*tables))
    return [" ".join(line.split()) for line in console.file.getvalue().splitlines()]


def test_variables_are_shown_without_secrets():
    variables = {
        "PATH": "/bin",
        "HF_TOKEN": "hf_secret",
        "HF_ENDPOINT": "https://me:secret@hub.test/x",
        "HTTPS_PROXY": "http://u:secret@proxy:80",
        "DA3_KEY": "secret",
        "CUDA_VISIBLE_DEVICES": "",
        "DA3_STRATEGY": "hybrid",
    }
    assert relevant_variables(variables) == {
        "DA3_STRATEGY": "hybrid",
        "CUDA_VISIBLE_DEVICES": "(empty)",
        "HF_ENDPOINT": "https://***@hub.test/x",
        "HF_TOKEN": "set",
        "HTTPS_PROXY": "http://***@proxy:80",
        "DA3_KEY": "set, not used by this package",
    }


@pytest.mark.parametrize(
    ("name", "hints"),
    [
        ("DA3_STRATGEY", ("DA3_STRATGEY is not a variable of this package; did you mean DA3_STRATEGY?",)),
        ("DA3_STRATEGY", ()),
        ("DA3_KEY", ()),
    ],
)
def test_a_misspelt_variable_is_hinted_at(name, hints):
    assert variable_hints({name: "cpu"}) == hints


def test_the_report_states_memory_disks_and_hub():
    assert memory_text(FOUND.memory) == "16.0 GiB, 9.0 GiB free; limited to 4.0 GiB, 3.0 GiB free"
    assert memory_text(MainMemory(None, None)) == "unknown"
    lines = dict(environment_lines(FOUND))
    assert lines["hub"] == "[yellow]https://hub.test is not reachable (no answer)[/]"
    assert lines["hub's cache"] == r"\[hub], 64.6 GB free"
    assert lines["own cache"] == "own, unknown, [yellow]not writable[/]"
    assert dict(environment_lines(replace(FOUND, hub=HubAnswer("h", True))))["hub"] == "h is reachable"


def test_the_tables_of_the_report():
    rows = printed(extras_table(FOUND.extras))
    assert "video av 18.1 videos" in rows
    assert "heif no: pip install '.[heif]' HEIC images" in rows
    assert any(row.startswith("torchcodec torchcodec 0.9 is older than 0.17:") for row in rows)
    assert printed(checkpoints_table(FOUND))[2:] == [
        "da3-nano 9 MB in the package",
        "depth-anything/DA3-BASE 542 MB complete",
        "depth-anything/DA3-GIANT-1.1 12 MB of 5.4 GB not complete",
    ]
    assert printed(variables_table(FOUND.variables)) == [r"HF_HOME /data/[x]\n"]


def test_what_is_broken_is_hinted_at(monkeypatch, tmp_path):
    file = tmp_path / "file"
    file.touch()
    monkeypatch.setattr(parts, "find_cached", lambda: FOUND.cached)
    monkeypatch.setattr(parts, "cache_folder", lambda: file / "hub")
    monkeypatch.setattr(parts, "cache_path", lambda: tmp_path / "own")
    found = examine_environment(FOUND.hub, {"DA3_STRATGEY": "cpu"})
    giant, disk, variable = found.hints
    assert giant == "depth-anything/DA3-GIANT-1.1: not complete; x"
    assert disk == f"{file / 'hub'}: not writable; change its permissions, or set HF_HOME to another folder"
    assert "DA3_STRATEGY" in variable
    plain = found.as_dict()
    assert plain["checkpoints"][0]["name"] == "da3-nano"
    assert plain["checkpoints"][2]["problem"] == "not complete"
    assert plain["disks"]["cache"]["free_bytes"] > 0
    assert not (tmp_path / "own").exists()
