"""Run exported networks with OpenVINO."""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from depth_anything_3.errors import DeviceError, DeviceMemoryError, InvalidInputError, UnsupportedError
from depth_anything_3.exported.runtimes.description import damaged_file, parse_description
from depth_anything_3.exported.runtimes.runtime import Array, RuntimeName
from depth_anything_3.exported.specification import METADATA_KEY, GraphDtype
from depth_anything_3.runtime.device_errors import describes_out_of_memory, error_reason
from depth_anything_3.runtime.packages import package_version

__all__ = ["OpenVinoGraph", "available_providers"]

logger = logging.getLogger(__name__)

# Named always: OpenVINO's own default is bfloat16 on processors that have it, whatever the file says.
_PRECISION = {GraphDtype.FLOAT32: "f32", GraphDtype.FLOAT16: "f32", GraphDtype.BFLOAT16: "bf16"}


@functools.cache
def _core() -> Any:  # Any: openvino.Core
    """Return OpenVINO, which is never freed.

    Its plugin for CPUs gives the thread that loads it an alternate stack for signals, and unmaps that stack when it is
    freed, in whichever thread: the next signal that the first thread receives, such as Ctrl-C, would end the process.
    """
    import openvino

    return openvino.Core()


class OpenVinoGraph:
    """An OpenVINO or ONNX file, opened by OpenVINO; a `GraphRuntime`.

    It computes in bfloat16 where the description says so and the device has it, else in float32.

    Args:
        path: the .xml file, beside its .bin, or an .onnx file.
        providers: one of OpenVINO's devices, such as ("GPU",) or ("AUTO:GPU,CPU",). None: the CPU, with as many threads
            as torch uses. Other devices than the CPU have not been run yet.
        dtype: takes the place of the dtype in the description.

    Raises:
        UnsupportedError: OpenVINO is not installed, or has no such device.
        CheckpointFormatError: a file is damaged, or has no description.
    """

    name = RuntimeName.OPENVINO

    def __init__(self, path: Path, providers: Sequence[str] | None = None, dtype: GraphDtype | None = None) -> None:
        package_version("openvino", extra="openvino", distributions=("openvino",))
        if providers is not None and len(providers) != 1:
            raise InvalidInputError(
                f"providers={list(providers)}: give one device of OpenVINO, such as ('GPU',) or ('AUTO:GPU,CPU',)"
            )
        self._path = path
        self.provider = providers[0] if providers else "CPU"
        core = _core()
        try:
            model = core.read_model(path)
        except RuntimeError as error:
            raise damaged_file(path, error) from error
        described = parse_description(path, _description(model))
        self.metadata = described if dtype is None else replace(described, dtype=dtype)
        try:
            self._request: Any = core.compile_model(model, self.provider, self._settings(core)).create_infer_request()
        except RuntimeError as error:
            if describes_out_of_memory(str(error)):
                raise DeviceMemoryError(f"{path}: not enough memory to open it ({error_reason(error)})") from error
            if self.provider != "CPU":
                raise UnsupportedError(
                    f"providers={list(providers or ())}: OpenVINO cannot use this device ({error_reason(error)}); this "
                    f"machine has {', '.join(core.available_devices)}"
                ) from error
            raise damaged_file(path, error) from error

    def _settings(self, core: Any) -> dict[str, Any]:  # Any: OpenVINO's own types
        settings: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": _PRECISION[self.metadata.dtype],
        }
        if self.provider == "CPU":
            settings["INFERENCE_NUM_THREADS"] = torch.get_num_threads()
            settings["ENABLE_CPU_PINNING"] = False  # the decoders share the cores
            if self.metadata.dtype is GraphDtype.BFLOAT16 and "BF16" not in core.get_property(
                "CPU", "OPTIMIZATION_CAPABILITIES"
            ):
                logger.warning("this processor has no bfloat16; OpenVINO computes in float32")
                settings["INFERENCE_PRECISION_HINT"] = "f32"
        return settings

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Compute the outputs; see `GraphRuntime.run`.

        Raises:
            DeviceMemoryError: memory ran out.
            DeviceError: the device failed.
        """
        given = {name: np.ascontiguousarray(one) for name, one in inputs.items()}
        try:
            found = self._request.infer(given, share_inputs=True)
        except RuntimeError as error:
            if describes_out_of_memory(str(error)):
                raise MemoryError(error_reason(error)) from error
            raise DeviceError(f"{self._path}: OpenVINO ({self.provider}) failed ({error_reason(error)})") from error
        return {one.value: np.asarray(found[index]) for index, one in enumerate(self.metadata.outputs)}

    def close(self) -> None:
        """Release memory and threads."""
        self._request = None


def _description(model: Any) -> str | None:  # Any: OpenVINO's own type
    """Return the description in an IR, or in an ONNX file, whose properties OpenVINO puts under "framework"."""
    for place in ([METADATA_KEY], ["framework", METADATA_KEY]):
        if model.has_rt_info(place):
            return str(model.get_rt_info(place).astype(str))
    return None


def available_providers() -> tuple[str, ...]:
    """List the devices that OpenVINO finds on this machine."""
    return tuple(_core().available_devices)
