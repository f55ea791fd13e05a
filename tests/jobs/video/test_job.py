"""`run_video`: files of a depth video, colours and scale, and resumed runs."""

from __future__ import annotations

import itertools
import os

import av
import numpy as np
import pytest
from PIL import Image

from depth_anything_3.errors import ExportError, InvalidInputError, UnsupportedError, VideoReadError
from depth_anything_3.export.colormap import colorize_depth, inverse_depth_range
from depth_anything_3.export.naming import video_name
from depth_anything_3.export.video_file import part_files
from depth_anything_3.inputs.video import FrameSelection, IterableSource
from depth_anything_3.jobs.video.frames import extract_frames
from depth_anything_3.jobs.video.results import VideoResults
from depth_anything_3.jobs.video.resume_log import RunState
from depth_anything_3.prediction.metric import MetricConversion
from support.clips import SIZE_HW, draw_image, read_clip, write_clip
from support.jobs import run_video

SMALL = {"process_res": 42}
FRAMES = 8


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return write_clip(tmp_path_factory.mktemp("clip") / "a clip.mp4", FRAMES)


@pytest.fixture(scope="module")
def depths(seeded_small, clip):
    return [one.depth[0] for one in seeded_small.depth(read_clip(clip)[1], **SMALL)]


def read_grey(path):
    with av.open(str(path)) as container:
        scale = {key.lower(): value for key, value in container.metadata.items()}
        return [frame.to_ndarray() for frame in container.decode(video=0)], scale


def files_in(folder):
    manifest = ("manifest.json", "manifest.jsonl")
    return sorted(one.relative_to(folder).as_posix() for one in folder.rglob("*.*") if one.name not in manifest)


class Stop(Exception):
    """In place of a kill: nothing of what comes after is done."""


def stopped_after(count):
    """Raises in the thread that writes, when so many frames are written."""
    written = itertools.count(1)

    def advance():
        if next(written) == count:
            raise Stop

    return advance


def test_every_format_holds_every_frame(seeded_small, clip, depths, tmp_path):
    calls = []
    report = run_video(
        seeded_small,
        clip,
        tmp_path,
        VideoResults("mp4-ffv1-mini_npz", side_by_side=True),
        on_begin=lambda info, total, done: calls.append((info.label, total, done)),
        **SMALL,
    )
    assert calls == [(str(clip), FRAMES, 0)]
    assert (report.images, report.skipped, report.failures) == (FRAMES, 0, [])
    names = [f"mini_npz/a clip_{number:06d}.npz" for number in range(FRAMES)]
    assert files_in(tmp_path) == ["a clip_depth.mkv", "a clip_depth.mp4", "a clip_frames.csv", *names]
    times, images = read_clip(tmp_path / "a clip_depth.mp4")
    assert times == pytest.approx(read_clip(clip)[0], abs=1e-5)
    height, width = depths[0].shape
    assert {image.shape for image in images} == {(height + height % 2, 2 * width, 3)}
    levels, metadata = read_grey(tmp_path / "a clip_depth.mkv")
    scale = float(metadata["depth_scale"])
    for level, depth, name in zip(levels, depths, names, strict=True):
        np.testing.assert_allclose(level * scale, depth, atol=0.51 * scale + 1e-4 * depth.max())
        np.testing.assert_allclose(np.load(tmp_path / name)["depth"][0], depth, rtol=2e-4)
    assert metadata["depth_unit"] == "relative"
    state = RunState.read(tmp_path / "a clip_frames.csv")
    assert state.complete
    assert list(state.times) == read_clip(clip)[0]


