"""Run exported networks with torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from depth_anything_3.errors import InvalidInputError
from depth_anything_3.exported.runtimes.description import damaged_file, parse_description
from depth_anything_3.exported.runtimes.runtime import Array, RuntimeName
from depth_anything_3.exported.specification import FOCAL, IMAGE, METADATA_KEY
from depth_anything_3.runtime.device_errors import translate_device_errors
from depth_anything_3.runtime.devices import choose_device

__all__ = ["TorchGraph", "available_providers"]


class TorchGraph:
    """A pt2 file, run by torch; a `GraphRuntime`.

    Args:
        path: the file.
        providers: one device of torch, such as ("cuda",). None: the CPU. Other devices have not been run yet.

    Raises:
        InvalidInputError: there is no such device.
        CheckpointFormatError: the file is damaged, or has no description.
    """

    name = RuntimeName.TORCH

    def __init__(self, path: Path, providers: Sequence[str] | None = None) -> None:
        if providers is not None and len(providers) != 1:
            raise InvalidInputError(f"providers={list(providers)}: give one device of torch, such as ('cuda',)")
        self._device = choose_device(providers[0] if providers else "cpu")
        self.provider = str(self._device)
        extra = {METADATA_KEY: ""}
        try:
            program = torch.export.load(path, extra_files=extra)
        except Exception as error:  # of zipfile, json and torch
            raise damaged_file(path, error) from error
        self.metadata = parse_description(path, extra[METADATA_KEY])
        if self._device.type != "cpu":
            from torch.export.passes import move_to_device_pass

            program = move_to_device_pass(program, self._device)
        self._module: torch.nn.Module | None = program.module()

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Compute the outputs; see `GraphRuntime.run`.

        Raises:
            DeviceMemoryError: memory ran out.
            DeviceError: the device failed.
        """
        assert self._module is not None, "closed"
        names = [IMAGE, FOCAL] if self.metadata.takes_focal else [IMAGE]
        with torch.no_grad(), translate_device_errors(self._device):
            given = [torch.from_numpy(inputs[name]).to(self._device) for name in names]
            values = self._module(*given)
            return {one.value: value.cpu().numpy() for one, value in zip(self.metadata.outputs, values, strict=True)}

    def close(self) -> None:
        """Release memory."""
        self._module = None


def available_providers() -> tuple[str, ...]:
    """List the kinds of device that torch has on this machine."""
    best = choose_device(None).type
    return ("cpu",) if best == "cpu" else ("cpu", best)
