"""Interrupted runs are resumed without losing, doubling or half writing a result."""

from __future__ import annotations

import json
import os
import threading
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from depth_anything_3.errors import ExportError, ImageDecodeError
from depth_anything_3.export import export, result_files
from depth_anything_3.jobs.background_writer import BackgroundWriter
from depth_anything_3.runtime.atomic_file import atomic_write
from support.full_disk import full_disk
from support.jobs import run_images
from support.run_state import files_in, wait_until
from support.seeded_values import seeded_images_uint8

SMALL = {"process_res": 56, "num_workers": 2}
FORMATS = "mini_npz-npz-depth_png-depth_vis"


@pytest.fixture
def paths(tmp_path) -> list[Path]:
    """Four images; two of them share a name but for the suffix."""
    found = [tmp_path / "photos" / name for name in ("a.png", "b.png", "b.bmp", "c.png")]
    found[0].parent.mkdir()
    for path, image in zip(found, seeded_images_uint8(4, 42, 56, seed=3), strict=True):
        Image.fromarray(image).save(path)
    return found


# Which images are skipped


def test_existing_results_are_skipped_and_names_stay_the_same(seeded_small, paths, tmp_path):
    whole, out = tmp_path / "whole", tmp_path / "out"
    run_images(seeded_small, paths, whole, "npz-depth_png", **SMALL)
    run_images(seeded_small, paths[:1], out, "npz-depth_png", **SMALL)
    before, steps = files_in(out), []
    report = run_images(
        seeded_small, paths, out, "npz-depth_png", resume=True, on_progress=lambda _: steps.append(1), **SMALL
    )
    assert (report.images, report.skipped, len(steps)) == (3, 1, 4)
    assert files_in(out).keys() == files_in(whole).keys()
    assert files_in(out).items() >= before.items()
    for name in ("b.png", "b.bmp"):
        with np.load(whole / "npz" / f"{name}.npz") as expected, np.load(out / "npz" / f"{name}.npz") as file:
            np.testing.assert_array_equal(file["depth"], expected["depth"])


def test_a_second_run_of_a_whole_one_writes_nothing(seeded_small, paths, tmp_path):
    run_images(seeded_small, paths, tmp_path / "out", "npz", **SMALL)
    before = files_in(tmp_path / "out")
    report = run_images(seeded_small, paths, tmp_path / "out", "npz", resume=True, **SMALL)
    assert (report.images, report.skipped, report.failures, report.images_per_second) == (0, 4, [], 0)
    assert files_in(tmp_path / "out") == before


def test_without_resume_everything_is_written_again(seeded_small, paths, tmp_path):
    run_images(seeded_small, paths, tmp_path / "out", "npz", **SMALL)
    report = run_images(seeded_small, paths, tmp_path / "out", "npz", **SMALL)
    assert (report.images, report.skipped) == (4, 0)


@pytest.mark.parametrize("lack", ["gone", "empty"])
def test_an_image_is_complete_only_with_all_its_files(seeded_small, paths, tmp_path, lack):
    out = tmp_path / "out"
    run_images(seeded_small, paths, out, "npz-depth_png", **SMALL)
    if lack == "gone":
        (out / "npz" / "a.npz").unlink()
    else:  # as a power cut leaves it
        (out / "npz" / "a.npz").write_bytes(b"")
    report = run_images(seeded_small, paths, out, "npz-depth_png", resume=True, **SMALL)
    assert (report.images, report.skipped) == (1, 3)
    assert np.load(out / "npz" / "a.npz")["depth"].shape == (1, 42, 56)


def test_an_image_that_failed_is_tried_again(seeded_small, paths, tmp_path):
    whole = paths[1].read_bytes()
    paths[1].write_bytes(whole[:60])
    report = run_images(seeded_small, paths, tmp_path / "out", "npz", on_error="skip", **SMALL)
    assert (report.images, len(report.failures)) == (3, 1)
    paths[1].write_bytes(whole)
    report = run_images(seeded_small, paths, tmp_path / "out", "npz", resume=True, on_error="skip", **SMALL)
    assert (report.images, report.skipped, report.failures) == (1, 3, [])


def test_the_files_looked_for_are_those_that_are_written(seeded_small, paths, tmp_path):
    (prediction,) = seeded_small.depth(paths[:1], **SMALL)
    assert export(prediction, tmp_path / "out", FORMATS, "a.b") == result_files(tmp_path / "out", FORMATS, "a.b")


# What a killed run leaves


@pytest.mark.parametrize("name", ["npz/a.npz", "depth_png/a.png", "report.json"])
def test_partial_files_of_a_killed_run_are_removed(seeded_small, paths, tmp_path, name):
    out = tmp_path / "out"
    with atomic_write(out / name) as temporary:
        temporary.write_bytes(b"half of a")
        left = temporary.rename(temporary.with_name("saved"))
        temporary.touch()
    left.rename(left.with_name(temporary.name))
    own = left.with_name(".0123.npz")
    own.write_bytes(b"not ours")
    (out / name).unlink()
    run_images(seeded_small, paths, out, "npz-depth_png", resume=True, **SMALL)
    hidden = [path for path in out.rglob(".*") if path.is_file()]
    assert hidden == [own]


# The report


def test_the_report_is_a_file_too(seeded_small, paths, tmp_path):
    paths[1].write_bytes(b"")
    at = tmp_path / "out" / "report.json"
    report = run_images(seeded_small, paths, tmp_path / "out", "npz", report_file=at, on_error="skip", **SMALL)
    assert json.loads(at.read_text()) == report.as_dict()
    assert (report.images, report.stopped_by, report.device, report.network) == (3, None, "cpu", "da3-small")
    assert [one["image"] for one in report.failures] == [str(paths[1])]


