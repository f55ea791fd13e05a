"""Compile kernels with numba, cached on disk."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numba
from numba.core.caching import FunctionCache
from numba.core.compiler_lock import global_compiler_lock
from numba.core.runtime.nrt import rtsys

__all__ = ["jit"]


class _RepairingCache(FunctionCache):
    """Numba's on-disk cache that recompiles files damaged by a full disk or a power cut."""

    def load_overload(self, signature: object, target_context: object) -> object:
        # Numba's own method first imports all that compiling needs, which takes most of its time. Before numba compiles
        # anything, it imports that in any case.
        with suppress(Exception):  # the whole method comes next
            rtsys.initialize(target_context)  # memory of arrays
            loaded = self._load_overload(signature, target_context)  # type: ignore[no-untyped-call]
            if loaded is not None:
                return loaded
        try:
            return super().load_overload(signature, target_context)  # type: ignore[no-untyped-call]
        except Exception:  # pickle may raise anything for a damaged file
            with suppress(OSError):
                self.flush()  # type: ignore[no-untyped-call]
            return None


if hasattr(os, "register_at_fork"):
    # A fork waits until another thread has compiled; the child would otherwise wait for that thread for ever.
    os.register_at_fork(
        before=global_compiler_lock.acquire,
        after_in_parent=global_compiler_lock.release,
        after_in_child=global_compiler_lock.release,
    )


def jit(function: Callable[..., Any]) -> Callable[..., Any]:  # Any: what a kernel returns
    """Compile on first use, releasing the interpreter lock; cache the machine code on disk if possible."""
    # Contraction and reassociation let the compiler fuse and vectorise; both stay far below the 8-bit rounding.
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": {"contract", "reassoc", "nsz"}}
    compiled = numba.njit(**options)(function)
    # Like `cache=True`. A locked-down container may have no writable cache folder.
    with suppress(RuntimeError):
        compiled._cache = _RepairingCache(function)  # type: ignore[no-untyped-call]
    return compiled  # type: ignore[no-any-return]
