"""The table of extras is that of the project file, and what is installed is found."""

from __future__ import annotations

import platform
import re
import sys
from pathlib import Path

import pytest

from depth_anything_3.runtime.extras import EXTRAS, extra_states

PROJECT = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")


def test_the_table_is_that_of_the_project_file():
    section = re.search(r"^\[project\.optional-dependencies\]$(.*?)^\[", PROJECT, re.DOTALL | re.MULTILINE)[1]
    extras = {}
    for name, requirements in re.findall(r"^(\w+) = \[(.*?)\]$", section, re.DOTALL | re.MULTILINE):
        extras[name] = re.findall(r'"([\w-]+)(?:\[\w+\])?>=([\d.]+)', requirements)
    assert extras == {extra.name: [(one.distribution, one.minimum) for one in extra.requirements] for extra in EXTRAS}


@pytest.mark.parametrize(
    ("installed", "extra", "versions", "problem"),
    [
        pytest.param({"av": "18.1"}, "video", {"av": "18.1"}, None, id="installed"),
        pytest.param({"av": "14.0.0rc1"}, "video", {"av": "14.0.0rc1"}, None, id="oldest"),
        pytest.param({}, "video", {"av": None}, "not installed", id="missing"),
        pytest.param({"torchcodec": "0.9"}, "torchcodec", {"torchcodec": "0.9"}, "torchcodec 0.9 is older than 0.17"),
        pytest.param(
            {"nvidia-nvjpeg": "13.3"},
            "cuda",
            {"nvidia-nvimgcodec-cu13": None, "nvidia-nvjpeg": "13.3"},
            "nvidia-nvimgcodec-cu13 is not installed",
            id="half",
        ),
        pytest.param(
            {"nvidia-nvimgcodec-cu12": "0.9", "nvidia-nvjpeg-cu12": "12.4"},
            "cuda",
            {"nvidia-nvimgcodec-cu12": "0.9", "nvidia-nvjpeg-cu12": "12.4"},
            None,
            id="CUDA 12",
        ),
        pytest.param(
            {}, "cuda", {"nvidia-nvimgcodec-cu13": None, "nvidia-nvjpeg": None}, "not installed", id="neither"
        ),
    ],
)
def test_what_is_installed_of_an_extra(installed, extra, versions, problem):
    (state,) = (one for one in extra_states(installed.get) if one.extra.name == extra)
    assert (state.versions, state.problem) == (versions, problem)
    assert state.install == f"pip install '.[{extra}]'"


@pytest.mark.parametrize(
    ("system", "machine", "unsupported"),
    [("linux", "x86_64", {"macos"}), ("linux", "aarch64", {"cuda", "macos"}), ("darwin", "arm64", {"cuda"})],
)
def test_extras_of_other_systems_are_marked(monkeypatch, system, machine, unsupported):
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    states = extra_states(lambda _: None)
    assert {one.extra.name for one in states if one.unsupported_reason} == unsupported
