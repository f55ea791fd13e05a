"""What all commands print: the progress bar."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from depth_anything_3.cli import console


@pytest.fixture
def terminal(monkeypatch):
    """A terminal of 80 columns in place of stderr; what is written to it."""
    written = io.StringIO()
    monkeypatch.setattr(console, "stderr", Console(file=written, force_terminal=True, width=80, color_system=None))
    return written


def test_a_bar_counts_what_earlier_runs_have_done(terminal):
    with console.progress(None, "opening the video") as advance:
        advance.begin("frames", 12, 4)
        advance()
        advance()
    drawn = terminal.getvalue().replace("\r", "\n")
    assert " 6/12 " in drawn
    assert "/s" in drawn


def test_no_bar_is_drawn_where_stderr_is_no_terminal(monkeypatch):
    written = io.StringIO()
    monkeypatch.setattr(console, "stderr", Console(file=written))
    with console.progress(2) as advance:
        advance()
    assert written.getvalue() == ""
