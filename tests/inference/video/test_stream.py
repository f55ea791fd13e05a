"""`DepthAnything3.stream_video` gives the depth of every frame in order, up to the end or the first damage."""

from __future__ import annotations

import copy
import threading
import time
from itertools import count

import numpy as np
import psutil
import pytest
import torch
from PIL import Image

from depth_anything_3.api import DepthAnything3
from depth_anything_3.errors import (
    ImageDecodeError,
    ImageTypeError,
    InvalidInputError,
    UnsupportedError,
    VideoDecodeError,
    VideoReadError,
)
from depth_anything_3.inference.video.live import LiveStream
from depth_anything_3.inputs.batch.preparer import ImagePreparer
from depth_anything_3.inputs.choices import Strategy
from depth_anything_3.inputs.video import Frame, IterableSource
from depth_anything_3.inputs.video.convert import FrameConverter
from support.clips import draw_image, read_clip, write_clip
from support.fake_streams import FakeEvent
from support.images import psnr

SMALL = {"process_res": 42}


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return write_clip(tmp_path_factory.mktemp("clip") / "a.mp4", 9)


@pytest.fixture(scope="module")
def expected(seeded_small, clip):
    times, images = read_clip(clip)
    return times, seeded_small.depth(images, **SMALL)


@pytest.mark.parametrize("batch_size", ["auto", 1, 4])
def test_each_frame_gets_the_depth_of_the_same_image(seeded_small, clip, expected, batch_size):
    results = list(seeded_small.stream_video(clip, batch_size=batch_size, **SMALL))
    assert [frame.time for frame, _ in results] == expected[0]
    for (frame, prediction), other in zip(results, expected[1], strict=True):
        np.testing.assert_array_equal(prediction.processed_images, other.processed_images)
        np.testing.assert_allclose(prediction.depth, other.depth, rtol=2e-4)
        assert prediction.sources == (f"{clip}, frame {frame.index} at {frame.time:.3f} s",)
        assert prediction.choices[0].strategy is Strategy.CPU


@pytest.mark.parametrize("mode", ["throughput", "live"])
def test_frames_below_exact_fidelity_are_not_converted(seeded_small, clip, expected, monkeypatch, mode):
    convert = FrameConverter.__call__
    converted = []
    monkeypatch.setattr(FrameConverter, "__call__", lambda self, frame: converted.append(1) or convert(self, frame))
    shown = 0
    for frame, prediction in seeded_small.stream_video(clip, fidelity="fast", mode=mode, **SMALL):
        exact = expected[1][frame.index].processed_images
        assert psnr(prediction.processed_images, exact) > 50
        assert not np.array_equal(prediction.processed_images, exact)
        assert prediction.sources == (f"{clip}, frame {frame.index} at {frame.time:.3f} s",)
        shown += 1
    assert not converted
    assert shown == 9 or (mode == "live" and shown > 0)
    np.testing.assert_array_equal(frame.image, read_clip(clip)[1][frame.index])


def test_frames_are_chosen_and_changed_as_asked_for(seeded_small, clip, expected):
    seen = []

    def double(prediction):
        seen.append(prediction.depth.copy())
        prediction.depth *= 2
        return prediction

    results = list(seeded_small.stream_video(clip, every=4, temporal=double, **SMALL))
    assert [frame.index for frame, _ in results] == [0, 4, 8]
    for (_, prediction), before in zip(results, seen, strict=True):
        np.testing.assert_array_equal(prediction.depth, 2 * before)


def test_temporal_smoothing_is_available_by_name(seeded_small, clip, expected):
    first, *rest = seeded_small.stream_video(clip, temporal="ema", **SMALL)
    np.testing.assert_allclose(first[1].depth, expected[1][0].depth, rtol=2e-4)
    assert len(rest) == 8


@pytest.mark.parametrize("mode", ["throughput", "live"])
def test_the_event_of_a_frame_reaches_the_input_pipeline(seeded_small, clip, expected, monkeypatch, mode):
    events, seen = [FakeEvent() for _ in range(2)], []
    frames = [
        Frame(torch.from_numpy(image).permute(2, 0, 1), float(place), place, 0.0, events[place])
        for place, image in enumerate(read_clip(clip)[1][:2])
    ]
    original = ImagePreparer.open

    def watched(preparer, index, image):
        opened = original(preparer, index, image)
        seen.append(opened.ready)
        return opened

    monkeypatch.setattr(ImagePreparer, "open", watched)
    results = seeded_small.stream_video(frames, mode=mode, **SMALL)
    for (frame, prediction), other in zip(results, expected[1], strict=False):
        assert frame.ready is events[frame.index]
        np.testing.assert_allclose(prediction.depth, other.depth, rtol=2e-4)
    assert [one for one in seen if one is not None] == events