def test_colours_cover_one_range_all_through_the_video(seeded_small, clip, depths, tmp_path):
    run_video(seeded_small, clip, tmp_path, **SMALL)
    within = RunState.read(tmp_path / "a clip_frames.csv").inverse_depth
    low, high = inverse_depth_range(np.stack(depths))
    assert within == pytest.approx((low, high), rel=0.1)  # a few frames stand for all
    for depth, image in zip(depths, read_clip(tmp_path / "a clip_depth.mp4")[1], strict=True):
        expected = colorize_depth(depth, within)[: image.shape[0], : image.shape[1]].astype(int)
        assert (
            np.abs(image[: expected.shape[0], : expected.shape[1]] - expected).mean() < 20
        )  # 4:2:0; neighbours are unlike


def test_the_range_of_a_long_video_is_that_of_its_keyframes(seeded_small, tmp_path, monkeypatch):
    monkeypatch.setattr("depth_anything_3.jobs.video.job._MAX_DECODED_TWICE", 10)
    path = write_clip(tmp_path / "a.mp4", 24, options={"g": "4", "keyint_min": "4", "sc_threshold": "0", "bf": "0"})
    run_video(seeded_small, path, tmp_path, **SMALL)
    images = read_clip(path)[1]
    # Of four places (frames 3, 9, 15 and 21) the keyframes that come next; behind the last place there is none.
    depths = [one.depth[0] for one in seeded_small.depth([images[place] for place in (4, 12, 16)], **SMALL)]
    within = RunState.read(tmp_path / "a_frames.csv").inverse_depth
    assert within == pytest.approx(inverse_depth_range(np.stack(depths)), rel=1e-3)


def test_full_size_is_that_of_the_video(seeded_small, clip, tmp_path):
    run_video(seeded_small, clip, tmp_path, VideoResults("mp4", True, True), **SMALL)
    images = read_clip(tmp_path / "a clip_depth.mp4")[1]
    assert images[0].shape == (72, 192, 3)
    assert np.abs(images[5][:, :96].astype(int) - read_clip(clip)[1][5]).mean() < 5


@pytest.mark.parametrize(
    ("formats", "selection"),
    [("mp4-ffv1", {}), ("mini_npz", {"every": 2}), ("mp4", {"start": 0.02, "fps": 15.0})],
)
def test_a_stopped_run_is_resumed(seeded_small, clip, tmp_path, formats, selection):
    whole, parted = tmp_path / "whole", tmp_path / "parted"
    results = VideoResults(formats)
    run_video(seeded_small, clip, whole, results, selection=selection, **SMALL)
    for count in (1, 1):
        with pytest.raises(Stop):
            run_video(
                seeded_small,
                clip,
                parted,
                results,
                resume=True,
                selection=selection,
                on_progress=stopped_after(count),
                **SMALL,
            )
    assert not list(parted.glob("*_depth.mp4"))
    report = run_video(seeded_small, clip, parted, results, resume=True, selection=selection, **SMALL)
    assert report.skipped == 2
    assert files_in(parted) == files_in(whole)
    first, second = (RunState.read(folder / "a clip_frames.csv") for folder in (whole, parted))
    assert (first.times, second.complete) == (second.times, True)
    for name in files_in(whole):
        if name.endswith(".mkv"):
            for one, other in zip(read_grey(whole / name)[0], read_grey(parted / name)[0], strict=True):
                np.testing.assert_array_equal(one, other)
        if name.endswith(".mp4"):
            assert read_clip(whole / name)[0] == read_clip(parted / name)[0]
    again = run_video(seeded_small, clip, parted, results, resume=True, selection=selection, **SMALL)
    assert (again.images, again.skipped) == (0, len(first.times))


