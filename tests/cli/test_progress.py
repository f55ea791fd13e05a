"""Progress on a terminal and elsewhere, and the last line of a command that is stopped."""

from __future__ import annotations

import io
import sys

import pytest
from rich.console import Console

from depth_anything_3.cli import console, progress
from depth_anything_3.cli.progress import RunStopped, stop_line


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def written(monkeypatch):
    """What is written to stderr; call it with the settings of the console."""

    def open_console(**settings: object) -> io.StringIO:
        text = io.StringIO()
        monkeypatch.setattr(console, "stderr", Console(file=text, width=80, color_system=None, **settings))
        return text

    return open_console


def test_a_bar_counts_what_earlier_runs_have_done(written):
    text = written(force_terminal=True)
    with progress.progress(None, "opening the video") as advance:
        advance.begin("frames", 12, 4)
        advance()
        advance(1)
    drawn = text.getvalue().replace("\r", "\n")
    assert " 6/12 " in drawn
    assert " frames/s, 1 failed" in drawn


def test_without_a_terminal_a_line_is_printed_now_and_then(written, monkeypatch):
    text, clock = written(), Clock()
    monkeypatch.setattr(progress, "time", clock)
    with progress.progress(2000) as advance:
        for failed in (0, 0, 0, 0, 3):
            clock.now += 10
            advance(failed)
            assert not text.getvalue() or clock.now >= 130  # not in the first half minute
        clock.now += 20
        advance(3)
    assert text.getvalue().splitlines() == [
        "3 of 2,000 images, 0.1 images/s, 5.5 h left",
        "6 of 2,000 images, 0.1 images/s, 6.6 h left, 3 failed",
    ]


@pytest.mark.parametrize("settings", [{}, {"force_terminal": True, "quiet": True}], ids=["short run", "quiet"])
def test_nothing_is_drawn_for(written, settings):
    text = written(**settings)
    with progress.progress(2) as advance:
        advance()
    assert text.getvalue() == ""


def stopped(done=67, total: int | None = 200, unit="images", resumable=True) -> BaseException:
    """What typer makes of a run that is stopped."""
    try:
        try:
            raise RunStopped("", done=done, total=total, unit=unit, resumable=resumable)
        except KeyboardInterrupt as stop:
            raise RuntimeError from stop
    except RuntimeError:
        try:
            raise SystemExit(130)
        except SystemExit as left:
            return left


IMAGES = "Stopped after 67 of 200 images; results so far are complete."


@pytest.mark.parametrize(
    ("stop", "arguments", "line"),
    [
        pytest.param(
            stopped(), ["images", "my photos"], f"{IMAGES} Continue with: da3 images 'my photos' --resume", id="images"
        ),
        pytest.param(
            stopped(), ["images", "a", "--resume"], f"{IMAGES} Continue with: da3 images a --resume", id="resumed"
        ),
        pytest.param(
            stopped(),
            ["images", "a", "--skip-existing"],
            f"{IMAGES} Continue with: da3 images a --skip-existing",
            id="skipping",
        ),
        pytest.param(
            stopped(),
            ["images", "--auto-cleanup", "--", "--a"],
            f"{IMAGES} Continue with: da3 images --resume -- --a",
            id="cleaned",
        ),
        pytest.param(stopped(resumable=False), ["demo"], IMAGES, id="without resuming"),
        pytest.param(stopped(done=0, total=1200), ["images", "a"], "Stopped before the first result.", id="none"),
        pytest.param(
            stopped(done=0, total=None),
            ["images", "a"],
            "Stopped; results so far are complete. Continue with: da3 images a --resume",
            id="counted-late",
        ),
        pytest.param(
            stopped(unit="frames", total=None),
            ["video", "a.mp4"],
            "Stopped after 67 frames. Continue with: da3 video a.mp4 --resume",
            id="video",
        ),
        pytest.param(SystemExit(130), ["colmap", "a"], "stopped; the files written so far are complete", id="other"),
    ],
)
def test_the_last_line_says_what_is_done_and_how_to_continue(stop, arguments, line):
    assert stop_line(stop, arguments) == line


def test_a_stopped_run_keeps_the_reason():
    def run() -> None:
        with progress.progress(3, resumable=True) as advance:
            advance()
            raise KeyboardInterrupt("SIGTERM")

    with pytest.raises(RunStopped, match="SIGTERM") as stop:
        run()
    assert (stop.value.done, stop.value.total, stop.value.unit, stop.value.resumable) == (1, 3, "images", True)


@pytest.mark.parametrize(("flags", "resumable"), [((), True), (("--shared-range",), False)], ids=["own", "shared"])
def test_a_run_that_cannot_resume_is_not_said_to(da3, photos, tmp_path, monkeypatch, flags, resumable):
    def stopped(total: int, *, resumable: bool) -> None:
        raise RunStopped("", done=1, total=total, unit="images", resumable=resumable)

    monkeypatch.setattr(sys.modules["depth_anything_3.cli.images"], "progress", stopped)
    run = da3("images", photos, "--export-dir", tmp_path, *flags)
    assert ("--resume" in run.err) == resumable
    assert "Stopped after 1 of 3 images" in run.err
