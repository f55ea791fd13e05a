"""Live depth by the command `da3 webcam`."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
import urllib.request

import av
import numpy as np
import pytest
from PIL import Image

from depth_anything_3 import cli
from depth_anything_3.jobs.live import job as webcam
from support.clips import write_clip


@pytest.fixture
def command(small_checkpoint):
    """Starts the command as a process of its own, small and on the CPU."""
    running = []

    def start(*arguments):
        words = [sys.executable, "-m", "depth_anything_3.cli", "webcam", *map(str, arguments)]
        words += ["--model-dir", str(small_checkpoint), "--device", "cpu", "--process-res", "56"]
        script = "import sys; from depth_anything_3.cli import main; sys.argv[0] = 'da3'; main()"
        words[1:3] = ["-c", script]
        running.append(subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        return running[-1]

    yield start
    for process in running:
        process.kill()
        process.communicate()


def test_a_video_is_watched_and_recorded_until_ctrl_c(command, tmp_path):
    recording = tmp_path / "out.mp4"
    process = command(write_clip(tmp_path / "clip.mp4", frames=900), "--http", 0, "--record", recording)
    url = re.fullmatch(r"watch at (http://127.0.0.1:\d+/)\n", process.stdout.readline())[1]
    image = np.asarray(Image.open(urllib.request.urlopen(url + "snapshot.jpg", timeout=30)))
    assert image.shape == (42, 112, 3)  # camera and depth, 56 pixels wide each
    assert np.ptp(image[:, 56:].reshape(-1, 3), axis=0).max() > 100  # depth has colours
    deadline = time.monotonic() + 30
    while (numbers := json.load(urllib.request.urlopen(url + "stats.json")))["latency_p50_ms"] is None:
        assert time.monotonic() < deadline
    assert {type(value) for value in numbers.values()} <= {int, float}
    assert numbers["latency_p50_ms"] <= numbers["latency_p95_ms"] <= numbers["latency_p99_ms"]
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    lines = re.fullmatch(
        r"recorded (\d+) frames: (.+)\n"
        r"\d+ frames, (\d+) shown, \d+ dropped; [\d.]+ fps; latency ms: p50 \d+, p95 \d+, p99 \d+\n",
        out,
    )
    assert lines[2] == str(recording)
    with av.open(str(recording)) as video:
        times = [float(frame.time) for frame in video.decode(video=0)]
    assert len(times) == int(lines[1]) >= int(lines[3]) - 1
    assert times[0] == 0
    assert (np.diff(times) > 0.03).all()
    assert sorted(one.name for one in tmp_path.iterdir()) == ["clip.mp4", "out.mp4"]


def test_a_short_video_ends_by_itself(tmp_path, small_checkpoint, monkeypatch, capsys):
    clip, recording = write_clip(tmp_path / "clip.mp4", frames=6), tmp_path / "out.mp4"
    monkeypatch.setattr(webcam, "why_no_window", lambda: "no screen here")
    words = [clip, "--record", recording, "--temporal", "none", "--model-dir", small_checkpoint, "--process-res", 56]
    monkeypatch.setattr(sys, "argv", ["da3", "webcam", *map(str, words), "--device", "cpu"])
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert not left.value.code
    captured, shown, dropped = map(
        int, re.search(r"(\d+) frames, (\d+) shown, (\d+) dropped", capsys.readouterr().out).groups()
    )
    assert captured == 6 == shown + dropped
    with av.open(str(recording)) as video:
        assert len(list(video.decode(video=0))) == shown


def test_a_recording_that_was_killed_is_not_mixed_with_a_new_one(tmp_path, monkeypatch, capsys):
    (tmp_path / "out.part001.mp4").write_bytes(b"a clip")
    monkeypatch.setattr(sys, "argv", ["da3", "webcam", "--record", str(tmp_path / "out.mp4")])
    with pytest.raises(SystemExit, match="2"):
        cli.main()
    assert "out.part001.mp4: left by a recording that was killed" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--http", "here"], "--http here: give PORT or HOST:PORT"),
        (["clip.mp4", "--http", "0"], "clip.mp4: cannot be opened"),
        (["--record", "out.avi"], "out.avi: give a file name that ends in .mp4"),
        (["--temporal", "window", "--http", "0"], "waits for later frames"),
        (["http://127.0.0.1:9/", "--http", "0"], "127.0.0.1:9"),
        (["rtsp://x", "--http", "0", "--reconnect", "-1"], "--reconnect -1"),
        ([], "cannot open a window: no screen here; watch in a browser with --http 8000"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_misuse_is_reported_before_anything_is_loaded(arguments, message, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(webcam, "why_no_window", lambda: "no screen here")
    monkeypatch.setattr(sys, "argv", ["da3", "webcam", *arguments, "--model-dir", "/nowhere"])
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code in (1, 2)
    assert message in " ".join(capsys.readouterr().err.split())


def test_a_page_needs_the_extra_and_says_so(monkeypatch, capsys):
    from depth_anything_3.services.server import run as server_run

    monkeypatch.setattr(server_run.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(sys, "argv", ["da3", "webcam", "--http", "0", "--model-dir", "/nowhere"])
    with pytest.raises(SystemExit, match="2"):
        cli.main()
    assert "run pip install '.[serve]'" in " ".join(capsys.readouterr().err.split())
