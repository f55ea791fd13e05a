"""Videos as cameras, editors and `cat` leave them; frame counts and times are those of ffprobe, or by construction."""

from __future__ import annotations

import io
import struct
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image, ImageOps

from depth_anything_3.errors import InvalidInputError, VideoDecodeError, VideoReadError
from depth_anything_3.inputs.video import open_source
from depth_anything_3.jobs.video.frames import pixels_of
from support.clips import FPS, draw_image, read_clip, write_clip
from support.images import exif_block, jpeg

B_FRAMES = {"bf": "2", "g": "12"}


# Exif blocks, which PyAV's table of side data lacks


def quadrants() -> np.ndarray:
    """Four grey levels, so that all eight orientations differ."""
    image = np.zeros((48, 64, 3), np.uint8)
    image[:24, 32:], image[24:, :32], image[24:, 32:] = 80, 160, 240
    return image


def photo(orientation: int) -> bytes:
    file, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(quadrants()).save(file, "JPEG", quality=95, exif=exif.tobytes())
    return file.getvalue()


def upright(data: bytes) -> np.ndarray:
    return np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photo_given_as_a_video_is_oriented_like_an_image(tmp_path, orientation):
    data, path = photo(orientation), tmp_path / "photo.jpg"
    path.write_bytes(data)
    source = open_source(path)
    assert source.info.decoder.name == "images"
    (frame,) = source
    assert np.array_equal(pixels_of(frame), upright(data))
    for given in (data, io.BytesIO(data)):  # by FFmpeg, which scales chroma in another way
        (frame,) = open_source(given)
        assert np.abs(frame.image - upright(data).astype(int)).max() <= 3


@pytest.mark.parametrize("name", ["a.mov", "a.avi", "a.mkv"])
def test_frames_of_motion_jpeg_with_exif_are_oriented(tmp_path, name):
    photos = [photo(orientation) for orientation in (1, 6, 7, 2)]
    with av.open(str(tmp_path / name), "w") as container:
        stream = container.add_stream("mjpeg", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        for number, data in enumerate(photos):
            packet = av.Packet(data)
            packet.stream, packet.pts, packet.dts, packet.is_keyframe = stream, number, number, True
            packet.time_base = Fraction(1, FPS)
            container.mux(packet)
    frames = list(open_source(tmp_path / name))
    for frame, data in zip(frames, photos, strict=True):
        assert np.abs(frame.image - upright(data).astype(int)).max() <= 3


def test_a_gain_map_behind_a_jpeg_is_no_frame(tmp_path):
    path = tmp_path / "photo.jpg"
    path.write_bytes(jpeg(96, 72) + jpeg(48, 36))
    assert len(list(open_source(path))) == 1


def test_a_heif_image_is_read_by_the_image_pipeline(tmp_path):
    path = tmp_path / "photo.heic"
    path.write_bytes(b"\0\0\0\x18ftypheic" + bytes(200))
    (frame,) = open_source(path)
    assert frame.image == path


def test_animated_webp_is_rejected(tmp_path):
    path = tmp_path / "a.webp"
    images = [Image.fromarray(draw_image(number)) for number in range(3)]
    images[0].save(path, save_all=True, append_images=images[1:])
    with pytest.raises(VideoReadError, match=r"a\.webp: FFmpeg does not decode animated WebP; convert it"):
        open_source(path)


@pytest.mark.parametrize("kind", ["GIF", "PNG"])
def test_animated_images_have_the_times_of_their_frames(tmp_path, kind):
    path = tmp_path / f"a.{kind.lower()}"
    images = [Image.fromarray(draw_image(number)) for number in range(4)]
    images[0].save(path, kind, save_all=True, append_images=images[1:], duration=[100, 200, 50, 100])
    frames = list(open_source(path))
    assert [round(frame.time, 3) for frame in frames] == [0, 0.1, 0.3, 0.35]


# Durations that are wrong


def with_tag(data: bytes, tag: bytes) -> bytes:
    assert data.count(b"00:00:02.000000000") == 1
    return data.replace(b"00:00:02.000000000", tag)


def with_segment_duration(data: bytes, milliseconds: float) -> bytes:
    place = data.index(b"\x44\x89\x88") + 3
    return data[:place] + struct.pack(">d", milliseconds) + data[place + 8 :]


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    return write_clip(tmp_path_factory.mktemp("film") / "a.mkv", 60, options=B_FRAMES).read_bytes()


class Pipe(io.BytesIO):
    seek = tell = None

    def seekable(self):
        return False


@pytest.mark.parametrize("tag", [b"00:10:00.000000000", b"00:00:01.000000000"], ids=["too long", "too short"])
def test_a_wrong_duration_tag_leaves_a_film_whole(tmp_path, film, tag):
    changed = with_tag(film, tag)
    (tmp_path / "a.mkv").write_bytes(changed)
    for source in (changed, Pipe(changed), tmp_path / "a.mkv"):
        assert len(list(open_source(source))) == 60
    both = with_segment_duration(changed, 600_000)
    (tmp_path / "b.mkv").write_bytes(both)
    for source in (both, tmp_path / "b.mkv"):
        assert len(list(open_source(source))) == 60


@pytest.mark.parametrize("tag", [b"00:10:00.000000000", b"00:00:02.000000000"])
def test_a_film_whose_end_is_missing_is_reported(film, tag):
    changed = with_segment_duration(with_tag(film, tag), 600_000)
    half = len(changed) // 2
    for damaged in (changed[:half], changed[:half] + bytes(len(changed) - half)):
        with pytest.raises(VideoDecodeError, match="truncated"):
            list(open_source(damaged))


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "libx264"), ("a.avi", "mpeg4")])
def test_a_wrong_duration_in_the_header_leaves_a_film_whole(tmp_path, name, codec):
    path = write_clip(tmp_path / name, 60, codec=codec)
    data = bytearray(path.read_bytes())
    if name == "a.mp4":
        place = data.index(b"mdhd") + 20
        data[place : place + 4] = struct.pack(">I", 30 * struct.unpack(">I", data[place : place + 4])[0])
    else:
        place = data.index(b"strh") + 40
        assert struct.unpack("<I", data[place : place + 4]) == (60,)
        data[place : place + 4] = struct.pack("<I", 1800)
    path.write_bytes(data)
    assert len(list(open_source(path))) == 60


