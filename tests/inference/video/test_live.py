"""Live mode processes the newest frame and never queues more than one."""

from __future__ import annotations

import gc
import math
import threading
import time

import numpy as np
import psutil
import pytest

from depth_anything_3.errors import ImageDecodeError
from depth_anything_3.inference.video.live import LiveStats, LiveStream
from depth_anything_3.inputs.video import DecoderChoice, Frame, FrameSource, IterableSource, SourceInfo
from depth_anything_3.inputs.video.real_time import RealTimeSource
from depth_anything_3.prediction import Prediction

SMALL = np.zeros((2, 2, 3), np.uint8)


class Camera(FrameSource):
    """Gives a frame each time it is told to; `close` ends it."""

    def __init__(self):
        self.info = SourceInfo("camera", DecoderChoice("none", "test"), live=True)
        self._told = threading.Semaphore(0)
        self._taken = threading.Semaphore(0)
        self.error = None
        self.closed = False
        self.captures = []  # of the next frames; then the time it is
        self.closed_in = []
        self.thread = None

    def __iter__(self):
        self.thread = threading.current_thread()
        for index in range(10**9):
            self._told.acquire()
            if self.error is not None:
                raise self.error
            if self.closed:
                return
            captured = self.captures.pop(0) if self.captures else time.monotonic()
            yield Frame(np.full((2, 2, 3), index % 256, np.uint8), index / 30, index, captured)
            self._taken.release()  # the one before was put where the network takes it

    def shoot(self, frames=1):
        """Returns when all these frames are with the stream."""
        for _ in range(frames):
            self._told.release()
        for _ in range(frames):
            assert self._taken.acquire(timeout=10)

    def fail(self, error):
        self.error = error
        self._told.release()

    def close(self):
        self.closed_in.append(threading.current_thread())
        self.closed = True
        self._told.release()
        self._told.release()


class Network:
    """Computes one frame each time it is let, in order of its calls."""

    def __init__(self):
        self.seen = []
        self.begun = threading.Semaphore(0)
        self.let = threading.Semaphore(0)
        self.thread = None

    def __call__(self, frame):
        self.thread = threading.current_thread()
        self.seen.append(frame.index)
        self.begun.release()
        assert self.let.acquire(timeout=10)
        return depth_of(frame)


def depth_of(frame):
    return Prediction(depth=np.full((1, 2, 2), float(frame.index), np.float32))


@pytest.fixture
def camera():
    camera = Camera()
    yield camera
    camera.close()


def test_the_network_gets_the_newest_frame_and_never_more_than_one_waits(camera):
    network = Network()
    with LiveStream(camera, network) as stream:
        camera.shoot()
        assert network.begun.acquire(timeout=10)
        camera.shoot(5)  # 1 to 5, while the network is busy with 0
        assert stream.stats.dropped == 4
        network.let.release()
        frame, prediction = next(stream)
        assert (frame.index, prediction.depth[0, 0, 0]) == (0, 0)
        assert network.begun.acquire(timeout=10)
        network.let.release()
        assert next(stream)[0].index == 5
        assert network.seen == [0, 5]
        stats = stream.stats
    assert (stats.captured, stats.delivered, stats.dropped) == (6, 2, 4)


@pytest.mark.parametrize(
    ("age", "ends", "seen"),
    [
        pytest.param(80, False, [0, 2], id="an old frame makes room for the one that is due"),
        pytest.param(80, True, [0, 1], id="an old frame that is the last one is computed"),
        pytest.param(50, True, [0, 1], id="a fresh frame is not held up"),
    ],
)
def test_a_frame_that_is_due_is_waited_for(camera, age, ends, seen):
    network, now = Network(), time.monotonic()
    camera.captures = [now - age - 100, now - age]  # one frame in 100 seconds
    with LiveStream(camera, network) as stream:
        camera.shoot()
        assert network.begun.acquire(timeout=10)
        camera.shoot()
        network.let.release()
        assert next(stream)[0].index == 0
        network.let.release()
        if ends:
            if age == 50:
                assert network.begun.acquire(timeout=10)
            camera.close()
        else:
            camera.shoot()
        assert next(stream)[0].index == seen[-1]
    assert network.seen == seen
    assert stream.stats.dropped == stream.stats.captured - stream.stats.delivered == 3 - len(seen) - ends


def test_a_slow_consumer_gets_the_newest_result(camera):
    with LiveStream(camera, depth_of) as stream:
        for _ in range(7):
            camera.shoot()
            while stream._results._items == [] or stream._results._items[0][0].index != stream.stats.captured - 1:
                time.sleep(0.001)
        assert next(stream)[0].index == 6
        assert stream.stats.dropped == 6


