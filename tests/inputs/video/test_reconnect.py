"""An interrupted stream is opened again, for a limited time, and its times continue."""

from __future__ import annotations

import logging
import threading
import time

import numpy as np
import pytest

from depth_anything_3.errors import InvalidInputError, VideoReadError
from depth_anything_3.inputs.video import DecoderChoice, Frame, FrameSource, SourceInfo
from depth_anything_3.inputs.video import reconnect as module
from depth_anything_3.inputs.video.reconnect import ReconnectingSource

IMAGE = np.zeros((2, 2, 3), np.uint8)


class Stream(FrameSource):
    """Gives some frames, then ends or breaks off."""

    def __init__(self, frames, error=None, live=True):
        self.info = SourceInfo("rtsp://camera", DecoderChoice("none", "test"), live=live)
        self._frames, self._error = frames, error
        self.closed = False

    def __iter__(self):
        for index in range(self._frames):
            yield Frame(IMAGE, 100 + index / 10, index, time.monotonic())
        if self._error is not None:
            raise self._error

    def close(self):
        self.closed = True


class Connections:
    """Opens one after the other of what was prepared."""

    def __init__(self, *prepared):
        self._prepared = list(prepared)
        self.opened = []

    def __call__(self):
        one = self._prepared.pop(0)
        if isinstance(one, Exception):
            raise one
        self.opened.append(one)
        return one


LOST, AWAY = VideoReadError("reading failed"), VideoReadError("connection refused")


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    monkeypatch.setattr(module, "_FIRST_PAUSE", 0.01)
    monkeypatch.setattr(module, "_MAX_PAUSE", 0.02)


def test_a_stream_that_drops_or_ends_is_reopened(caplog):
    connections = Connections(Stream(3, LOST), AWAY, AWAY, Stream(2), Stream(4))
    source = ReconnectingSource(connections, 5)
    with caplog.at_level(logging.WARNING):
        frames = [frame for _, frame in zip(range(9), source, strict=False)]
    assert len(frames) == 9
    assert source.reconnections == 2
    assert [one.closed for one in connections.opened] == [True, True, False]
    text = caplog.text
    assert "rtsp://camera: lost (reading failed); retrying for 5 s" in text
    assert "rtsp://camera: lost (it ended)" in text
    assert "rtsp://camera: reconnected after" in text


def test_indices_and_times_continue_over_a_lost_connection():
    connections = Connections(Stream(3, LOST), Stream(3, LOST), Stream(2, live=True))
    source = ReconnectingSource(connections, 5)
    frames = []
    for frame in source:
        frames.append(frame)
        if len(frames) == 8:
            break
    assert [frame.index for frame in frames] == list(range(8))
    times = np.diff([frame.time for frame in frames])
    assert (times > 0).all()
    assert frames[0].time == 100
    assert times[2] < 5  # what really passed, not the new connection's clock


def test_it_stops_retrying_and_reports_the_loss():
    source = ReconnectingSource(Connections(Stream(1, LOST), *[AWAY] * 1000), 0.1)
    frames = iter(source)
    next(frames)
    with pytest.raises(VideoReadError, match=r"lost, and not reconnected within 0.1 s \(connection refused\)"):
        next(frames)


def test_a_source_missing_at_the_start_is_reported_at_once():
    with pytest.raises(VideoReadError, match="refused"):
        ReconnectingSource(Connections(AWAY), 60)


@pytest.mark.parametrize("error", [LOST, None])
def test_sources_that_are_not_live_are_not_reopened(error):
    for source in (ReconnectingSource(Connections(Stream(2, error, live=False)), 60),
                   ReconnectingSource(Connections(Stream(2, error)), 0)):  # fmt: skip
        frames = iter(source)
        assert [next(frames).index, next(frames).index] == [0, 1]
        if error is None:
            assert list(frames) == []
        else:
            with pytest.raises(VideoReadError, match="reading failed"):
                next(frames)


def test_closing_ends_the_wait_for_a_stream(monkeypatch):
    monkeypatch.setattr(module, "_FIRST_PAUSE", 60)
    source = ReconnectingSource(Connections(Stream(1, LOST)), 600)
    frames = iter(source)
    next(frames)
    threading.Timer(0.05, source.close).start()
    assert list(frames) == []


def test_negative_seconds_are_rejected():
    with pytest.raises(InvalidInputError, match="reconnect=-1"):
        ReconnectingSource(Connections(), -1)


def test_an_http_stream_is_reconnected_after_it_drops(caplog):
    pytest.importorskip("av")
    from depth_anything_3.inputs.video import open_source
    from support.stream_server import SIZE_HW, StreamServer

    server = StreamServer()
    try:
        source = ReconnectingSource(lambda: open_source(server.url, on_error="skip"), 30)
        with source:
            assert source.info.live
            levels, frames = [], []
            for frame in source:
                assert frame.image.shape == (*SIZE_HW, 3)
                levels.append(round(float(frame.image.mean()) / 60))
                frames.append(frame)
                if len(frames) == 10:
                    server.cut()
                    threading.Timer(0.3, server.restore).start()
                if levels.count(2) == 10:
                    break
    finally:
        server.cut()
    assert levels == sorted(levels)  # the first connection's, then the second's
    assert set(levels) == {1, 2}
    assert source.reconnections == 1
    times = np.diff([frame.time for frame in frames])
    assert (times > 0).all()
    assert [frame.index for frame in frames] == list(range(len(frames)))
    assert "lost" in caplog.text
    assert "reconnected after" in caplog.text
