"""Decoding video on a GPU, with a torchcodec imitated by PyAV."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch

from depth_anything_3.errors import VideoDecodeError
from depth_anything_3.inputs.video import nvdec, open_source
from depth_anything_3.inputs.video.pyav import VideoTraits
from support.clips import read_clip, write_clip
from support.fake_streams import FakeStreams

CUDA = torch.device("cuda")
PLAIN = VideoTraits("yuv420p", plain=True)


class PretendedDecoder:
    """`torchcodec.decoders.VideoDecoder` as far as it is used, in the CPU's memory."""

    breaks_at = float("inf")
    streams = ()
    cpu_fallback = None

    def __init__(self, path, *, device, dimension_order):
        assert (device, dimension_order) == ("cuda", "NCHW")
        times, images = read_clip(path)
        self.times = torch.tensor(times, dtype=torch.float64)
        self.images = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
        self.ends = torch.cat([self.times[1:], self.times[-1:] + 1 / 30])
        self.metadata = SimpleNamespace(begin_stream_seconds=times[0], end_stream_seconds=float(self.ends[-1]))

    def get_frames_played_in_range(self, start, stop):
        self.streams.append(torch.cuda.current_stream())
        if stop > self.breaks_at:
            raise RuntimeError("cannot decode")
        shown = (self.ends > start) & (self.times < stop)
        return SimpleNamespace(data=self.images[shown], pts_seconds=self.times[shown])


@pytest.fixture
def streams(monkeypatch):
    return FakeStreams(monkeypatch)


@pytest.fixture
def torchcodec(monkeypatch, streams):
    """A decoder whose class can be changed."""
    kind = type("Decoder", (PretendedDecoder,), {"streams": []})
    decoders = ModuleType("torchcodec.decoders")
    decoders.VideoDecoder = kind
    monkeypatch.setitem(sys.modules, "torchcodec", ModuleType("torchcodec"))
    monkeypatch.setitem(sys.modules, "torchcodec.decoders", decoders)
    monkeypatch.setattr(nvdec, "nvdec_unsupported_reason", lambda video, device: None)
    monkeypatch.setattr("depth_anything_3.inputs.video.open.nvdec_unsupported_reason", lambda video, device: None)
    return kind


@pytest.mark.parametrize("times", [None, [0, 0.033, 0.066, 0.4, 0.41, 0.9, 1.0, 1.2, 2.0, 2.04]])
@pytest.mark.parametrize("selection", [{}, {"start": 0.35, "end": 1.0}, {"every": 3}])
def test_the_gpu_gives_the_frames_that_the_cpu_gives(torchcodec, tmp_path, times, selection):
    path = write_clip(tmp_path / "a.mp4", len(times) if times else 60, times=times)
    source = open_source(path, device=CUDA, **selection)
    assert source.info.decoder.name == "torchcodec"
    expected = list(open_source(path, strategy="cpu", **selection))
    given = list(source)
    assert [frame.time for frame in given] == [frame.time for frame in expected]
    for frame, other in zip(given, expected, strict=True):
        assert np.array_equal(frame.image.permute(1, 2, 0), other.image)


@pytest.mark.parametrize(("selection", "held"), [({"every": 3}, 1), ({"fps": 1}, 1), ({}, 8)], ids=str)
def test_a_selected_frame_holds_no_other_frames(torchcodec, tmp_path, selection, held):
    # Frames are views of a block of eight; if all are used, none is copied.
    frames = list(open_source(write_clip(tmp_path / "a.mp4", 60), device=CUDA, **selection))
    sizes = [frame.image.untyped_storage().nbytes() / frame.image.nbytes for frame in frames]
    assert max(sizes) <= held + 1  # and the frame that was displayed since before the block
    assert held > 1 or set(sizes) == {1}


def test_frames_are_decoded_on_a_stream_of_their_own_and_complete_when_given(torchcodec, streams, tmp_path):
    caller = torch.cuda.current_stream()
    for frame in open_source(write_clip(tmp_path / "a.mp4", 20), device=CUDA):
        assert torch.cuda.current_stream() is caller
        assert frame.ready.blocking  # waiting takes no core
        assert frame.ready.log == ["recorded", "waited for"]
        assert frame.ready.stream is torchcodec.streams[-1]
        assert frame.as_source().ready is frame.ready
    assert len(set(torchcodec.streams)) == 1
    assert caller not in torchcodec.streams


def test_the_cpu_continues_where_the_gpu_fails(torchcodec, tmp_path):
    path = write_clip(tmp_path / "a.mp4", 60)
    torchcodec.breaks_at = 1.0
    frames = list(open_source(path, device=CUDA))
    assert [frame.time for frame in frames] == read_clip(path)[0]
    assert [frame.index for frame in frames] == list(range(60))
    assert {type(frame.image) for frame in frames} == {torch.Tensor, np.ndarray}


def test_damage_is_reported_as_on_the_cpu(torchcodec, tmp_path):
    whole = write_clip(tmp_path / "whole.mp4", 90, container_options={"movflags": "faststart"})
    path = tmp_path / "a.mp4"
    path.write_bytes(whole.read_bytes()[: int(0.7 * whole.stat().st_size)])
    torchcodec.breaks_at = 0.5
    torchcodec.__init__ = lambda self, _, **how: PretendedDecoder.__init__(self, str(whole), **how)
    frames = iter(open_source(path, device=CUDA))
    assert len([next(frames) for _ in range(40)]) == 40
    with pytest.raises(VideoDecodeError, match=r"a\.mp4: (damaged|ends after)"):
        list(frames)


@pytest.mark.parametrize("trouble", ["fallback", "raises"])
def test_unsupported_videos_are_decoded_on_the_cpu_with_the_reason(torchcodec, tmp_path, trouble):
    def refuse(self, *_, **__):
        raise RuntimeError("no such engine\nstack")

    if trouble == "fallback":
        torchcodec.cpu_fallback = "[nvdec] Falling back due to: Video not supported"
    else:
        torchcodec.__init__ = refuse
    source = open_source(write_clip(tmp_path / "a.mp4", 3), device=CUDA)
    assert source.info.decoder.name == "pyav"
    assert {"fallback": "Video not supported", "raises": "no such engine)"}[trouble] in source.info.decoder.reason
    assert len(list(source)) == 3


@pytest.mark.parametrize(
    ("video", "device", "reason"),
    [
        (PLAIN, None, "no CUDA device"),
        (PLAIN, torch.device("mps"), "no CUDA device"),
        (PLAIN._replace(plain=False), CUDA, "rotation or stretching"),
        (PLAIN._replace(pixel_format="yuv420p10le"), CUDA, "yuv420p10le"),
        (PLAIN._replace(jumps=True), CUDA, "clock"),
    ],
)
def test_unsupported_videos_are_known_before_decoding(video, device, reason):
    assert reason in nvdec.nvdec_unsupported_reason(video, device)


def test_a_missing_library_is_named_with_a_hint(monkeypatch):
    def missing(*_, **__):
        raise nvdec.UnsupportedError("torchcodec is not installed: pip install 'depth-anything-3-fast[torchcodec]'")

    monkeypatch.setattr(nvdec, "package_version", missing)
    assert "pip install" in nvdec.nvdec_unsupported_reason(PLAIN, CUDA)
