"""A live run shows, records and reports without a terminal."""

from __future__ import annotations

import re
from dataclasses import replace

import av
import pytest

from depth_anything_3.errors import InvalidInputError, UnsupportedError
from depth_anything_3.inference.options import StreamOptions
from depth_anything_3.inference.video.options import VideoMode, VideoOptions
from depth_anything_3.inputs.choices import OnError
from depth_anything_3.inputs.options import PreprocessOptions
from depth_anything_3.jobs.live import job as webcam
from depth_anything_3.jobs.live.job import LiveEvents, LiveOutputs, check_outputs, open_live_source, watch
from depth_anything_3.services.live_page.viewer import WebViewer
from support.clips import write_clip

OPTIONS = VideoOptions(
    mode=VideoMode.LIVE,
    stream=StreamOptions(preprocess=PreprocessOptions(process_res=56, on_error=OnError.SKIP)),
)


@pytest.fixture
def events():
    """Callbacks that append to a list, and the list."""
    seen = []
    return seen, LiveEvents(
        status=lambda text: seen.append(("status", text)),
        page=lambda url, is_local: seen.append(("page", url, is_local)),
        recorded=lambda count, file: seen.append(("recorded", count, file)),
        failed=lambda failure: seen.append(("failed", failure.label)),
    )


def test_a_run_reports_its_page_and_its_recording(seeded_small, tmp_path, events):
    seen, callbacks = events
    frames = open_live_source(str(write_clip(tmp_path / "video.mp4", frames=5)), seeded_small.device)
    outputs = LiveOutputs(address=("127.0.0.1", 0), recording=tmp_path / "out.mp4")
    stats = watch(seeded_small.engine, frames, outputs, callbacks, OPTIONS, WebViewer)
    assert stats.captured == 5 == stats.delivered + stats.dropped
    page = next(one for one in seen if one[0] == "page")
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", page[1])
    assert page[2]
    assert seen[-1] == ("recorded", stats.delivered, tmp_path / "out.mp4")
    assert [one[1] for one in seen if one[0] == "status"][:2] == ["warming up", "waiting for the first frame"]
    with av.open(str(tmp_path / "out.mp4")) as video:
        assert len(list(video.decode(video=0))) == stats.delivered


def interrupted(model, file, events, error):
    """Statistics of a run during which an error is raised before the first frame."""

    def stop(text: str) -> None:
        if text == "waiting for the first frame":
            raise error

    frames = open_live_source(str(write_clip(file, frames=5)), model.device)
    return watch(model.engine, frames, LiveOutputs(), replace(events[1], status=stop), OPTIONS)


def test_ctrl_c_ends_a_run(seeded_small, tmp_path, events):
    assert interrupted(seeded_small, tmp_path / "a.mp4", events, KeyboardInterrupt()).delivered == 0


def test_sigterm_is_raised_again(seeded_small, tmp_path, events):
    with pytest.raises(KeyboardInterrupt):
        interrupted(seeded_small, tmp_path / "a.mp4", events, KeyboardInterrupt("SIGTERM"))


def test_without_a_window_a_run_needs_a_page_or_a_recording(monkeypatch, tmp_path):
    monkeypatch.setattr(webcam, "why_no_window", lambda: "no screen here")
    assert check_outputs("8000", None) == LiveOutputs(address=("127.0.0.1", 8000))
    assert check_outputs("", tmp_path / "a.mp4") == LiveOutputs(recording=tmp_path / "a.mp4")
    with pytest.raises(UnsupportedError, match="no screen here; watch in a browser"):
        check_outputs("", None)
    monkeypatch.setattr(webcam, "why_no_window", lambda: None)
    assert check_outputs("", None) == LiveOutputs(window=True)


def test_parts_of_an_earlier_recording_are_not_mixed_with_a_new_one(tmp_path):
    (tmp_path / "out.part001.mp4").write_bytes(b"a video")
    with pytest.raises(InvalidInputError, match="left by a recording that was killed"):
        check_outputs("8000", tmp_path / "out.mp4")
