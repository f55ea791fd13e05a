"""Compute the depth of files in a process for each engine, ours or awesome-depth-anything-3."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.child import Child, without_our_package

__all__ = ["FORK", "DepthEngine", "DepthJob", "depth_process"]

FORK = "awesome-depth-anything-3"
_CHILD = Path(__file__).with_name("depth_child.py")
_COMMAND_ENVIRONMENT = {  # as `da3` sets it
    "OMP_WAIT_POLICY": "PASSIVE",
    "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "256",
    "LRU_CACHE_CAPACITY": "256",
    "OPENCV_LOG_LEVEL": "ERROR",
}


@dataclass(frozen=True)
class DepthEngine:
    """What computes depth.

    Attributes:
        backend: one of ours, or the fork.
        dtype: of the computation.
        batch_size: number of images at a time, or "auto".
    """

    backend: str
    dtype: str
    batch_size: int | str = "auto"

    @property
    def name(self) -> str:
        """Backend and dtype, as "openvino-bfloat16"; of the fork the batch size as well."""
        text = f"{self.backend}-{self.dtype}"
        return f"{text}, batch {self.batch_size}" if self.is_fork else text

    @property
    def is_fork(self) -> bool:
        """Whether it is the fork."""
        return self.backend == FORK

    def unsupported_reason(self, preset: str, device: str) -> str | None:
        """Return why it cannot compute a preset on a type of device; None if it can."""
        if self.is_fork and preset == "da3-nano":
            return "the fork does not have this network"
        if device != "cpu" and self.backend in ("openvino", "onnxruntime"):
            return "this backend computes on the CPU"
        return None


@dataclass(frozen=True)
class DepthJob:
    """What all engines have in common.

    Attributes:
        checkpoint: folder, or "da3-nano".
        device: "cpu" or "cuda".
        process_res: longer side in the network; None: the default of the model.
        cache: folder of converted networks and measured batch sizes.
        fork_python: Python that has the fork.
    """

    checkpoint: str
    device: str
    process_res: int | None
    cache: Path
    fork_python: Path | None = None

    def options(self, engine: DepthEngine) -> dict[str, Any]:  # Any: plain JSON values
        """Return the options of the child."""
        return {
            "checkpoint": self.checkpoint,
            "device": self.device,
            "process_res": self.process_res,
            "batch_size": engine.batch_size,
            "backend": None if engine.is_fork else engine.backend,
            "dtype": engine.dtype,
        }


@contextmanager
def depth_process(job: DepthJob, engine: DepthEngine, photos: Sequence[Path]) -> Iterator[Child]:
    """Start the process of an engine, and end it with the block.

    A converted network is converted before, in another process, so that the conversion is not part of its memory.

    Raises:
        UnsupportedError: the model cannot be loaded, or a call fails.
    """
    if engine.backend in ("openvino", "onnxruntime"):
        first = _start(job, engine)
        try:
            first.ask(["run", [str(photos[0])], None, None])
        finally:
            first.close()
    child = _start(job, engine)
    try:
        yield child
    finally:
        child.close()


def _start(job: DepthJob, engine: DepthEngine) -> Child:
    options = json.dumps(job.options(engine))
    if engine.is_fork:
        assert job.fork_python is not None
        return Child([job.fork_python, "-P", _CHILD, options], without_our_package())
    environment = {**_COMMAND_ENVIRONMENT, **os.environ, "XDG_CACHE_HOME": str(job.cache)}
    return Child([sys.executable, _CHILD, options], environment)