def test_a_clock_that_begins_late_is_no_missing_end(tmp_path):
    path = write_clip(tmp_path / "a.mkv", 30, times=[7 + number / FPS for number in range(30)])
    source = open_source(path)
    assert source.info.duration == pytest.approx(1.0, abs=0.05)
    assert len(list(open_source(Pipe(path.read_bytes())))) == len(list(source)) == 30


# Joined streams


def joined(tmp_path, name: str, offsets: tuple[float, ...], codec: str) -> tuple[list[np.ndarray], bytes]:
    """Clips of different lengths whose clocks begin at the offsets, joined by `cat`; with all their frames."""
    images, data = [], b""
    for number, offset in enumerate(offsets):
        frames = 40 + 10 * number
        path = tmp_path / f"{number}{name}"
        times = [offset + index / FPS for index in range(frames)]
        options = B_FRAMES if codec == "libx264" else {"g": "12"}
        write_clip(path, frames, codec=codec, times=times if codec == "libx264" else None, options=options)
        images += read_clip(path)[1]
        data += path.read_bytes()
    return images, data


@pytest.mark.parametrize(
    ("name", "offsets", "codec"),
    [
        pytest.param("a.ts", (0, 0), "libx264", id="the clock starts again"),
        pytest.param("a.ts", (100, 0, 0), "libx264", id="and before the first"),
        pytest.param("a.ts", (0, 1000), "libx264", id="or far behind it"),
        pytest.param("a.ts", (0, 40 / FPS), "libx264", id="the clock continues"),
        pytest.param("a.ts", (0, 0), "mpeg2video", id="MPEG-2"),
        pytest.param("a.mpg", (0, 0), "mpeg2video", id="program streams"),
    ],
)
def test_joined_streams_continue(tmp_path, name, offsets, codec):
    images, data = joined(tmp_path, name, offsets, codec)
    path = tmp_path / name
    path.write_bytes(data)
    frames = list(open_source(path))
    assert len(frames) == len(images)
    assert all(np.array_equal(frame.image, image) for frame, image in zip(frames, images, strict=True))
    times = np.array([frame.time for frame in frames])
    assert np.allclose(np.diff(times), 1 / FPS, atol=1e-3)
    for start in (0.5, 1.5, 2.0):
        expected = [place for place, time in enumerate(times - times[0]) if time >= start]
        rest = list(open_source(path, start=start))
        assert [frame.time for frame in rest] == times[expected].tolist()
        assert all(np.array_equal(frame.image, images[place]) for frame, place in zip(rest, expected, strict=True))