def test_a_given_processor_gets_the_frames_tensor(seeded_small):
    seen = []

    def process(images, *_, **__):
        seen.extend(images)
        return torch.zeros(len(images), 3, 28, 28), None, None

    frame = Frame(torch.zeros((3, 28, 28), dtype=torch.uint8), 0.0, 0, 0.0, FakeEvent())
    model = copy.deepcopy(seeded_small)
    model.input_processor = process
    assert len(list(model.stream_video([frame], **SMALL))) == 1
    assert [type(one) for one in seen] == [torch.Tensor]


@pytest.mark.parametrize("batch_size", [1, 4])
def test_all_frames_before_damage_have_depth_and_then_comes_one_error(seeded_small, tmp_path, caplog, batch_size):
    whole = write_clip(tmp_path / "whole.mp4", 30, container_options={"movflags": "faststart"})
    path = tmp_path / "cut.mp4"
    path.write_bytes(whole.read_bytes()[: int(0.6 * whole.stat().st_size)])
    given = []
    with pytest.raises(VideoDecodeError, match=r"cut\.mp4: damaged or truncated"):
        take(given, seeded_small.stream_video(path, batch_size=batch_size, **SMALL))
    assert [frame.time for frame, _ in given] == read_clip(whole)[0][: len(given)]
    assert len(given) > 3
    assert len(list(seeded_small.stream_video(path, on_error="skip", **SMALL))) >= len(given)
    assert "skipped" in caplog.text


def take(given, results):
    for one in results:
        given.append(one)


def test_image_files_are_decoded_and_broken_ones_skipped(seeded_small, tmp_path):
    for number in range(4):
        Image.fromarray(draw_image(number)).save(tmp_path / f"{number}.png")
    (tmp_path / "2.png").write_bytes(b"no picture")
    failures = []
    stream = seeded_small.stream_video(tmp_path, fps=2, on_error="skip", on_failure=failures.append, **SMALL)
    results = list(stream)
    assert [frame.time for frame, _ in results] == [0, 0.5, 1.5]
    assert [prediction.sources[0] for _, prediction in results] == [
        str(tmp_path / f"{place}.png") for place in (0, 1, 3)
    ]
    (failure,) = failures
    assert failure.index == 2
    assert "frame 2 at 1.000 s" in failure.label
    with pytest.raises(Exception, match=r"2\.png"):
        list(seeded_small.stream_video(tmp_path, **SMALL))


def test_frames_of_several_sizes_stay_in_order(seeded_small):
    sizes = [(42, 56), (56, 42), (42, 56), (56, 56), (42, 56)]
    frames = [draw_image(place, size) for place, size in enumerate(sizes)]
    results = list(seeded_small.stream_video(frames, batch_size=2, **SMALL))
    assert [frame.image.shape[:2] for frame, _ in results] == sizes
    assert [prediction.source_hw[0] for _, prediction in results] == sizes


class Endless(IterableSource):
    """Frames without end; counts how many were drawn and tells when it is closed."""

    def __init__(self):
        self.drawn, self.closed = 0, threading.Event()
        super().__init__(self._frames())

    def _frames(self):
        for index in count():
            self.drawn += 1
            yield Frame(draw_image(index % 20), index / 30, index, time.monotonic())

    def close(self):
        super().close()
        self.closed.set()


def test_few_frames_are_drawn_ahead_and_leaving_leaves_no_thread_at_work(seeded_small):
    source, before = Endless(), set(threading.enumerate())
    results = seeded_small.stream_video(source, num_workers=2, **SMALL)
    assert next(results)[0].index == 0
    results.close()
    assert source.closed.is_set()
    assert source.drawn < 20
    left = {one.name for one in set(threading.enumerate()) - before if not one.name.startswith("da3-prepare")}
    assert left <= {"da3-idle"}


