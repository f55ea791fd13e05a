"""The NVIDIA driver is found, and what hides the GPU from torch is named."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from depth_anything_3.diagnostics import doctor, nvidia_driver

CPU = torch.device("cpu")


@pytest.fixture
def no_driver(monkeypatch, tmp_path):
    monkeypatch.setattr(nvidia_driver, "_DRIVER_FILE", tmp_path / "version")
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def tool(folder: Path, script: str) -> None:
    path = folder / "nvidia-smi"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_without_a_driver_its_version_is_unknown(no_driver):
    assert nvidia_driver.driver_version() is None


@pytest.mark.skipif(sys.platform == "win32", reason="the tool's stand-in is a shell script")
def test_the_driver_is_what_its_tool_says(no_driver):
    tool(no_driver, "echo 580.65.06; echo 580.65.06")
    assert nvidia_driver.driver_version() == "580.65.06"


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19 01:15:15 UTC 2023", "535.104.05"),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build  (dvs)", "580.65.06"),
        ("NVRM version: unreadable", None),
    ],
)
@pytest.mark.parametrize("script", [None, "exit 9", "true"], ids=["no tool", "tool fails", "tool says nothing"])
def test_the_system_knows_the_driver_where_the_tool_does_not(no_driver, text, version, script):
    if script:
        tool(no_driver, script)
    nvidia_driver._DRIVER_FILE.write_text(text)
    assert nvidia_driver.driver_version() == version


@pytest.mark.parametrize(
    ("variables", "hint"),
    [
        ({}, "install a torch build for your driver, see https://pytorch.org/get-started"),
        ({"CUDA_VISIBLE_DEVICES": "0"}, "install a torch build for your driver"),
        ({"CUDA_VISIBLE_DEVICES": ""}, "CUDA_VISIBLE_DEVICES='' hides every GPU; unset it"),
        ({"CUDA_VISIBLE_DEVICES": "-1"}, "CUDA_VISIBLE_DEVICES='-1' hides every GPU; unset it"),
        (
            {"NVIDIA_DRIVER_CAPABILITIES": "utility"},
            "NVIDIA_DRIVER_CAPABILITIES=utility lacks 'compute'; start the container with "
            "NVIDIA_DRIVER_CAPABILITIES=compute,utility,video",
        ),
        ({"NVIDIA_DRIVER_CAPABILITIES": "all"}, "install a torch build for your driver"),
    ],
    ids=str,
)
def test_what_hides_the_gpu_from_torch_is_hinted_at(no_driver, monkeypatch, variables, hint):
    for name in ("CUDA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(doctor.torch.cuda, "is_available", lambda: False)
    nvidia_driver._DRIVER_FILE.write_text("Module 580.65.06")
    (found,) = doctor.examine(CPU).hints
    assert found.startswith("NVIDIA driver 580.65.06 is installed, but")
    assert hint in found
