"""The Dockerfile builds from what the repository has: targets, extras, copied files; it names no registry."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
IGNORED = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
PROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
INSTRUCTIONS = "\n".join(line for line in DOCKERFILE.splitlines() if not line.startswith("#"))


@pytest.mark.parametrize("target", ["cpu", "cuda"])
def test_a_target_runs_the_command_without_privileges(target):
    stages = dict(re.findall(r"^FROM \S+ AS (\S+)\n(.*?)(?=^FROM|\Z)", INSTRUCTIONS, re.DOTALL | re.MULTILINE))
    assert f"COPY --from=build-{target} " in stages[target]
    assert stages[target].rstrip().endswith("USER 1000")
    assert 'ENTRYPOINT ["da3"]' in stages["runtime"]
    assert f"--target {target} " in (ROOT / "docs" / "docker.md").read_text(encoding="utf-8")


def test_the_extras_exist():
    extras = {one for group in re.findall(r"\.\[([\w,]+)\]", INSTRUCTIONS) for one in group.split(",")}
    assert {"video", "cuda"} <= extras
    assert [one for one in sorted(extras) if not re.search(rf"^{one} = \[", PROJECT, re.MULTILINE)] == []


def test_torch_is_of_the_version_that_the_package_needs():
    (needed,) = re.findall(r'^    "(torch>=[\d.]+)",$', PROJECT, re.MULTILINE)
    assert re.findall(r"'(torch\S*)'", INSTRUCTIONS) == [needed] * 2


def test_what_the_package_is_built_from_is_sent_to_the_builder():
    kept = {line[1:] for line in IGNORED if line.startswith("!")}
    assert IGNORED[1] == "*"
    assert {"src", "pyproject.toml", "README.md", "LICENSE"} == kept
    assert all((ROOT / name).exists() for name in kept)


def test_no_registry_is_named():
    assert re.findall(r"https?://|\w+\.(?:org|com|io)/", INSTRUCTIONS) == []