def test_a_part_that_lost_frames_at_its_end_is_filled_up(seeded_small, clip, tmp_path):
    results = VideoResults("ffv1")
    with pytest.raises(Stop):
        run_video(seeded_small, clip, tmp_path, results, on_progress=stopped_after(6), **SMALL)
    (part,) = part_files(tmp_path / "a clip_depth.mkv")
    os.truncate(part, part.stat().st_size * 2 // 3)
    run_video(seeded_small, clip, tmp_path, results, resume=True, **SMALL)
    assert len(read_grey(tmp_path / "a clip_depth.mkv")[0]) == FRAMES


def test_an_unreadable_part_is_recorded_again(seeded_small, clip, tmp_path):
    with pytest.raises(Stop):
        run_video(seeded_small, clip, tmp_path, on_progress=stopped_after(5), **SMALL)
    part_files(tmp_path / "a clip_depth.mp4")[0].write_bytes(b"")
    report = run_video(seeded_small, clip, tmp_path, resume=True, **SMALL)
    assert report.images == len(read_clip(tmp_path / "a clip_depth.mp4")[1]) == FRAMES


def test_without_resume_a_run_starts_from_scratch(seeded_small, clip, tmp_path):
    with pytest.raises(Stop):
        run_video(seeded_small, clip, tmp_path, on_progress=stopped_after(5), **SMALL)
    assert run_video(seeded_small, clip, tmp_path, **SMALL).images == FRAMES
    assert files_in(tmp_path) == ["a clip_depth.mp4", "a clip_frames.csv"]


def test_other_settings_than_then_are_refused(seeded_small, clip, tmp_path):
    with pytest.raises(Stop):
        run_video(seeded_small, clip, tmp_path, on_progress=stopped_after(5), **SMALL)
    with pytest.raises(
        InvalidInputError,
        match=r"a clip\.mp4 were computed with other settings \(process_res=42, now 56; every=None, now 2\)",
    ):
        run_video(seeded_small, clip, tmp_path, resume=True, selection={"every": 2}, process_res=56)


def test_an_invalid_state_is_reported(seeded_small, clip, tmp_path):
    (tmp_path / "a clip_frames.csv").write_text("number\n")
    with pytest.raises(InvalidInputError, match="is not a valid progress log; delete it to start over"):
        run_video(seeded_small, clip, tmp_path, resume=True, **SMALL)


def test_unseekable_video_takes_the_range_of_its_first_frames(seeded_small, tmp_path):
    frames = [draw_image(number) for number in range(20)]
    report = run_video(seeded_small, frames, tmp_path, VideoResults("mp4-ffv1"), **SMALL)
    assert report.images == len(read_clip(tmp_path / "video_depth.mp4")[1]) == 20
    first = [one.depth[0] for one in seeded_small.depth(frames[:16], **SMALL)]
    expected = inverse_depth_range(np.stack(first))
    assert RunState.read(tmp_path / "video_frames.csv").inverse_depth == pytest.approx(expected, rel=1e-3)


def test_fewer_frames_than_the_range_is_taken_from_are_written_too(seeded_small, tmp_path):
    assert run_video(seeded_small, [draw_image(0)] * 3, tmp_path, **SMALL).images == 3
    assert len(read_clip(tmp_path / "video_depth.mp4")[1]) == 3


def test_what_came_before_damage_is_a_whole_video(seeded_small, tmp_path):
    whole = write_clip(tmp_path / "whole.mp4", 30, container_options={"movflags": "faststart"})
    (tmp_path / "cut.mp4").write_bytes(whole.read_bytes()[: int(0.6 * whole.stat().st_size)])
    report = run_video(seeded_small, tmp_path / "cut.mp4", tmp_path / "out", **SMALL)
    assert 3 < report.images < 30
    assert len(read_clip(tmp_path / "out" / "cut_depth.mp4")[1]) == report.images
    (failure,) = report.failures
    assert "cut.mp4: damaged or truncated" in failure["error"]


def test_a_camera_ends_with_ctrl_c_and_leaves_a_whole_video(seeded_small, tmp_path):
    class Camera(IterableSource):
        def __init__(self):
            super().__init__(self.frames())
            self.info = type(self.info)(**{**vars(self.info), "live": True})

        def frames(self):
            yield from (draw_image(number) for number in range(6))
            raise KeyboardInterrupt

    written = run_video(seeded_small, Camera(), tmp_path, **SMALL).images
    assert 1 <= written <= 6  # frames that were not yet written are lost
    assert len(read_clip(tmp_path / "video_depth.mp4")[1]) == written


def test_a_full_disk_is_reported_and_the_video_so_far_plays(seeded_small, clip, tmp_path, monkeypatch):
    def full(*_):
        raise ExportError("a.mp4: cannot be written (No space left on device)")

    monkeypatch.setattr("depth_anything_3.jobs.video.results.FrameLog.add", full)
    with pytest.raises(ExportError, match="No space left"):
        run_video(seeded_small, clip, tmp_path, **SMALL)
    (part,) = part_files(tmp_path / "a clip_depth.mp4")
    assert len(read_clip(part)[1]) == 1


def test_image_sequences_are_named_after_their_pattern(seeded_small, tmp_path):
    for number in range(3):
        Image.fromarray(draw_image(number)).save(tmp_path / f"shot_{number:03d}.png")
    pattern = tmp_path / "shot_%03d.png"
    run_video(seeded_small, pattern, tmp_path / "o", VideoResults("mp4", True, True), selection={"fps": 5}, **SMALL)
    times, images = read_clip(tmp_path / "o" / "shot_depth.mp4")
    assert times == pytest.approx([0, 0.2, 0.4], abs=1e-4)
    assert images[0].shape == (SIZE_HW[0], 2 * SIZE_HW[1], 3)


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("/dir/clip.mp4", "clip"),
        ("/dir/two words (1).mp4", "two words (1)"),
        ("/dir/*.png", "dir"),
        ("/dir/**/*.png", "dir"),
        ("/dir/%05d.png", "dir"),
        ("/dir/?.png", "dir"),
        ("/dir/frame_%05d.png", "frame"),
        ("/dir/frame.*.png", "frame"),
        ("/dir/.clip.mp4", "clip"),
        ("/dir/", "dir"),
        ("/", "video"),
        ("rtsp://host:554/live/?user=x", "live"),
        ("http://host/a.m3u8", "a"),
        ("-", "stdin"),
        (0, "camera"),
    ],
)
def test_results_are_named_after_the_video_or_its_folder(source, name):
    assert video_name(source) == name


