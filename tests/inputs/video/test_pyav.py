"""Video files give the frames and times of PyAV, damaged ones up to the damage."""

from __future__ import annotations

import io
import threading
from fractions import Fraction

import av
import numpy as np
import pytest

from depth_anything_3.errors import VideoDecodeError, VideoReadError
from depth_anything_3.inputs.video import open_source
from support.clips import FPS, SIZE_HW, draw_image, read_clip, write_clip

VARIABLE = [0.0, 0.033, 0.066, 0.4, 0.41, 0.9, 1.0, 1.2, 2.0, 2.04]
B_FRAMES = {"bf": "3", "b-adapt": "0", "g": "12"}
PARAMETERS = [
    pytest.param("a.mp4", {}, id="constant rate"),
    pytest.param("a.mp4", {"options": B_FRAMES}, id="B-frames"),
    pytest.param("a.mkv", {"options": B_FRAMES, "fps": Fraction(30000, 1001)}, id="29.97 in milliseconds"),
    pytest.param("a.mp4", {"frames": 10, "times": VARIABLE, "options": B_FRAMES}, id="variable rate"),
    pytest.param("a.ts", {}, id="clock that does not begin at 0"),
    pytest.param("a.avi", {"codec": "mpeg4"}, id="avi"),
    pytest.param("a.mp4", {"codec": "libx265", "pixel_format": "yuv420p10le"}, id="10 bits"),
    pytest.param("a.webm", {"codec": "libvpx-vp9", "pixel_format": "yuva420p"}, id="alpha"),
    pytest.param("a.mkv", {"codec": "ffv1", "pixel_format": "yuv444p", "size_hw": (71, 97)}, id="odd size"),
    pytest.param("a.mkv", {"codec": "ffv1", "pixel_format": "gray"}, id="grey"),
    pytest.param("a.mov", {"codec": "png", "pixel_format": "rgba"}, id="RGB with alpha"),
]


@pytest.mark.parametrize(("name", "how"), PARAMETERS)
def test_frames_and_times_are_those_of_pyav(tmp_path, name, how):
    path = write_clip(tmp_path / name, **{"frames": 24, **how})
    times, images = read_clip(path)
    with open_source(path) as source:
        frames = list(source)
    assert [frame.time for frame in frames] == times
    assert [frame.index for frame in frames] == list(range(len(images)))
    assert all(np.array_equal(frame.image, image) for frame, image in zip(frames, images, strict=True))
    assert source.info.size_hw == images[0].shape[:2]
    assert source.info.label == str(path)
    assert source.info.decoder.name == "pyav"


