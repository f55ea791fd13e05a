"""The batch size on a CPU: tried on real batches, stored, and within memory."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from depth_anything_3.api import DepthAnything3
from depth_anything_3.diagnostics.synthetic import photo
from depth_anything_3.inference import batch_limit, batch_trial
from depth_anything_3.inference.batch_limit import BatchLimit
from depth_anything_3.inference.batch_store import BatchStore
from depth_anything_3.inference.batch_trial import TRIAL_IMAGES, BatchTrial
from depth_anything_3.inference.options import BatchOptions

CPU = torch.device("cpu")
SIZE = (168, 224)
AUTO = BatchOptions(batch_size="auto")
GIB = 2**30


def run(trial, seconds_per_image):
    """Compute batches as the trial asks for them; return their sizes."""
    computed = []
    while not trial.ended:
        count = trial.candidate
        trial.record(count, count * seconds_per_image(count, computed.count(count)))
        computed.append(count)
    return computed


@pytest.mark.parametrize(
    ("seconds", "limit", "chosen", "images"),
    [
        pytest.param({1: 1.0, 2: 0.9, 4: 0.8, 8: 0.7}, 64, 8, 45, id="the-larger-the-faster"),
        pytest.param({1: 1.0, 2: 1.01}, 64, 1, 9, id="slower-at-once"),
        pytest.param({1: 1.0, 2: 0.97, 4: 0.96, 8: 0.96}, 64, 1, 45, id="too-little-to-be-sure"),
        pytest.param({1: 1.0, 2: 0.97, 4: 0.94, 8: 0.93}, 64, 4, 45, id="gain-of-two-steps"),
        pytest.param({1: 1.0, 2: 0.8, 4: 0.85}, 64, 2, 21, id="slower-again"),
        pytest.param({1: 1.0, 2: 0.9, 4: 0.8}, 6, 4, 21, id="bounded"),
        pytest.param({}, 1, 1, 0, id="nothing-to-try"),
    ],
)
def test_the_fastest_batch_size_per_image_is_chosen(seconds, limit, chosen, images):
    trial = BatchTrial(limit)
    computed = run(trial, lambda count, _: seconds[count])
    assert (trial.candidate, sum(computed)) == (chosen, images)


def test_the_first_batch_of_a_size_and_one_delayed_by_other_work_do_not_count():
    trial = BatchTrial(8)
    run(trial, lambda count, place: [9.0, 5.0, 1 / count][place])
    assert trial.candidate == 8


def test_batches_of_another_size_are_ignored():
    trial = BatchTrial(8)
    for _ in range(9):
        trial.record(3, 0.1)
    assert (trial.candidate, trial.ended) == (1, False)


@pytest.fixture
def store(tmp_path):
    return BatchStore("da3-small", torch.float32, tmp_path)


@pytest.fixture
def much_memory(monkeypatch):
    monkeypatch.setattr(batch_limit, "available_memory", lambda: 64 * GIB)


def tried(limit, seconds):
    for _ in range(4 * 3):
        count = limit(SIZE)
        limit.timed(SIZE, count, count * seconds[count])
    return limit(SIZE)


def test_the_choice_is_used_by_later_runs_however_short(store, tmp_path, much_memory):
    limit = BatchLimit(AUTO, CPU, store, ready=200)
    assert tried(limit, {1: 1.0, 2: 0.9, 4: 0.8, 8: 0.9}) == 4
    later = BatchStore("da3-small", torch.float32, tmp_path)
    assert BatchLimit(AUTO, CPU, later, ready=5)(SIZE) == 4
    assert BatchLimit(BatchOptions(batch_size="auto", max_batch_size=3), CPU, later, ready=5)(SIZE) == 3
    assert BatchLimit(AUTO, CPU, later, ready=5)((504, 378)) == 1
    assert BatchStore("da3-base", torch.float32, tmp_path).get(SIZE) is None
    assert BatchStore("da3-small", torch.bfloat16, tmp_path).get(SIZE) is None


def test_a_choice_that_max_batch_size_cut_short_is_not_stored(store, much_memory):
    limit = BatchLimit(BatchOptions(batch_size="auto", max_batch_size=3), CPU, store, ready=200)
    assert tried(limit, {1: 1.0, 2: 0.9}) == 2
    assert store.get(SIZE) is None


@pytest.mark.parametrize("ready", [2, TRIAL_IMAGES - 1])
def test_a_run_shorter_than_a_trial_does_not_try(store, much_memory, ready):
    assert tried(BatchLimit(AUTO, CPU, store, ready=ready), {1: 1.0}) == 1
    assert store.get(SIZE) is None


@pytest.mark.parametrize(
    ("available", "most"), [(64 * GIB, 8), (2 * GIB, 4), (GIB, 2), (GIB // 4, 1), (None, 1)], ids=str
)
def test_only_what_memory_holds_is_tried(store, monkeypatch, available, most):
    monkeypatch.setattr(batch_limit, "available_memory", lambda: available)
    assert tried(BatchLimit(AUTO, CPU, store, ready=200), {1: 1.0, 2: 0.9, 4: 0.8, 8: 0.7}) == most


def test_a_trial_ends_where_memory_runs_out(store, much_memory):
    limit = BatchLimit(AUTO, CPU, store, ready=200)
    for _ in range(3):
        limit.timed(SIZE, limit(SIZE), 1.0)
    assert limit(SIZE) == 2
    limit.fail(SIZE, 2)
    limit.timed(SIZE, 2, 0.01)
    assert (limit(SIZE), store.get(SIZE)) == (1, None)


@pytest.mark.parametrize("content", ["", "[1]", '{"168x224": 0}', '{"168x224": true}', '{"168x224": 10000}', "\x00"])
def test_a_damaged_file_counts_as_empty(store, tmp_path, content):
    store.put(SIZE, 4)
    (file,) = tmp_path.iterdir()
    file.write_text(content)
    assert BatchStore("da3-small", torch.float32, tmp_path).get(SIZE) is None


def test_a_folder_that_is_not_writable_is_no_error(tmp_path):
    (tmp_path / "file").touch()
    store = BatchStore("da3-small", torch.float32, tmp_path / "file")
    store.put(SIZE, 4)
    assert store.get(SIZE) == 4


def test_many_photos_are_computed_in_batches_and_those_of_a_generator_one_by_one(batch_cache, monkeypatch):
    monkeypatch.setattr(batch_trial, "_CANDIDATES", (1, 2))
    monkeypatch.setattr(batch_trial, "_MIN_GAIN", -1e9)  # 2 is chosen whatever the clock says
    monkeypatch.setattr(batch_limit, "TRIAL_IMAGES", 9)
    model = DepthAnything3.from_pretrained("da3-nano")
    photos = [photo(28, 28, seed) for seed in range(18)]
    sizes, forward = [], model.model.forward

    def noted(x, **options):
        sizes.append(len(x))
        return forward(x, **options)

    monkeypatch.setattr(model.model, "forward", noted)
    options = {"process_res": 28, "batch_size": "auto"}
    alone = model.depth(iter(photos[:6]), **options)
    assert sizes == [1] * 6
    sizes.clear()
    together = model.depth(photos, **options)
    assert sizes[:3] == [1, 1, 1]
    assert 2 in sizes
    for one, other in zip(alone, together[:6], strict=True):
        np.testing.assert_allclose(one.depth, other.depth, rtol=1e-5)
    assert len(list(batch_cache.iterdir())) == 1
    sizes.clear()
    first, second = (model.depth(photos[:5], **options) for _ in range(2))
    assert sizes == [2, 2, 1] * 2
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one.depth, other.depth)
