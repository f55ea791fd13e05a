"""Windows of a long video are aligned to one frame of reference."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from depth_anything_3.errors import InvalidInputError
from depth_anything_3.inference.video.window_alignment import aligned_windows
from depth_anything_3.prediction import Prediction
from depth_anything_3.prediction.pose_alignment import Similarity, rigid_inverse
from support.room_clip import Clip, room_clip

FRAMES, SIZE = 23, (56, 84)


@pytest.fixture(scope="module")
def clip() -> Clip:
    return room_clip(FRAMES, SIZE, step=(0.04, 0.01, 0.05), turn=0.01)


class TrueNetwork:
    """Gives the truth, each time turned, moved and scaled in another way; and counts."""

    def __init__(self, clip: Clip, noise: float = 0.0) -> None:
        self.rng = np.random.default_rng(0)
        self.clip, self.noise, self.calls = clip, noise, []

    def __call__(self, frames: list[int]) -> Prediction:
        self.calls.append(list(frames))
        rotation = np.linalg.qr(self.rng.normal(size=(3, 3)))[0]
        rotation *= np.linalg.det(rotation)
        gauge = Similarity(rotation, self.rng.normal(0, 5, 3), float(np.exp(self.rng.normal(0, 0.7))))
        poses = np.tile(np.eye(4), (len(frames), 1, 1))
        poses[:, :3] = self.clip.extrinsics[frames]
        moved = rigid_inverse(gauge.move_poses(rigid_inverse(poses)))[:, :3]
        depth = self.clip.depth[frames] * gauge.scale
        depth = depth * np.exp(self.rng.normal(0, self.noise, depth.shape))
        return Prediction(
            depth=depth.astype(np.float32),
            extrinsics=moved.astype(np.float32),
            intrinsics=self.clip.intrinsics[frames].astype(np.float32),
            sky=self.clip.depth[frames] == 0,
            conf=np.full(depth.shape, 3.0, np.float32),
            processed_images=self.clip.images[frames],
            sources=tuple(f"frame {one}" for one in frames),
        )


def errors(clip: Clip, views: list[Prediction], frames: range) -> tuple[float, float, float]:
    """Worst relative error of depth, of camera centres (by the median depth), and of rotations in degrees, in the first
    frame's unit and frame of reference."""
    ground = clip.depth[frames] > 0
    depth = np.concatenate([view.depth for view in views])
    scale = np.median(depth[0][ground[0]] / clip.depth[frames.start][ground[0]])
    depth_error = np.abs(depth[ground] / (scale * clip.depth[frames][ground]) - 1).max()

    def relative(extrinsics):
        poses = np.tile(np.eye(4), (len(extrinsics), 1, 1))
        poses[:, :3] = extrinsics
        return poses @ rigid_inverse(poses[:1])

    found = relative(np.concatenate([view.extrinsics for view in views]).astype(np.float64))
    truth = relative(clip.extrinsics[frames])
    between = found[:, :3, :3] @ np.swapaxes(truth[:, :3, :3], 1, 2)
    angle = np.degrees(np.arccos(np.clip((np.trace(between, axis1=1, axis2=2) - 1) / 2, -1, 1))).max()
    off = np.abs(rigid_inverse(found)[:, :3, 3] - scale * rigid_inverse(truth)[:, :3, 3]).max()
    return float(depth_error), float(off / (scale * np.median(clip.depth[frames][ground]))), float(angle)


@pytest.mark.parametrize(("size", "overlap"), [(8, 3), (6, 1), (5, 4), (30, 4), (23, 2)])
def test_one_frame_of_reference_comes_out_exactly(clip, size, overlap):
    network = TrueNetwork(clip)
    views = list(aligned_windows(range(FRAMES), network, size=size, overlap=overlap))
    assert [view.sources for view in views] == [(f"frame {one}",) for one in range(FRAMES)]
    depth, centre, angle = errors(clip, views, range(FRAMES))
    assert depth < 1e-3
    assert centre < 1e-3
    assert angle < 0.05
    assert all(len(call) <= size for call in network.calls)
    for early, late in pairwise(network.calls):
        assert early[-overlap:] == late[:overlap]


def test_noise_does_not_add_up(clip):
    views = list(aligned_windows(range(FRAMES), TrueNetwork(clip, noise=0.05), size=6, overlap=2))
    _, centre, angle = errors(clip, views, range(FRAMES))
    scale = [
        np.median(view.depth[0][truth > 0] / truth[truth > 0]) for view, truth in zip(views, clip.depth, strict=True)
    ]
    assert np.ptp(scale) / scale[0] < 0.01
    assert centre < 0.01
    assert angle < 0.3


def test_a_camera_that_stands_still_or_only_turns_is_laid_on_too(clip):
    """Its centres say nothing of scale; the depth does."""
    still = Clip(*(values[[3] * 9] for values in (clip.images, clip.depth, clip.extrinsics, clip.intrinsics)))
    views = list(aligned_windows(range(9), TrueNetwork(still), size=4, overlap=1))
    depth, centre, angle = errors(still, views, range(9))
    assert max(depth, centre) < 1e-3
    assert angle < 0.05


def test_things_that_a_window_sees_elsewhere_do_not_disturb(clip):
    network = TrueNetwork(clip)

    def disturbed(frames):
        scene = network(frames)
        scene.depth[:, 20:40, 20:45] *= 0.5 + len(network.calls)
        return scene

    views = list(aligned_windows(range(FRAMES), disturbed, size=8, overlap=3))
    _, centre, angle = errors(clip, views, range(FRAMES))
    assert centre < 1e-3
    assert angle < 0.05


def test_smoothing_restarts_at_a_cut(clip):
    network = TrueNetwork(clip)
    views = list(
        aligned_windows(range(FRAMES), network, size=8, overlap=2, is_cut=lambda before, after: after in (10, 11))
    )
    assert len(views) == FRAMES
    assert network.calls == [list(range(8)), [6, 7, 8, 9], [10], list(range(11, 19)), list(range(17, 23))]
    assert max(errors(clip, views[11:], range(11, FRAMES))[:2]) < 1e-3


def test_no_more_than_a_window_is_drawn_ahead(clip):
    drawn = []

    def frames():
        for one in range(FRAMES):
            drawn.append(one)
            yield one

    views = aligned_windows(frames(), TrueNetwork(clip), size=6, overlap=2)
    next(views)
    assert len(drawn) == 6
    for _ in range(4):
        next(views)
    assert len(drawn) == 10


def test_windows_without_anything_in_common_say_so(clip, caplog):
    network = TrueNetwork(clip)

    def blind(frames):
        scene = network(frames)
        scene.depth[:] = 0
        return scene

    assert len(list(aligned_windows(range(9), blind, size=6, overlap=2))) == 9
    assert "too few shared points" in caplog.text


def test_nothing_in_gives_nothing_out(clip):
    assert list(aligned_windows([], TrueNetwork(clip))) == []


@pytest.mark.parametrize(("size", "overlap"), [(4, 4), (4, 0), (1, 1)])
def test_windows_that_cannot_be_are_refused(clip, size, overlap):
    with pytest.raises(InvalidInputError, match="pass a window longer than its overlap"):
        next(aligned_windows(range(3), TrueNetwork(clip), size=size, overlap=overlap))
