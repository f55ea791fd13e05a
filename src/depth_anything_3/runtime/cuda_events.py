"""Record CUDA events that the host can wait for without occupying a core.

Imports no torch, so that looking for decoders stays quick.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

__all__ = ["record_event", "wait_for_stream"]


def record_event(device: torch.device) -> torch.cuda.Event | None:
    """Record an event on the current stream of a CUDA device; return None for other devices.

    A thread that waits for it sleeps. By default CUDA's events spin, which takes a core from the JPEG decoders.
    """
    if device.type != "cuda":
        return None
    import torch

    event = torch.cuda.Event(blocking=True)
    event.record(torch.cuda.current_stream(device))
    return event


def wait_for_stream(device: torch.device) -> None:
    """Wait until the work queued on a CUDA device's current stream is done; do nothing for other devices."""
    event = record_event(device)
    if event is not None:
        event.synchronize()
