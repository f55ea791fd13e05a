"""Examine what surrounds the package: optional libraries, memory, disks, checkpoints, environment variables."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from depth_anything_3.diagnostics.hub_answer import HubAnswer, without_login
from depth_anything_3.inputs.routing.cost_store import cache_path
from depth_anything_3.inputs.routing.strategy import STRATEGY_VARIABLE
from depth_anything_3.model.catalog import MODEL_CARDS
from depth_anything_3.model.checkpoint import find_checkpoint
from depth_anything_3.model.hub_cache import CachedCheckpoint, cache_folder, find_cached, weights_problem
from depth_anything_3.runtime.container import CAPABILITIES_VARIABLE, in_container
from depth_anything_3.runtime.disk import DiskSpace, disk_space
from depth_anything_3.runtime.extras import ExtraState, extra_states
from depth_anything_3.runtime.memory import MainMemory, main_memory

__all__ = ["BundledCheckpoint", "Environment", "examine_environment", "relevant_variables", "variable_hints"]

_OWN_PREFIX = "DA3_"
_SECRET = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
_VARIABLES = (
    STRATEGY_VARIABLE,
    "CUDA_VISIBLE_DEVICES",
    "NVIDIA_VISIBLE_DEVICES",
    CAPABILITIES_VARIABLE,
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "NUMBA_CACHE_DIR",
    "NUMBA_DISABLE_JIT",
    "HF_HOME",
    "HF_HUB_CACHE",
    "HF_ENDPOINT",
    "HF_HUB_OFFLINE",
    "HF_HUB_ETAG_TIMEOUT",
    *_SECRET,
    "HTTPS_PROXY",
    "https_proxy",
    "XDG_CACHE_HOME",
)


@dataclass(frozen=True)
class BundledCheckpoint:
    """A checkpoint that comes with the package.

    Attributes:
        preset: its name.
        stored_bytes: bytes of the weights.
        problem: why it cannot be loaded; None: it is complete.
    """

    preset: str
    stored_bytes: int
    problem: str | None = None


@dataclass(frozen=True)
class Environment:
    """What surrounds the package.

    Attributes:
        container: whether this process runs in a container, as far as it can be recognised.
        memory: main memory.
        hub_disk, cache_disk: disks of the hub's cache, and of the user's cache folder of this package.
        extras: what is installed of each extra.
        bundled: checkpoints in the package.
        cached: checkpoints in the hub's cache.
        hub: whether the hub can be reached.
        variables: environment variables that are set and change what the package does; of a token and of unknown names
            that begin with `DA3_`, not the value.
        hints: what to do about them.
    """

    container: bool
    memory: MainMemory
    hub_disk: DiskSpace
    cache_disk: DiskSpace
    extras: tuple[ExtraState, ...]
    bundled: tuple[BundledCheckpoint, ...]
    cached: tuple[CachedCheckpoint, ...]
    hub: HubAnswer
    variables: Mapping[str, str]
    hints: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:  # Any: plain JSON values
        """Return all properties but the hints as plain values, for JSON."""
        return {
            "container": self.container,
            "memory": asdict(self.memory),
            "disks": {
                name: {**asdict(disk), "folder": str(disk.folder)}
                for name, disk in (("hub_cache", self.hub_disk), ("cache", self.cache_disk))
            },
            "extras": {
                one.extra.name: {
                    "versions": one.versions,
                    "problem": one.problem,
                    "unsupported_reason": one.unsupported_reason,
                    "install": one.install,
                }
                for one in self.extras
            },
            "checkpoints": [
                *({"name": one.preset, "bundled": True, **_stored(one)} for one in self.bundled),
                *({"name": one.hub_id, "bundled": False, **_stored(one)} for one in self.cached),
            ],
            "hub": asdict(self.hub),
            "variables": dict(self.variables),
        }


def examine_environment(hub: HubAnswer, environ: Mapping[str, str] = os.environ) -> Environment:
    """Examine libraries, memory, disks, checkpoints and variables.

    Args:
        hub: answer of the hub.
        environ: environment variables.
    """
    cached = find_cached()
    hub_disk, cache_disk = disk_space(cache_folder()), disk_space(cache_path())
    return Environment(
        container=in_container(),
        memory=main_memory(),
        hub_disk=hub_disk,
        cache_disk=cache_disk,
        extras=extra_states(),
        bundled=tuple(_bundled()),
        cached=cached,
        hub=hub,
        variables=relevant_variables(environ),
        hints=(
            *(f"{one.hub_id}: {one.problem}; {one.hint}" for one in cached if one.problem),
            *_disk_hints(hub_disk, "HF_HOME"),
            *_disk_hints(cache_disk, "XDG_CACHE_HOME" if sys.platform == "linux" else None),
            *variable_hints(environ),
        ),
    )


def relevant_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that are set and change what the package does, without secrets."""
    shown = {
        name: "set" if name in _SECRET else without_login(environ[name]) or "(empty)"
        for name in _VARIABLES
        if name in environ
    }
    return shown | dict.fromkeys(_unknown(environ), "set, not used by this package")


def variable_hints(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Make a hint of each variable that looks like one of this package's but is none."""
    hints = []
    for name in _unknown(environ):
        close = difflib.get_close_matches(name, (STRATEGY_VARIABLE,), 1, cutoff=0.8)
        if close:
            hints.append(f"{name} is not a variable of this package; did you mean {close[0]}?")
    return tuple(hints)


def _disk_hints(disk: DiskSpace, variable: str | None) -> list[str]:
    """Make a hint of a folder that cannot be written; `variable` names another one."""
    other = f", or set {variable} to another folder" if variable else ""
    return [] if disk.writable else [f"{disk.folder}: not writable; change its permissions{other}"]


def _unknown(environ: Mapping[str, str]) -> list[str]:
    return sorted(name for name in environ if name.startswith(_OWN_PREFIX) and name not in _VARIABLES)


def _bundled() -> list[BundledCheckpoint]:
    files = {card.name: find_checkpoint(card.name).weights for card in MODEL_CARDS.values() if card.is_demonstration}
    return [BundledCheckpoint(name, file.stat().st_size, weights_problem(file)) for name, file in files.items()]


def _stored(one: BundledCheckpoint | CachedCheckpoint) -> dict[str, Any]:  # Any: plain JSON values
    return {"stored_bytes": one.stored_bytes, "complete": one.problem is None, "problem": one.problem}
