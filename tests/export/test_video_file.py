"""Videos that play whenever their writing ends: closed, stopped, or killed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from depth_anything_3.errors import ExportError
from depth_anything_3.export import video_file as video_writer
from depth_anything_3.export.video_file import VideoWriter, join_parts, part_files
from support.clips import draw_image

SIZE = (71, 97)
KILLED = """
import os, signal, sys
from pathlib import Path
from export.test_video_file import drawn
from depth_anything_3.export.video_file import VideoWriter
target = Path(sys.argv[1])
writer = VideoWriter(target, {"depth_scale": "0.5"})
for number in range(20):
    writer.write(drawn(number, target.suffix), number / 30)
os.kill(os.getpid(), signal.SIGKILL)
"""


def drawn(number, suffix):
    image = draw_image(number, SIZE)
    return image if suffix == ".mp4" else image[..., 0].astype(np.uint16) * 257


def write(target, numbers):
    with VideoWriter(target, {"depth_scale": "0.5"}) as writer:
        for number in numbers:
            writer.write(drawn(number, target.suffix), number / 30)


def read(path):
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = list(container.decode(stream))
        return stream, frames, {key.lower(): value for key, value in container.metadata.items()}


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_video_has_its_frames_times_size_and_rate(tmp_path, suffix):
    target = tmp_path / f"a{suffix}"
    write(target, range(40))
    assert [one.name for one in part_files(target)] == [f"a.part001{suffix}"]
    join_parts(target)
    stream, frames, metadata = read(target)
    assert [path.name for path in tmp_path.iterdir()] == [target.name]
    assert [frame.time for frame in frames] == pytest.approx([number / 30 for number in range(40)], abs=0.0005)
    assert (stream.height, stream.width) == ((72, 98) if suffix == ".mp4" else SIZE)
    assert float(stream.average_rate) == pytest.approx(30)
    for number, frame in enumerate(frames):
        expected = drawn(number, suffix)
        if suffix == ".mkv":
            np.testing.assert_array_equal(frame.to_ndarray(), expected)
        else:
            image = frame.to_ndarray(format="rgb24")[:71, :97].astype(int)
            assert np.abs(image - expected).mean() < 4
    assert suffix == ".mp4" or metadata["depth_scale"] == "0.5"


def test_a_variable_rate_stays_one(tmp_path):
    times = [0.0, 0.1, 0.11, 0.5, 0.5, 2.0]
    with VideoWriter(tmp_path / "a.mp4") as writer:
        for number, seconds in enumerate(times):
            writer.write(draw_image(number), seconds)
    join_parts(tmp_path / "a.mp4")
    given = [frame.time for frame in read(tmp_path / "a.mp4")[1]]
    assert given == pytest.approx(times, abs=0.001)
    assert len(set(given)) == 6


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_killed_process_leaves_a_playable_resumable_video(tmp_path, suffix):
    target = tmp_path / f"a{suffix}"
    paths = str(Path(__file__).parents[1])
    command = [sys.executable, "-c", KILLED, str(target)]
    left = subprocess.run(command, env={**os.environ, "PYTHONPATH": paths}, check=False)
    assert left.returncode == -9
    (part,) = part_files(target)
    assert len(read(part)[1]) >= 18  # the muxer holds one back
    write(target, range(17, 40))
    join_parts(target)
    _, frames, _ = read(target)
    assert [round(frame.time * 30, 1) for frame in frames] == pytest.approx(list(range(40)), abs=0.05)
    if suffix == ".mkv":
        assert all(np.array_equal(frame.to_ndarray(), drawn(number, suffix)) for number, frame in enumerate(frames))


def test_parts_that_do_not_fit_together_are_rejected_and_not_deleted(tmp_path):
    for size in ((72, 96), (48, 64)):
        with VideoWriter(tmp_path / "a.mp4") as writer:
            writer.write(draw_image(0, size), 0)
    with pytest.raises(ExportError, match=r"a\.part002\.mp4: cannot be joined"):
        join_parts(tmp_path / "a.mp4")
    assert len(part_files(tmp_path / "a.mp4")) == 2


def test_a_part_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "a.part001.mp4").write_bytes(b"nothing")
    with pytest.raises(ExportError, match=r"a\.part001\.mp4: cannot be read"):
        join_parts(tmp_path / "a.mp4")


def test_a_part_without_frames_leaves_nothing(tmp_path):
    VideoWriter(tmp_path / "new" / "a.mp4").close()
    assert list((tmp_path / "new").iterdir()) == []


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ExportError, match=r"part001\.mp4: cannot be written"):
        VideoWriter(tmp_path / "file" / "a.mp4")


def test_without_pyav_a_hint_is_given(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(video_writer.UnsupportedError, match=r"pip install '\.\[video\]'"):
        VideoWriter(tmp_path / "a.mp4")
