"""List the optional libraries of this package by extra, and which are installed."""

from __future__ import annotations

import importlib.metadata
import platform
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["EXTRAS", "Extra", "ExtraState", "Requirement", "extra_states"]


@dataclass(frozen=True)
class Requirement:
    """A distribution that an extra installs.

    Attributes:
        distribution: its name.
        minimum: oldest version that is accepted.
        instead: distributions that serve as well, such as those for CUDA 12; of any version.
    """

    distribution: str
    minimum: str
    instead: tuple[str, ...] = ()


@dataclass(frozen=True)
class Extra:
    """An extra of this package, as in `pyproject.toml`; a test compares the two.

    Attributes:
        name: as in `pip install '.[NAME]'`.
        purpose: what it is for.
        requirements: what it installs.
        systems: values of `sys.platform` for which it installs anything; empty: all.
        machines: the same of `platform.machine()`.
    """

    name: str
    purpose: str
    requirements: tuple[Requirement, ...]
    systems: tuple[str, ...] = ()
    machines: tuple[str, ...] = ()


EXTRAS = (
    Extra(
        "cuda",
        "JPEGs on NVIDIA GPUs",
        (
            Requirement("nvidia-nvimgcodec-cu13", "0.9", ("nvidia-nvimgcodec-cu12",)),
            Requirement("nvidia-nvjpeg", "13", ("nvidia-nvjpeg-cu12",)),
        ),
        ("linux", "win32"),
        ("x86_64", "AMD64"),
    ),
    Extra("torchcodec", "JPEGs, videos on NVIDIA GPUs", (Requirement("torchcodec", "0.17"),)),
    Extra("torchvision", "JPEGs on NVIDIA GPUs", (Requirement("torchvision", "0.21"),)),
    Extra("kornia", "resampler for comparison", (Requirement("kornia", "0.8"),)),
    Extra("exr", "OpenEXR export", (Requirement("OpenEXR", "3.3"),)),
    Extra("heif", "HEIC images", (Requirement("pillow-heif", "0.22"),)),
    Extra("video", "videos", (Requirement("av", "14"),)),
    Extra("gsplat", "gs_video export", (Requirement("gsplat", "1.4"),)),
    Extra(
        "onnx",
        "ONNX models",
        (Requirement("onnx", "1.19"), Requirement("onnxscript", "0.7"), Requirement("onnxruntime", "1.22")),
    ),
    Extra("openvino", "faster networks on CPUs", (Requirement("openvino", "2026.0"),)),
    Extra(
        "serve",
        "HTTP server",
        (
            Requirement("fastapi", "0.120"),
            Requirement("uvicorn", "0.38"),
            Requirement("websockets", "15"),
            Requirement("python-multipart", "0.0.27"),
            Requirement("prometheus-client", "0.22"),
        ),
    ),
    Extra("parquet", "parquet files", (Requirement("pyarrow", "17"),)),
    Extra("s3", "images and results in S3", (Requirement("s3fs", "2025.3"),)),
    Extra("gcs", "the same in Google Cloud", (Requirement("gcsfs", "2025.3"),)),
    Extra("ray", "clusters", (Requirement("ray", "2.60"),)),
    Extra("macos", "JPEGs on Macs", (Requirement("pyobjc-framework-Quartz", "11"),), ("darwin",)),
)
"""All extras, in the order of `pyproject.toml`."""


@dataclass(frozen=True)
class ExtraState:
    """What is installed of an extra.

    Attributes:
        extra: the extra.
        versions: version of each distribution; None: it is not installed.
        problem: why the extra is not usable: a distribution is missing or too old; None: it is.
        unsupported_reason: why there is nothing to install on this system.
    """

    extra: Extra
    versions: dict[str, str | None]
    problem: str | None = None
    unsupported_reason: str | None = None

    @property
    def install(self) -> str:
        """The line that installs it, in the folder of this package's source."""
        return f"pip install '.[{self.extra.name}]'"


def extra_states(find_version: Callable[[str], str | None] | None = None) -> tuple[ExtraState, ...]:
    """Find out what is installed of each extra, without importing it.

    Args:
        find_version: returns the version of a distribution, or None; default: that of this environment.
    """
    return tuple(_state(extra, find_version or _find_version) for extra in EXTRAS)


def _state(extra: Extra, find_version: Callable[[str], str | None]) -> ExtraState:
    reason = None
    if (extra.systems and sys.platform not in extra.systems) or (
        extra.machines and platform.machine() not in extra.machines
    ):
        reason = f"not for {platform.system()} on {platform.machine()}"
    versions: dict[str, str | None] = {}
    problems = []
    for one in extra.requirements:
        names = (one.distribution, *one.instead)
        name, version = next(((name, found) for name in names if (found := find_version(name))), (names[0], None))
        versions[name] = version
        if version is None:
            problems.append("not installed" if len(extra.requirements) == 1 else f"{name} is not installed")
        elif name == one.distribution and _numbers(version) < _numbers(one.minimum):
            problems.append(f"{name} {version} is older than {one.minimum}")
    if len(problems) > 1 and not any(versions.values()):
        problems = ["not installed"]
    return ExtraState(extra, versions, "; ".join(problems) or None, reason)


def _find_version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _numbers(version: str) -> tuple[int, ...]:
    found = re.match(r"\d+(\.\d+)*", version)
    return tuple(map(int, found[0].split("."))) if found else ()