def test_lost_packets_are_not_taken_for_a_joint(tmp_path):
    data = write_clip(tmp_path / "a.ts", 60, options={"g": "12", "bf": "0"}).read_bytes()
    packets = [data[place : place + 188] for place in range(0, len(data), 188)]
    for lost in range(len(packets) // 4, len(packets) - 12, 3):  # each frame has one packet or a few
        if any(packet[1] & 0x1F == 1 and packet[2] == 0 for packet in packets[lost : lost + 3]):  # of the video
            with pytest.raises(VideoDecodeError, match="damaged or truncated"):
                list(open_source(b"".join(packets[:lost] + packets[lost + 3 :])))


@pytest.mark.parametrize("counts", [(60, 40), (40, 60), (400, 40)], ids=str)
def test_parts_in_different_streams_are_reported(tmp_path, counts):
    data = b""
    for number, frames in enumerate(counts):
        options = {"mpegts_start_pid": str(256 * (1 + number))}
        data += write_clip(tmp_path / f"{number}.ts", frames, container_options=options).read_bytes()
    given = []
    with pytest.raises(VideoReadError, match="parts of the video are in different streams"):
        take(given, open_source(data))
    assert len(given) in (0, counts[0])


def take(given, source):
    for frame in source:
        given.append(frame)


# A start behind the end


def sequence(tmp_path) -> str:
    for number in range(10):
        Image.fromarray(draw_image(number)).save(tmp_path / f"{number}.png")
    return str(tmp_path / "*.png")


@pytest.mark.parametrize("start", [1.0, 5.0])
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts", "*.png", "raw", "list"])
def test_a_start_behind_the_end_is_an_error_with_the_length(tmp_path, name, start):
    frames = [draw_image(number) for number in range(10)]
    raw, given = None, {}
    if name == "*.png":
        source, given = sequence(tmp_path), {"fps": 10}
    elif name == "raw":
        source, raw = io.BytesIO(b"".join(frame.tobytes() for frame in frames)), "96x72:rgb24@10"
    elif name == "list":
        source, given = frames, {"fps": 10}
    else:
        source = write_clip(tmp_path / name, 10, fps=10)
    with pytest.raises(VideoReadError, match=rf"start={start:g} s; the video is 1\.00 s long"):
        list(open_source(source, raw=raw, start=start, **given))


def test_an_end_before_the_start_and_a_large_stride(tmp_path):
    path = write_clip(tmp_path / "a.mp4", 5)
    with pytest.raises(InvalidInputError, match=r"end=1 is not after start=2"):
        open_source(path, start=2, end=1)
    assert [frame.index for frame in open_source(path, every=100)] == [0]


def test_a_resumed_run_has_no_frames_left(tmp_path):
    path = write_clip(tmp_path / "a.mp4", 10, fps=10)
    assert list(open_source(path, start=0.5, after=0.9)) == []


# Cover art


def test_cover_art_is_not_the_film(tmp_path):
    path = tmp_path / "a.m4a"
    with av.open(str(path), "w", format="mp4") as container:
        sound = container.add_stream("aac", rate=8000, layout="mono")
        cover = container.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 64, 48, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        silence.rate = 8000
        container.mux(sound.encode(silence))
        container.mux(sound.encode())
        packet = av.Packet(jpeg(64, 48, exif=exif_block(6)))
        packet.stream, packet.pts, packet.dts, packet.is_keyframe = cover, 0, 0, True
        container.mux(packet)
    with pytest.raises(VideoReadError, match=r"a\.m4a: contains no video \(audio, cover art only\)"):
        open_source(path)
