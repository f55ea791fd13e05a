"""Time the input processor of awesome-depth-anything-3, another package of the same import name, in its own process."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from depth_anything_3.errors import UnsupportedError
from harness.child import Child, without_our_package
from harness.method import PEERS, Image, Method, Setting

__all__ = ["ForkProcessor"]

_CHILD = Path(__file__).with_name("fork_child.py")


class ForkProcessor(Method):
    """`InputProcessor` of awesome-depth-anything-3. A call takes its process's time and a message each way.

    Batches are handed over in files, once: JPEGs as paths, because it takes no bytes, pixels as arrays that the process
    loads before the first call. So do not change an array between calls.

    Args:
        setting: shared by all methods; the network must be on the CPU.
        python: Python 3.11 or later in whose environment the package is installed.

    Raises:
        UnsupportedError: the package cannot be imported there.
    """

    name = "awesome-depth-anything-3"
    group = PEERS

    def __init__(self, setting: Setting, python: Path) -> None:
        super().__init__(setting)
        self._folder = tempfile.TemporaryDirectory(prefix="fork-")
        self._results: dict[tuple[int, ...], torch.Tensor] = {}
        self._held: list[Sequence[Image]] = []  # so that no other batch gets the same ids
        try:
            self._child = Child([python, "-P", _CHILD], without_our_package())
        except UnsupportedError:
            self._folder.cleanup()
            raise

    def __call__(self, images: Sequence[Image]) -> torch.Tensor:
        """Prepare a batch in the process; return the result of its first time."""
        key = tuple(map(id, images))
        if key not in self._results:
            self._hand_over(key, images)
        self._child.ask(["run", self._names(key), self.setting.workers])
        return self._results[key]

    def close(self) -> None:
        """End the process."""
        self._child.close()
        self._folder.cleanup()

    def _names(self, key: tuple[int, ...]) -> str:
        return "-".join(map(str, key))

    def _hand_over(self, key: tuple[int, ...], images: Sequence[Image]) -> None:
        paths = []
        for index, image in enumerate(images):
            path = Path(self._folder.name, f"{len(self._held)}-{index}")
            if isinstance(image, np.ndarray):
                path = path.with_suffix(".npy")
                np.save(path, image)
            else:
                path = path.with_suffix(".jpg")
                path.write_bytes(image)
            paths.append(str(path))
        result = Path(self._folder.name, f"{len(self._held)}-result.npy")
        self._held.append(images)
        self._child.ask(["load", self._names(key), paths, self.setting.workers, str(result)])
        self._results[key] = torch.from_numpy(np.load(result)).to(self.setting.device).to(self.setting.dtype)