def test_memory_stays_flat_over_a_long_video(seeded_small, monkeypatch):
    frames = (np.full((720, 1280, 3), index % 256, np.uint8) for index in count())
    process, sizes = psutil.Process(), []
    for number, _ in enumerate(seeded_small.stream_video(frames, num_workers=2, process_res=14 * 2)):
        if number in (20, 80):
            sizes.append(process.memory_info().rss)
        if number == 80:
            break
    assert sizes[1] - sizes[0] < 60e6  # 60 frames would take 166 MB


def test_errors_of_the_callers_own_iterable_come_after_what_it_gave(seeded_small):
    def frames():
        yield draw_image(0)
        yield draw_image(1)
        raise RuntimeError("out of film")

    results = seeded_small.stream_video(frames(), batch_size=3, **SMALL)
    assert [next(results)[0].index, next(results)[0].index] == [0, 1]
    with pytest.raises(RuntimeError, match="out of film"):
        next(results)


@pytest.mark.parametrize(
    ("source", "options", "error"),
    [
        ("nothing.mp4", {}, VideoReadError),
        ([1.5], {}, ImageTypeError),
        ([], {"mode": "fast"}, InvalidInputError),
        ([], {"temporal": "more"}, InvalidInputError),
        ([], {"strategy": "hybrid"}, InvalidInputError),
        ([], {"fps": -1}, InvalidInputError),
    ],
)
def test_what_is_not_accepted_is_refused(seeded_small, source, options, error):
    with pytest.raises(error):
        list(seeded_small.stream_video(source, **options))


def test_live_mode_gives_the_newest_frames_with_their_latencies(seeded_small, clip):
    with seeded_small.stream_video(clip, mode="live", **SMALL) as stream:
        assert isinstance(stream, LiveStream)
        indices = [frame.index for frame, _ in stream]
    assert indices == sorted(set(indices))
    assert stream.stats.captured == 9
    assert stream.stats.delivered + stream.stats.dropped == 9


def test_windows_give_depth_and_cameras_in_one_frame_of_reference(seeded_small, clip, expected):
    """A film of one window is one scene; a longer one is laid together of several."""
    _, images = read_clip(clip)
    scene = seeded_small.inference(images, **SMALL)
    results = list(seeded_small.stream_video(clip, temporal="window", window=9, **SMALL))
    assert [frame.time for frame, _ in results] == expected[0]
    np.testing.assert_allclose(np.concatenate([one.depth for _, one in results]), scene.depth, rtol=2e-4)
    np.testing.assert_allclose(np.concatenate([one.extrinsics for _, one in results]), scene.extrinsics, atol=2e-4)
    several = list(seeded_small.stream_video(clip, temporal="window", window=4, **SMALL))
    assert [frame.index for frame, _ in several] == list(range(9))
    assert all(one.extrinsics.shape == (1, 3, 4) and one.intrinsics.shape == (1, 3, 3) for _, one in several)


def test_frames_that_cannot_be_read_leave_a_window_at_their_place(seeded_small, tmp_path):
    for number in range(6):
        Image.fromarray(draw_image(number)).save(tmp_path / f"{number}.png")
    (tmp_path / "2.png").write_bytes(b"no picture")
    told = []
    results = seeded_small.stream_video(
        tmp_path, temporal="window", window=4, on_error="skip", on_failure=told.append, **SMALL
    )
    assert [frame.index for frame, _ in results] == [0, 1, 3, 4, 5]
    assert [failure.index for failure in told] == [2]
    with pytest.raises(ImageDecodeError, match=r"2\.png"):
        list(seeded_small.stream_video(tmp_path, temporal="window", window=4, **SMALL))


def test_windows_are_refused_where_they_cannot_be(seeded_small, clip):
    with pytest.raises(UnsupportedError, match="unlike live video; use temporal='ema'"):
        seeded_small.stream_video(clip, mode="live", temporal="window")
    with torch.device("meta"):
        mono = DepthAnything3("da3mono-large")
    with pytest.raises(UnsupportedError, match=r"by their cameras, which da3mono-large does not predict"):
        mono.stream_video(clip, temporal="window")
    with pytest.raises(InvalidInputError, match="pass a window longer than its overlap"):
        next(seeded_small.stream_video(clip, temporal="window", window=1, **SMALL))