def test_a_run_that_stops_at_an_error_reports_what_was_done(seeded_small, paths, tmp_path):
    paths[2].write_bytes(paths[2].read_bytes()[:60])
    at = tmp_path / "out" / "report.json"
    with pytest.raises(ImageDecodeError) as stopped:
        run_images(seeded_small, paths, tmp_path / "out", "npz", report_file=at, **SMALL)
    report = json.loads(at.read_text())
    assert (report["images"], report["stopped_by"]) == (2, str(stopped.value))
    assert [*report["left"].values()] == [str(one) for one in paths[2:]]
    assert sorted(os.listdir(tmp_path / "out" / "npz")) == ["a.npz", "b.png.npz"]


def test_an_unwritable_report_fails_a_run_that_succeeded(seeded_small, paths, tmp_path):
    at = tmp_path / "taken"
    at.mkdir()
    with pytest.raises(ExportError, match="taken: cannot be written"):
        run_images(seeded_small, paths[:1], tmp_path / "out", "npz", report_file=at, **SMALL)


def test_a_report_that_cannot_be_written_does_not_hide_why_a_run_stopped(seeded_small, paths, tmp_path, caplog):
    (tmp_path / "out").write_text("not a folder")
    with pytest.raises(ExportError, match=r"npz/a\.npz: cannot be written"):
        run_images(seeded_small, paths, tmp_path / "out", "npz", report_file=tmp_path / "out" / "report.json", **SMALL)
    assert "no report was written: " in caplog.text


# Writing in the background


def test_pieces_are_done_in_order_in_another_thread_before_the_end():
    done: list[int] = []
    threads = set()

    def work(number: int) -> None:
        threads.add(threading.get_ident())
        done.append(number)

    with BackgroundWriter() as writer:
        for number in range(50):
            writer.put(partial(work, number))
    assert done == list(range(50))
    assert len(threads) == 1
    assert threading.get_ident() not in threads


def test_the_caller_waits_when_enough_is_waiting():
    allowed, given = threading.Semaphore(0), []
    with BackgroundWriter(max_pending=2) as writer:

        def give() -> None:
            for number in range(3):
                writer.put(allowed.acquire)
                given.append(number)

        giver = threading.Thread(target=give)
        giver.start()
        wait_until(lambda: len(given) == 2)
        assert writer._slots.acquire(blocking=False) is False
        allowed.release(3)
        giver.join()
    assert given == [0, 1, 2]


def fail() -> None:
    raise ExportError("disk full")


def test_after_a_piece_that_raised_none_is_done_and_it_is_raised():
    done = []

    def give() -> None:
        with BackgroundWriter(max_pending=8) as writer:
            writer.put(fail)
            while True:  # put tells it, not only the end
                writer.put(lambda: done.append(1))

    with pytest.raises(ExportError, match="disk full"):
        give()
    assert done == []


def test_an_error_of_the_last_piece_is_raised_at_the_end():
    with pytest.raises(ExportError, match="disk full"), BackgroundWriter() as writer:
        writer.put(fail)


def test_an_error_of_the_caller_is_not_hidden_by_one_of_the_writer(caplog):
    def give() -> None:
        with BackgroundWriter() as writer:
            writer.put(fail)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        give()
    assert "while stopping: disk full" in caplog.text


def test_a_disk_that_fills_up_stops_the_run_with_one_error(seeded_small, paths, tmp_path):
    at, out = tmp_path / "report.json", tmp_path / "out"
    run_images(seeded_small, paths[:1], out, "npz", **SMALL)
    with full_disk(room=2_000), pytest.raises(ExportError, match=r"npz/b\.png\.npz: cannot be written"):
        run_images(seeded_small, paths, out, "npz", resume=True, report_file=at, **SMALL)
    assert files_in(out).keys() == {"npz/a.npz"}
    report = json.loads(at.read_text())
    assert (report["images"], report["skipped"]) == (0, 1)
    assert "cannot be written" in report["stopped_by"]


def test_progress_is_reported_once_an_image_after_its_file_is_written(seeded_small, paths, tmp_path):
    paths[1].write_bytes(b"")
    seen = []
    run_images(
        *(seeded_small, paths, tmp_path / "out", "npz"),
        on_progress=lambda _: seen.append(sorted(path.name for path in tmp_path.glob("out/npz/*.npz"))),
        on_error="skip",
        **SMALL,
    )
    first, third, last = "a.npz", "b.bmp.npz", "c.npz"
    assert seen == [[first], [first], [first, third], [first, third, last]]


def test_ctrl_c_writes_what_was_computed_and_reports(seeded_small, paths, tmp_path, monkeypatch):
    stream = seeded_small.engine.stream

    def interrupted(images, *options, **more):
        yield from stream(islice(images, 2), *options, **more)
        raise KeyboardInterrupt

    monkeypatch.setattr(seeded_small.engine, "stream", interrupted)
    at = tmp_path / "out" / "report.json"
    with pytest.raises(KeyboardInterrupt):
        run_images(seeded_small, paths, tmp_path / "out", "npz", report_file=at, **SMALL)
    assert files_in(tmp_path / "out").keys() == {"npz/a.npz", "npz/b.png.npz", "report.json"}
    report = json.loads(at.read_text())
    assert (report["images"], report["stopped_by"]) == (2, "Ctrl-C")