def test_results_of_a_pattern_in_the_current_folder_are_named_after_it(tmp_path, monkeypatch):
    (tmp_path / "shots").mkdir()
    monkeypatch.chdir(tmp_path / "shots")
    assert [video_name(source) for source in ("*.png", ".", "./%d.png")] == ["shots"] * 3


def test_frames_become_views_of_a_scene(clip, tmp_path):
    (tmp_path / "views").mkdir()
    (tmp_path / "views" / "000999.png").write_text("of an earlier video")
    paths = extract_frames(clip, tmp_path / "views", FrameSelection(every=3))
    assert [path.name for path in paths] == ["000000.png", "000001.png", "000002.png"]
    assert np.array_equal(np.asarray(Image.open(paths[1])), read_clip(clip)[1][3])
    assert len(list((tmp_path / "views").iterdir())) == 3
    with pytest.raises(VideoReadError, match=r"no frame at or after start=60 s; the video is 0\.27 s long"):
        extract_frames(clip, tmp_path / "views", FrameSelection(start=60))


@pytest.mark.parametrize(
    ("results", "error", "message"),
    [
        ({"formats": "mp4-avi"}, InvalidInputError, "avi"),
        ({"formats": "ffv1", "side_by_side": True}, InvalidInputError, "need the format mp4"),
        ({"formats": "mp4", "metric": MetricConversion(100.0)}, UnsupportedError, "for metric depth"),
    ],
)
def test_what_is_not_accepted_is_refused_before_a_frame_is_computed(
    seeded_small, clip, tmp_path, results, error, message
):
    with pytest.raises(error, match=message):
        run_video(seeded_small, clip, tmp_path / "out", VideoResults(**results), **SMALL)
    assert not (tmp_path / "out").exists()
