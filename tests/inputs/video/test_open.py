"""Video sources are recognised: cameras, sequences, raw frames, iterables."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from depth_anything_3.errors import ImageTypeError, InvalidInputError, VideoDecodeError, VideoReadError
from depth_anything_3.inputs.video import Frame, open_source
from support.clips import draw_image, write_clip
from support.images import write


@pytest.fixture
def numbered(tmp_path):
    for number in (3, 4, 6, 11):
        Image.fromarray(draw_image(number)).save(tmp_path / f"frame_{number:05d}.png")
    (tmp_path / "frame_00007.txt").write_text("not an image")
    return tmp_path


# Image sequences


def test_a_numbered_name_lists_files_in_order_with_gaps(numbered):
    source = open_source(numbered / "frame_%05d.png", fps=10)
    frames = list(source)
    assert [frame.image.name for frame in frames] == [f"frame_{number:05d}.png" for number in (3, 4, 6, 11)]
    assert [frame.time for frame in frames] == pytest.approx([0, 0.1, 0.3, 0.8])
    assert source.info.decoder.name == "images"


@pytest.mark.parametrize("pattern", ["", "*.png", "frame_0000?.png"])
def test_folders_and_patterns_give_their_files_at_a_constant_rate(numbered, pattern):
    frames = list(open_source(f"{numbered}/{pattern}", fps=4, every=2))
    assert [frame.image.name for frame in frames] == ["frame_00003.png", "frame_00006.png"]
    assert [frame.time for frame in frames] == [0, 0.5]


@pytest.mark.parametrize(
    ("names", "order"),
    [
        ("1.png 2.png 10.png 11.png", "1 2 10 11"),
        ("01.png 1.png 2.png 002.png 10.png", "01 1 002 2 10"),
        ("f2_9.png f2_10.png f10_1.png a.png 3.png", "3 a f2_9 f2_10 f10_1"),
    ],
    ids=["unpadded", "mixed", "two numbers"],
)
def test_folders_and_patterns_are_in_natural_order(tmp_path, names, order):
    for name in names.split():
        Image.fromarray(draw_image(0)).save(tmp_path / name)
    for source in (tmp_path, f"{tmp_path}/*.png"):
        assert [frame.image.stem for frame in open_source(source)] == order.split()


@pytest.mark.parametrize(("name", "message"), [("nothing_%d.png", "no files match"), ("x/%d.png", "no such folder")])
def test_sequences_without_files_are_rejected(tmp_path, name, message):
    with pytest.raises(VideoReadError, match=message):
        open_source(tmp_path / name)


# Iterables


def test_any_iterable_of_frames_is_a_video():
    def frames():
        yield draw_image(0)
        yield torch.from_numpy(draw_image(1)).permute(2, 0, 1)
        yield draw_image(2)[..., 0]
        yield Frame(draw_image(3), time=7.5, index=0, captured=1.0)

    given = list(open_source(frames(), fps=2))
    assert [frame.time for frame in given] == [0, 0.5, 1.0, 7.5]
    assert [tuple(frame.image.shape) for frame in given] == [(72, 96, 3), (3, 72, 96), (72, 96, 3), (72, 96, 3)]
    assert np.array_equal(given[2].image[..., 2], draw_image(2)[..., 0])


def test_selection_of_arrays_is_by_their_times():
    frames = open_source([draw_image(0)] * 40, fps=10, start=1.0, end=2.0, every=5)
    assert [frame.index for frame in frames] == [10, 15]


@pytest.mark.parametrize("one", [np.zeros((4, 4, 3), np.float32), b"12", 3.5])
def test_items_that_are_not_frames_are_rejected(one):
    with pytest.raises(ImageTypeError, match="0"):
        list(open_source([one]))


@pytest.mark.parametrize("source", [np.zeros((2, 4, 4, 3), np.uint8), None, True, 2.5])
def test_inputs_that_are_not_videos_are_rejected(source):
    with pytest.raises(InvalidInputError, match="give a video"):
        open_source(source)


def test_a_source_is_returned_unchanged():
    source = open_source([draw_image(0)])
    assert open_source(source) is source


# Raw frames


@pytest.mark.parametrize("kind", ["rgb24", "bgr24", "gray", "yuv420p"])
def test_raw_frames_are_read_in_their_format(kind):
    images = [draw_image(number) for number in range(3)]
    encode = {
        "rgb24": lambda image: image,
        "bgr24": lambda image: image[..., ::-1],
        "gray": lambda image: image[..., 1],
        "yuv420p": lambda image: cv2.cvtColor(image, cv2.COLOR_RGB2YUV_I420),
    }[kind]
    data = b"".join(np.ascontiguousarray(encode(image)).tobytes() for image in images)
    frames = list(open_source(io.BytesIO(data), raw=f"96x72:{kind}@20"))
    assert [frame.time for frame in frames] == [0, 0.05, 0.1]
    for frame, image in zip(frames, images, strict=True):
        expected = np.repeat(image[..., 1:2], 3, axis=2) if kind == "gray" else image
        assert np.abs(frame.image.astype(int) - expected).mean() < (4 if kind == "yuv420p" else 1e-9)


def test_pipes_with_short_reads_deliver_complete_frames():
    data = b"".join(draw_image(number).tobytes() for number in range(2))

    class Pipe(io.RawIOBase):
        """Gives at most 1,000 bytes."""

        def readable(self):
            return True

        def readinto(self, room):
            part = data[self.place : self.place + min(1000, len(room))]
            room[: len(part)] = part
            self.place += len(part)
            return len(part)

        place = 0

    class Reader:
        """No more than `read`."""

        def __init__(self):
            self.read = Pipe().read

    for file in (Pipe(), Reader()):
        frames = list(open_source(file, raw="96x72:rgb24@30"))
        assert [np.array_equal(frame.image, draw_image(number)) for number, frame in enumerate(frames)] == [True, True]


def test_a_truncated_raw_frame_is_reported_or_skipped(caplog):
    data = draw_image(0).tobytes() + b"123"
    frames = iter(open_source(io.BytesIO(data), raw="96x72:rgb24@30000/1001"))
    next(frames)
    with pytest.raises(VideoDecodeError, match=r"frame 1 is incomplete \(3 of 20,736 bytes\)"):
        next(frames)
    assert len(list(open_source(io.BytesIO(data), raw="96x72:rgb24", on_error="skip"))) == 1
    assert "incomplete" in caplog.text


@pytest.mark.parametrize("layout", ["96x72", "96x72:rgb", "0x72:rgb24", "95x72:yuv420p", "axb:gray"])
def test_invalid_layouts_are_rejected(layout):
    with pytest.raises(InvalidInputError, match=f"raw='{layout}'"):
        open_source(io.BytesIO(), raw=layout)


def test_a_layout_needs_a_pipe(tmp_path):
    with pytest.raises(InvalidInputError, match="standard input"):
        open_source(tmp_path, raw="96x72:gray")


# Cameras


class PretendedCamera:
    """As OpenCV has it; gives three frames, each filled into memory of its own."""

    def __init__(self, name):
        self.name, self.left, self.released = name, 3, False

    def isOpened(self):
        return self.name in (0, "/dev/video3")

    def set(self, *_):
        return True

    def get(self, what):
        return {cv2.CAP_PROP_FRAME_HEIGHT: 72.0, cv2.CAP_PROP_FRAME_WIDTH: 96.0, cv2.CAP_PROP_FPS: 30.0}[what]

    def read(self):
        self.left -= 1
        return (True, draw_image(self.left)[..., ::-1].copy()) if self.left >= 0 else (False, None)

    def release(self):
        self.released = True


@pytest.mark.parametrize("name", [0, "0", "/dev/video3"])
def test_a_camera_returns_rgb_frames_with_arrival_times(monkeypatch, name):
    monkeypatch.setattr(cv2, "VideoCapture", PretendedCamera)
    source = open_source(name)
    assert source.info.live
    assert (source.info.size_hw, source.info.fps) == ((72, 96), 30)
    frames = iter(source)
    given = [next(frames) for _ in range(3)]
    with pytest.raises(VideoReadError, match=f"camera {name}: delivers no more frames"):
        next(frames)
    assert [np.array_equal(frame.image, draw_image(2 - place)) for place, frame in enumerate(given)] == [True] * 3
    assert given[0].time == 0
    assert given[2].time >= given[1].time


def test_a_missing_camera_is_reported(monkeypatch):
    monkeypatch.setattr(cv2, "VideoCapture", PretendedCamera)
    with pytest.raises(VideoReadError, match="camera 7: cannot be opened"):
        open_source("7")


def test_closing_a_camera_ends_it(monkeypatch):
    monkeypatch.setattr(cv2, "VideoCapture", PretendedCamera)
    source = open_source(0)
    frames = iter(source)
    next(frames)
    source.close()
    assert list(frames) == []
    assert source._capture.released


# Decoders


def test_the_reason_for_a_decoder_is_reported(tmp_path):
    path = write_clip(tmp_path / "a.mp4", 2)
    assert "no CUDA device" in open_source(path).info.decoder.reason
    assert "strategy 'hybrid'" in open_source(path, strategy="hybrid").info.decoder.reason


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        pytest.param("a.pdf", b"%PDF-1.7\n", "not a video but a PDF document", id="pdf"),
        pytest.param("a.mp4", b"<!doctype html>\n<title>Sign in</title>", "cannot be opened", id="html-named-mp4"),
        pytest.param("list.txt", b"a.mp4\nb.mp4\n", "not a video but a text file", id="text"),
        pytest.param("a.zip", b"PK\x03\x04" + bytes(40), "not a video but a ZIP archive", id="zip"),
    ],
)
def test_what_is_no_video_is_named(tmp_path, name, content, message):
    with pytest.raises(VideoReadError, match=rf"{name}: {message}"):
        open_source(write(tmp_path / name, content))


def test_a_rate_and_a_stride_are_not_given_together(tmp_path):
    clip = write_clip(tmp_path / "a.mp4", 3)
    with pytest.raises(InvalidInputError, match="fps=1 and every=2 both select frames; give one of them"):
        open_source(clip, fps=1, every=2)


@pytest.mark.parametrize(
    ("image", "shown"),
    [
        (np.zeros((4, 5, 3), np.uint8), "Frame(4x5x3 uint8, time=1.25, index=30)"),
        (torch.zeros((3, 4, 5), dtype=torch.uint8), "Frame(3x4x5 uint8 on cpu, time=1.25, index=30)"),
        (Path("a.jpg"), "Frame('a.jpg', time=1.25, index=30)"),
    ],
    ids=["array", "tensor", "path"],
)
def test_a_frame_is_shown_without_its_pixels(image, shown):
    assert repr(Frame(image, time=1.25, index=30, captured=0.0)) == shown