@pytest.mark.parametrize("degrees", [90, 180, -90])
def test_rotation_metadata_is_applied(tmp_path, degrees):
    path = write_clip(tmp_path / "a.mp4", 3, rotation=degrees)
    _, images = read_clip(path)
    source = open_source(path)
    frames = [frame.image for frame in source]
    for frame, image in zip(frames, images, strict=True):
        assert np.array_equal(frame, np.rot90(image, degrees // 90))
    assert source.info.size_hw == frames[0].shape[:2]


def test_mirrored_display_matrices_are_applied(tmp_path):
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.height, stream.width, stream.pix_fmt = *SIZE_HW, "yuv420p"
        one = 1 << 16
        stream.set_display_matrix([-one, 0, 0, 0, one, 0, 0, 0, 1 << 30])
        container.mux(stream.encode(av.VideoFrame.from_ndarray(draw_image(0), format="rgb24")))
        container.mux(stream.encode())
    (_, (image,)), (frame,) = read_clip(path), open_source(path)
    assert np.array_equal(frame.image, image[:, ::-1])


def test_pixels_become_square(tmp_path):
    path = write_clip(tmp_path / "a.mp4", 2, pixel_ratio=Fraction(4, 3))
    source = open_source(path)
    assert [frame.image.shape for frame in source] == [(72, 128, 3)] * 2
    assert source.info.size_hw == (72, 128)


@pytest.mark.parametrize("matrix", [1, 5, 9], ids=["BT.709", "BT.601", "BT.2020"])
@pytest.mark.parametrize("full", [False, True], ids=["limited", "full"])
def test_colours_follow_matrix_and_range(tmp_path, matrix, full):
    kr, kb = {1: (0.2126, 0.0722), 5: (0.299, 0.114), 9: (0.2627, 0.0593)}[matrix]
    path = write_clip(tmp_path / "a.mkv", 1, codec="ffv1", pixel_format="yuv444p", colour=(matrix, 2 if full else 1))
    with av.open(str(path)) as container:
        y, u, v = next(container.decode(video=0)).to_ndarray().astype(np.float64)
    if not full:
        y, u, v = (y - 16) * 255 / 219, (u - 128) * 255 / 224 + 128, (v - 128) * 255 / 224 + 128
    red, blue = y + 2 * (1 - kr) * (v - 128), y + 2 * (1 - kb) * (u - 128)
    expected = np.stack([red, (y - kr * red - kb * blue) / (1 - kr - kb), blue], axis=-1)
    (frame,) = open_source(path)
    assert np.abs(frame.image - np.clip(expected, 0, 255)).max() <= 2.5  # swscale's fast tables


def test_frames_do_not_share_memory_with_the_source(tmp_path):
    path = write_clip(tmp_path / "a.nut", 12, codec="rawvideo", pixel_format="rgb24")
    frames = list(open_source(path))
    for frame, image in zip(frames, read_clip(path)[1], strict=True):
        assert np.array_equal(frame.image, image)


# Selection


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts", "a.avi"])
@pytest.mark.parametrize("start", [0.0, 0.31, 1.0, 2.55])
def test_a_start_returns_the_frames_from_that_time(tmp_path, name, start):
    codec = {"codec": "mpeg4"} if name == "a.avi" else {"options": B_FRAMES}
    path = write_clip(tmp_path / name, 90, **codec)
    times, images = read_clip(path)
    wanted = [place for place, time in enumerate(times) if start <= time - times[0] < start + 0.25]
    frames = list(open_source(path, start=start, end=start + 0.25))
    assert [frame.time for frame in frames] == [times[place] for place in wanted]
    assert all(np.array_equal(frame.image, images[place]) for frame, place in zip(frames, wanted, strict=True))


@pytest.mark.parametrize("options", [{}, {"fps": 7}, {"every": 4}, {"start": 1.1, "fps": 12}])
@pytest.mark.parametrize("name", ["a.mkv", "a.ts"])
def test_resuming_after_a_frame_gives_the_frames_that_follow(tmp_path, name, options):
    path = write_clip(tmp_path / name, 90, options=B_FRAMES)
    times = [frame.time for frame in open_source(path, **options)]
    for stopped in (0, len(times) // 2, len(times) - 1):
        rest = open_source(path, after=times[stopped], **options)
        assert [frame.time for frame in rest] == times[stopped + 1 :]


def test_fps_chooses_by_time(tmp_path):
    path = write_clip(tmp_path / "a.mkv", 60)
    assert [round(frame.time * 30) for frame in open_source(path, fps=10)] == list(range(0, 60, 3))
    assert [round(frame.time * 30) for frame in open_source(path, every=7, start=1)] == [30, 37, 44, 51, 58]


@pytest.mark.parametrize("name", ["a.mp4", "a.ts"])
def test_keyframes_alone_are_the_same_frames(tmp_path, name):
    path = write_clip(tmp_path / name, 60, options=B_FRAMES)
    with av.open(str(path)) as container:
        shown = [(frame.time, frame.key_frame) for frame in container.decode(video=0)]
    times, images = read_clip(path)
    frames = list(open_source(path, start=0.5, keyframes=True))
    keys = [place for place, (time, key) in enumerate(shown) if key and time - times[0] >= 0.5]
    assert len(keys) >= 3
    assert [frame.time for frame in frames] == [times[place] for place in keys]
    assert all(np.array_equal(frame.image, images[place]) for frame, place in zip(frames, keys, strict=True))


# Objects


def test_bytes_and_file_objects_are_videos_too(tmp_path):
    path = write_clip(tmp_path / "a.mp4", 5)
    _, images = read_clip(path)
    for source in (path.read_bytes(), io.BytesIO(path.read_bytes()), str(path)):
        assert [np.array_equal(a.image, b) for a, b in zip(open_source(source), images, strict=True)] == [True] * 5


def test_a_file_named_like_an_address_or_pattern_is_a_file(tmp_path):
    for name in ("a:b.mp4", "a*.mp4", "a%03d.mp4"):
        assert len(list(open_source(write_clip(tmp_path / name, 3)))) == 3


def test_closing_in_another_thread_ends_the_iteration(tmp_path):
    source = open_source(write_clip(tmp_path / "a.mp4", 60))
    frames = iter(source)
    next(frames)
    thread = threading.Thread(target=source.close)
    thread.start()
    thread.join()
    source.close()
    assert list(frames) == []


# What is broken


def inside_a_packet(path, share):
    """An offset near a share of the file, within the data of a frame; x264 does not write the same bytes each time."""
    with av.open(str(path)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    position, size = min(packets, key=lambda packet: abs(packet[0] - share * path.stat().st_size))
    return position + size // 2


@pytest.mark.parametrize(
    ("name", "how"),
    [
        pytest.param("a.mp4", {"container_options": {"movflags": "faststart"}}, id="mp4"),
        pytest.param("a.mp4", {"container_options": {"movflags": "frag_keyframe+empty_moov"}}, id="fragments"),
        pytest.param("a.mkv", {"options": B_FRAMES}, id="mkv"),
        pytest.param("a.avi", {"codec": "mpeg4"}, id="avi"),
        pytest.param("a.webm", {"codec": "libvpx-vp9"}, id="webm"),
    ],
)
@pytest.mark.parametrize("share", [0.5, 0.63, 0.8])
def test_a_truncated_file_returns_the_intact_frames_then_one_error(tmp_path, caplog, name, how, share):
    whole = write_clip(tmp_path / f"whole_{name}", 90, **how)
    times, images = read_clip(whole)
    shown = dict(zip(times, images, strict=True))
    cut = tmp_path / name
    cut.write_bytes(whole.read_bytes()[: inside_a_packet(whole, share)])
    given = []
    with pytest.raises(VideoDecodeError, match=f"{name}.*truncated") as caught:
        take(given, open_source(cut))
    assert 10 < len(given) < 90
    assert all(np.array_equal(frame.image, shown[frame.time]) for frame in given)
    assert [frame.time for frame in given] == times[: len(given)]
    assert "on_error='skip'" in str(caught.value)
    skipping = list(open_source(cut, on_error="skip"))
    assert len(skipping) >= len(given)
    assert any(name in record.getMessage() for record in caplog.records)


def test_a_file_truncated_between_packets_has_no_frames_after_a_gap(tmp_path):
    whole = write_clip(tmp_path / "whole.mp4", 60, container_options={"movflags": "faststart"})
    times = read_clip(whole)[0]
    with av.open(str(whole)) as container:
        starts = sorted(packet.pos for packet in container.demux(video=0) if packet.size)
    cut = tmp_path / "cut.mp4"
    for start in starts[20:32]:  # some are in front of images that are shown before others already there
        cut.write_bytes(whole.read_bytes()[:start])
        given = []
        with pytest.raises(VideoDecodeError, match=r"cut\.mp4: ends after \d\.\d+ of 2\.00 s"):
            take(given, open_source(cut))
        assert [frame.time for frame in given] == times[: len(given)]
        assert len(given) > 10
        assert len(list(open_source(cut, on_error="skip"))) >= len(given)


def take(given, source):
    for frame in source:
        given.append(frame)
    return []


def test_damage_in_the_middle_is_skipped_on_request(tmp_path, caplog):
    path = write_clip(tmp_path / "a.mp4", 60, options={"g": "12", "bf": "0"})
    data, times = bytearray(path.read_bytes()), read_clip(path)[0]
    with av.open(str(path)) as container:
        place = [packet.pos for packet in container.demux(video=0)][29]
    data[place : place + 8] = b"\xff" * 8  # the length of a unit
    path.write_bytes(data)
    given = []
    with pytest.raises(VideoDecodeError, match=r"damaged or truncated after \d\.\d+ s"):
        take(given, open_source(path))
    assert [frame.time for frame in given] == times[: len(given)]
    skipping = [frame.time for frame in open_source(path, on_error="skip")]
    assert set(skipping) <= set(times)
    assert skipping[-1] == times[-1]
    assert len(skipping) > len(given)
    assert "were skipped" in caplog.text


def test_an_mp4_without_its_index_is_reported(tmp_path):
    path = write_clip(tmp_path / "a.mp4")
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(VideoReadError, match="its end is missing"):
        open_source(path)


class Pipe(io.BytesIO):
    """Cannot be gone back in."""

    seek = tell = None

    def seekable(self):
        return False


def test_a_pipe_is_read_only_if_its_index_comes_first(tmp_path):
    first = write_clip(tmp_path / "first.mp4", 5, container_options={"movflags": "faststart"})
    assert len(list(open_source(Pipe(first.read_bytes())))) == 5
    last = write_clip(tmp_path / "last.mp4", 60, options={"crf": "1"})  # more than a buffer holds
    with pytest.raises(VideoReadError, match=r"pipes are not seekable.*faststart"):
        open_source(Pipe(last.read_bytes()))


@pytest.mark.parametrize(
    ("name", "message"),
    [("a.mka", r"contains no video \(audio only\)"), ("a.wav", r"not a video but a sound file \(WAV\)")],
)
def test_sound_alone_is_rejected(tmp_path, name, message):
    path = tmp_path / name
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        sound.rate = 8000
        container.mux(stream.encode(sound))
    with pytest.raises(VideoReadError, match=rf"{name}: {message}"):
        open_source(path)


@pytest.mark.parametrize(
    ("data", "message"),
    [(None, "No such file"), (b"", "is empty"), (b"this is no video" * 50, "not a video")],
)
def test_inputs_that_are_not_videos_are_rejected(tmp_path, data, message):
    path = tmp_path / "a.mp4"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(VideoReadError, match=rf"a\.mp4: .*{message}"):
        open_source(path)


def test_colours_that_cannot_be_converted_are_named(tmp_path):
    path = write_clip(tmp_path / "a.mkv", 1, options={"x264-params": "colormatrix=bt2020c"})
    with pytest.raises(VideoReadError, match="cannot be converted"):
        list(open_source(path))