def test_each_part_has_a_thread_of_its_own(camera):
    network = Network()
    network.let.release(1)
    with LiveStream(camera, network) as stream:
        camera.shoot()
        next(stream)
        assert len({camera.thread, network.thread, threading.current_thread()}) == 3


def test_the_last_frame_comes_before_the_end():
    frames = [SMALL] * 3
    with LiveStream(IterableSource(frames), depth_of) as stream:
        indices = [frame.index for frame, _ in stream]
    assert indices[-1] == 2
    assert stream.stats.captured == 3
    assert stream.stats.delivered + stream.stats.dropped == 3
    with pytest.raises(StopIteration):
        next(stream)


def test_an_error_of_the_source_comes_after_the_frames_before_it(camera):
    with LiveStream(camera, depth_of) as stream:
        camera.shoot()
        camera.fail(ImageDecodeError("the cable is loose"))
        assert next(stream)[0].index == 0
        with pytest.raises(ImageDecodeError, match="cable"):
            next(stream)
        with pytest.raises(StopIteration):
            next(stream)


def test_an_error_of_the_network_comes_out_and_ends_the_threads(camera):
    def broken(_frame):
        raise ZeroDivisionError

    stream = LiveStream(camera, broken)
    camera.shoot()
    with pytest.raises(ZeroDivisionError):
        next(stream)
    assert_no_threads()


def test_unusable_frames_are_counted_and_skipped():
    def choosy(frame):
        if frame.index % 2 == 0:
            raise ImageDecodeError(f"frame {frame.index} is damaged")
        return depth_of(frame)

    failed = []
    source = RealTimeSource(IterableSource([SMALL] * 6, fps=100))
    with LiveStream(source, choosy, lambda frame, error: failed.append((frame.index, str(error)))) as stream:
        indices = [frame.index for frame, _ in stream]
    assert indices
    assert all(index % 2 for index in indices)
    assert failed  # which ones, depends on the time: only the newest frame is computed
    assert all(index % 2 == 0 and text == f"frame {index} is damaged" for index, text in failed)
    assert stream.stats.failed == len(failed)


def test_closing_ends_both_threads_while_they_work(camera):
    network = Network()
    stream = LiveStream(camera, network)
    camera.shoot()
    assert network.begun.acquire(timeout=10)
    network.let.release()
    stream.close()
    stream.close()
    assert_no_threads()
    assert camera.thread in camera.closed_in  # a decoder at work can be closed only by the thread that it works in
    with pytest.raises(StopIteration):
        next(stream)


def test_latency_is_counted_from_the_capture():
    begin = time.monotonic()
    frames = (Frame(SMALL, 0.0, index, begin - 2.0) for index in range(3))
    with LiveStream(IterableSource(frames), depth_of) as stream:
        before = stream.stats
        list(stream)
        took = time.monotonic() - begin
        stats = stream.stats
    assert math.isnan(before.p50)
    assert 2.0 <= stats.p50 <= stats.p95 <= stats.p99 <= 2.0 + took


def test_the_summary_reads_well():
    stats = LiveStats(300, 90, 208, 2, 29.97, 0.041, 0.0612, 0.08)
    assert str(stats) == "300 frames, 90 shown, 208 dropped, 2 failed; 30.0 fps; latency ms: p50 41, p95 61, p99 80"


def test_a_file_plays_at_its_own_pace():
    times = []
    source = RealTimeSource(IterableSource([SMALL] * 4, fps=50))
    for frame in source:
        now = time.monotonic()
        assert 0 <= now - frame.captured < 1
        times.append(now)
    assert source.info.live
    assert times[-1] - times[0] >= 0.055  # three intervals of 20 ms, less the clock's grain


def test_closing_wakes_a_file_that_waits_for_its_next_frame():
    source = RealTimeSource(IterableSource([SMALL] * 2, fps=0.01))
    frames = iter(source)
    next(frames)
    threading.Timer(0.05, source.close).start()
    assert list(frames) == []


def memory_after(frames: int) -> int:
    def film():
        for _ in range(frames):
            yield np.zeros((120, 160, 3), np.uint8)

    with LiveStream(IterableSource(film()), depth_of) as stream:
        for _ in stream:
            pass
    gc.collect()
    return psutil.Process().memory_info().rss


def test_memory_stays_flat_over_20_000_frames():
    before = memory_after(1_000)
    assert memory_after(20_000) - before < 8 << 20  # the frames took 1.15 GB together


def assert_no_threads():
    left = [one.name for one in threading.enumerate() if one.name in ("da3-capture", "da3-network")]
    assert left == []
