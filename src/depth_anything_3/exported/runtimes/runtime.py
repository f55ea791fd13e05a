"""What runs an exported network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Protocol

import numpy.typing as npt

from depth_anything_3.exported.specification import GraphMetadata
from depth_anything_3.runtime.option_values import StringEnum

__all__ = ["GraphRuntime", "RuntimeName", "RuntimeNameText"]

RuntimeNameText = Literal["onnxruntime", "openvino", "torch"]
"""The names that `RuntimeName` accepts."""

Array = npt.NDArray[Any]  # Any: uint8 or float32


class RuntimeName(StringEnum):
    """A library that runs exported networks."""

    ONNXRUNTIME = "onnxruntime"
    OPENVINO = "openvino"
    TORCH = "torch"
    """Runs pt2 files."""


class GraphRuntime(Protocol):
    """An exported network, opened by one of the libraries. Safe to call from one thread at a time.

    Attributes:
        metadata: the description in the file.
        name: the library.
        provider: what computes, for messages: "CPU", "CUDAExecutionProvider".
    """

    metadata: GraphMetadata
    name: RuntimeName
    provider: str

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Compute the outputs, named as in `metadata.outputs`, of the inputs `IMAGE` and, if it takes it, `FOCAL`."""
        ...

    def close(self) -> None:
        """Release memory and threads."""
        ...
