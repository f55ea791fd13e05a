"""CUDA streams and events played without a GPU: they record what is asked of them."""

from __future__ import annotations

import threading
from contextlib import contextmanager

import torch


class FakeStream:
    """A stream that lists the events it waits for."""

    def __init__(self, device=None):
        self.device = device
        self.waited = []

    def wait_event(self, event):
        self.waited.append(event)

    def wait_stream(self, stream):
        self.waited.append(stream)


class FakeEvent:
    """An event that lists what happened to it."""

    def __init__(self, *, blocking=False):
        self.blocking = blocking
        self.stream = None
        self.log = []

    def record(self, stream):
        self.stream = stream
        self.log.append("recorded")

    def synchronize(self):
        self.log.append("waited for")


class FakeStreams:
    """Replaces torch's streams and events; every thread has a current stream of its own."""

    def __init__(self, monkeypatch):
        self._threads = threading.local()
        replacements = {
            "Stream": FakeStream,
            "Event": FakeEvent,
            "stream": self._selected,
            "current_stream": self._current,
        }
        for name, value in replacements.items():
            monkeypatch.setattr(torch.cuda, name, value)

    def _current(self, device=None):
        if not hasattr(self._threads, "current"):
            self._threads.current = FakeStream()
        return self._threads.current

    @contextmanager
    def _selected(self, stream):
        before = self._current()
        self._threads.current = stream
        try:
            yield
        finally:
            self._threads.current = before


class FakeCudaTensor(torch.Tensor):
    """A tensor of the CPU that says it is on a GPU, and lists the streams that use it."""

    @property
    def is_cuda(self):
        return True

    def record_stream(self, stream):
        self.streams = [*getattr(self, "streams", []), stream]
