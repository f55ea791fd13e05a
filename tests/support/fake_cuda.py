"""CUDA's streams and events played by records, for tests of what waits for what."""

from __future__ import annotations

from contextlib import contextmanager

import torch


class FakeEvent:
    """Belongs to a stream; notes who waits for it."""

    def __init__(self, log, name):
        self.log, self.name = log, name

    def synchronize(self):
        self.log.append(("host", self.name))


class FakeStream:
    """Notes for whose events it waits."""

    def __init__(self, log, name):
        self.log, self.name = log, name
        self.cuda_stream = id(self)

    def record_event(self):
        return FakeEvent(self.log, self.name)

    def wait_event(self, event):
        self.log.append((self.name, event.name))


class DeviceFrame(torch.Tensor):
    """A tensor in host memory that says that it is on a GPU."""

    is_cuda = True

    def record_stream(self, stream):
        pass


def frame_on_gpu(pixels):
    """Return a (3, H, W) frame of (H, W, 3) pixels."""
    return torch.from_numpy(pixels).permute(2, 0, 1).as_subclass(DeviceFrame)


def play_cuda(monkeypatch, processor):
    """Let a processor's assembler have a stream; return the list of (who, waits for whom) to come."""
    log, current = [], []
    caller = FakeStream(log, "caller")

    @contextmanager
    def stream(one):
        current.append(one)
        yield
        current.pop()

    monkeypatch.setattr(torch.cuda, "stream", stream)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device=None: current[-1] if current else caller)
    monkeypatch.setattr(processor._assembler, "_stream", FakeStream(log, "assembler"))
    return log
