"""Run exported networks with ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from depth_anything_3.errors import DeviceError, DeviceMemoryError, UnsupportedError
from depth_anything_3.exported.runtimes.description import damaged_file, parse_description
from depth_anything_3.exported.runtimes.runtime import Array, RuntimeName
from depth_anything_3.exported.specification import METADATA_KEY
from depth_anything_3.runtime.device_errors import describes_out_of_memory, error_reason
from depth_anything_3.runtime.packages import package_version

__all__ = ["OnnxRuntimeGraph", "available_providers"]

_CPU = "CPUExecutionProvider"
_ERRORS_ONLY = 3  # severity of the library's own log


class OnnxRuntimeGraph:
    """An ONNX file, opened by ONNX Runtime; a `GraphRuntime`.

    Args:
        path: the file.
        providers: execution providers in the order of preference, such as ("CUDAExecutionProvider",
            "CPUExecutionProvider") or ("TensorrtExecutionProvider", "CUDAExecutionProvider"); they are passed on as
            given. None: the CPU, with as many threads as torch uses. Providers of GPUs have not been run yet.

    Raises:
        UnsupportedError: ONNX Runtime is not installed, or this build lacks a provider or cannot start the first one.
        CheckpointFormatError: the file is damaged, or has no description.
    """

    name = RuntimeName.ONNXRUNTIME

    def __init__(self, path: Path, providers: Sequence[str] | None = None) -> None:
        package_version("onnxruntime", extra="onnx", distributions=("onnxruntime", "onnxruntime-gpu"))
        import onnxruntime

        wanted = list(providers or (_CPU,))
        available = onnxruntime.get_available_providers()
        missing = [one for one in wanted if one not in available]
        if missing:
            raise UnsupportedError(
                f"providers={missing}: this ONNX Runtime has {', '.join(available)}; choose of these, or install the "
                "build for your GPU (onnxruntime-gpu)"
            )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = _ERRORS_ONLY
        try:
            self._session: Any = onnxruntime.InferenceSession(path, options, providers=wanted)
        except Exception as error:  # the library's own types, which share no base class
            if describes_out_of_memory(str(error)):
                raise DeviceMemoryError(f"{path}: not enough memory to open it ({error_reason(error)})") from error
            raise damaged_file(path, error) from error
        self._path = path
        self.provider: str = self._session.get_providers()[0]
        if self.provider != wanted[0]:  # it falls back silently
            raise UnsupportedError(
                f"providers={wanted}: {wanted[0]} cannot start on this machine; its libraries are missing, or there is "
                "no such device. Omit it to compute on the CPU"
            )
        self.metadata = parse_description(path, self._session.get_modelmeta().custom_metadata_map.get(METADATA_KEY))

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Compute the outputs; see `GraphRuntime.run`.

        Raises:
            DeviceMemoryError: memory ran out.
            DeviceError: the provider failed.
        """
        names = [one.value for one in self.metadata.outputs]
        try:
            values = self._session.run(names, {name: np.ascontiguousarray(one) for name, one in inputs.items()})
        except Exception as error:  # see above
            if describes_out_of_memory(str(error)):
                raise MemoryError(error_reason(error)) from error
            raise DeviceError(f"{self._path}: ONNX Runtime ({self.provider}) failed ({error_reason(error)})") from error
        return dict(zip(names, values, strict=True))

    def close(self) -> None:
        """Release memory and threads."""
        self._session = None


def available_providers() -> tuple[str, ...]:
    """List the execution providers that this build of ONNX Runtime has; without its device, one cannot start."""
    import onnxruntime

    return tuple(onnxruntime.get_available_providers())
