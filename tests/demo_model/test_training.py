from __future__ import annotations

import itertools
import math
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from augment import Batch, coarse_truth, make_batch, normalise
from depth_anything_3.api import DepthAnything3
from depth_anything_3.jobs.demo import demo_images
from evaluate import UnseenScenes, evaluate, fit_ramp, network_size, ramp
from losses import total_loss
from network import NANO, NanoDepth, NetworkSize
from package import TARGET
from pool import ROUND, SHAPES, Drawn, Pool, decode_depth, encode_depth
from scenes import Atlas, render
from train import Recipe, Trainer

TINY = NetworkSize(width=64, depth=4, out_layers=(0, 1, 2, 3), head_features=8, head_channels=(8, 8, 16, 16))
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def drawn(atlas: Atlas) -> Drawn:
    seen = render(range(4), SHAPES[0], atlas)
    return Drawn(seen.image.numpy(), encode_depth(seen.depth))


class FixedPool:
    """A pool whose scenes never change."""

    slots = 4

    def __init__(self, drawn: Drawn) -> None:
        self.drawn = drawn

    def want(self, first: int, stop: int) -> None:
        assert 0 <= first < stop

    def wait(self, first: int, stop: int) -> None:
        assert 0 <= first < stop

    def shape(self, rng: np.random.Generator) -> int:
        return 0

    def draw(self, rng: np.random.Generator, shape: int, first: int, stop: int, count: int) -> Drawn:
        chosen = rng.integers(0, len(self.drawn.image), count)
        return Drawn(*(part[chosen] for part in self.drawn))


@pytest.fixture
def recipe() -> Recipe:
    return Recipe(steps=6, warm_up=2)


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 2])
def test_a_resumed_run_equals_one_that_was_never_stopped(
    recipe: Recipe, drawn: Drawn, tmp_path: Path, threads: int
) -> None:
    pool = FixedPool(drawn)
    straight, first = (Trainer(recipe, TINY, CPU, threads) for _ in range(2))
    for _ in range(2):
        straight.train_step(pool)
    first.train_step(pool)
    first.save(tmp_path)
    resumed = Trainer(Recipe(seed=recipe.seed, steps=6, warm_up=2), TINY, CPU, threads)
    resumed.load(tmp_path)
    assert resumed.step == 1
    resumed.train_step(pool)
    for name, value in straight.network.state_dict().items():
        assert torch.equal(value, resumed.network.state_dict()[name]), name
    for name, value in straight.averaged.state_dict().items():
        assert torch.equal(value, resumed.averaged.state_dict()[name]), name


def test_training_continues_from_the_weights_in_the_package() -> None:
    trainer = Trainer(Recipe(seed=1), NANO, CPU)
    trainer.start_from(TARGET / "model.safetensors")
    image = torch.randn(1, 3, 56, 84, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = DepthAnything3.from_pretrained("da3-nano", "cpu").model(image[None])["depth"][0]
        for network in (trainer.network, trainer.averaged):
            torch.testing.assert_close(network.predict(image)[0], expected, rtol=1e-3, atol=1e-3)


def test_training_lowers_the_loss(drawn: Drawn) -> None:
    trainer, pool = Trainer(Recipe(steps=60, warm_up=5, rate=2e-3), TINY, CPU), FixedPool(drawn)
    errors = [trainer.train_step(pool)["silog"] for _ in range(12)]
    assert np.mean(errors[-4:]) < 0.85 * np.mean(errors[:4])


def test_a_step_on_two_threads_follows_the_mean_of_both_gradients(
    recipe: Recipe, drawn: Drawn, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = {}

    def average(trainer: Trainer) -> None:
        before = [[p.grad.clone() for p in network.parameters()] for network in trainer._copies]
        gather(trainer)
        seen["before"], seen["after"] = before, [p.grad.clone() for p in trainer.network.parameters()]

    gather = Trainer._gather_gradients
    monkeypatch.setattr(Trainer, "_gather_gradients", average)
    Trainer(recipe, TINY, CPU, 2).train_step(FixedPool(drawn))
    for first, second, mean in zip(*seen["before"], seen["after"], strict=True):
        assert not torch.equal(first, second)  # each thread had images of its own
        torch.testing.assert_close(mean, (first + second) / 2)


def test_saved_weights_load_into_the_packages_network(recipe: Recipe, tmp_path: Path) -> None:
    from depth_anything_3.model.catalog import Preset
    from depth_anything_3.model.network import DepthAnything3Net

    trainer = Trainer(recipe, TINY, CPU)
    trainer.save(tmp_path)
    weights = {name.removeprefix("model."): w for name, w in load_file(tmp_path / "model.safetensors").items()}
    preset = Preset(
        name="tiny",
        width=TINY.width,
        depth=TINY.depth,
        heads=1,
        out_layers=TINY.out_layers,
        alt_start=None,
        head_features=TINY.head_features,
        head_channels=TINY.head_channels,
    )
    package = DepthAnything3Net(preset).eval()
    package.load_state_dict(weights, strict=True)
    image = torch.randn(2, 3, 56, 84, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        depth, sky = trainer.averaged.predict(image)
        # The whole network also fills the sky, so its two parts are called.
        maps = package.head(package.backbone["pretrained"](image.unsqueeze(1)).features, (56, 84))
    torch.testing.assert_close(depth, maps.depth[:, 0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(sky, maps.sky[:, 0], rtol=1e-4, atol=1e-5)


def test_the_schedule_warms_up_and_ends_low() -> None:
    recipe = Recipe(steps=1000, warm_up=100, rate=1.0)
    rates = [recipe.learning_rate(step) for step in range(1000)]
    assert rates[0] == pytest.approx(0.01)
    assert max(rates) == pytest.approx(1.0)
    assert rates[-1] == pytest.approx(0.01, abs=5e-3)
    assert all(later <= earlier for earlier, later in itertools.pairwise(rates[100:]))


def test_sizes_are_multiples_of_the_patch_and_grow(drawn: Drawn) -> None:
    recipe, rng = Recipe(steps=100), np.random.default_rng(0)
    early = [recipe.size(0, SHAPES[0], rng) for _ in range(50)]
    late = [recipe.size(99, SHAPES[0], rng) for _ in range(50)]
    assert all(side % 14 == 0 for size in early + late for side in size)
    assert np.mean([h * w for h, w in late]) > 1.5 * np.mean([h * w for h, w in early])


def test_depth_codes_keep_depth_and_sky() -> None:
    depth = torch.tensor([[0.3, 1.0, 77.7, 900.0, math.inf]])
    log_depth, sky = decode_depth(encode_depth(depth))
    assert sky.tolist() == [[False, False, False, False, True]]
    torch.testing.assert_close(log_depth[:, :4].exp(), depth[:, :4], rtol=2e-4, atol=0)


def test_a_pool_renders_what_is_wanted_and_is_found_again(
    atlas: Atlas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pool.SHAPES", ((28, 42), (42, 28), (28, 28), (14, 28)))
    pool = Pool(tmp_path, slots=2)
    assert not pool.render(atlas, 0, 0, 1)  # nothing wanted yet
    pool.want(0, 2)
    assert pool.render(atlas, 0, 1, 2)  # the second of two renderers takes round 1
    assert not pool.render(atlas, 0, 1, 2)
    assert pool.render(atlas, 0, 0, 2)
    pool.wait(0, 2)
    again = Pool(tmp_path, slots=2)
    again.wait(0, 2)
    rng = np.random.default_rng(0)
    seen = again.draw(rng, 1, 1, 2, 3)
    first = ROUND + 20  # the second shape of round 1
    parts = [render(range(seed, seed + 4), (42, 28), atlas).image for seed in (first, first + 4)]
    expected = torch.cat(parts).numpy()
    assert seen.image.shape == (3, 3, 42, 28)
    assert all(any(np.array_equal(one, other) for other in expected) for one in seen.image)


def test_cropping_and_flipping_move_image_and_depth_alike(drawn: Drawn) -> None:
    log_depth, _ = decode_depth(drawn.depth)
    grey = ((log_depth + 3.0) * 25.0).clamp(0, 255).round().to(torch.uint8).numpy()
    sample = Drawn(np.repeat(grey[:, None], 3, 1), drawn.depth)
    batch = make_batch(sample, (140, 182), np.random.default_rng(0))
    assert batch.image.shape == (4, 3, 140, 182)
    for image, truth, sky in zip(batch.image.mean(1), batch.log_depth, batch.sky, strict=True):
        ground = ~sky
        assert float(torch.corrcoef(torch.stack([image[ground], truth[ground]]))[0, 1]) > 0.95


def test_the_coarse_truth_has_the_corners_of_the_full_one(drawn: Drawn) -> None:
    batch = make_batch(drawn, (84, 112), np.random.default_rng(0))
    coarse = coarse_truth(batch)
    assert coarse.sky.shape == (4, 48, 64)
    for row, column in ((0, 0), (0, -1), (-1, 0), (-1, -1)):
        assert torch.equal(coarse.log_depth[:, row, column], batch.log_depth[:, row, column])


def make_truth(drawn: Drawn) -> Batch:
    return make_batch(drawn, (84, 112), np.random.default_rng(3))


def test_the_losses_forgive_scale_mostly_and_gradients_wholly(drawn: Drawn) -> None:
    truth = make_truth(drawn)
    sky = truth.sky.float()
    right, parts = total_loss(truth.log_depth, sky, truth)
    assert parts["silog"] == pytest.approx(0.01, abs=1e-4)  # the root of what keeps its slope finite
    assert parts["gradient"] == 0.0
    assert parts["sky"] < 0.05
    _, scaled = total_loss(truth.log_depth + 1.0, sky, truth)
    assert scaled["silog"] == pytest.approx(math.sqrt(0.03), abs=0.01)
    assert scaled["gradient"] == pytest.approx(0.0, abs=1e-5)
    noise = 0.5 * torch.randn(truth.log_depth.shape, generator=torch.Generator().manual_seed(0))
    worse, noisy = total_loss(truth.log_depth + noise, 1.0 - sky, truth)
    assert noisy["silog"] == pytest.approx(0.5, abs=0.02)
    assert worse > right + 1.0


def test_sky_pixels_teach_no_depth(drawn: Drawn) -> None:
    truth = make_truth(drawn)
    guess = truth.log_depth + 0.3
    changed = torch.where(truth.sky, guess - 50.0, guess)
    assert bool(truth.sky.any())
    assert total_loss(guess, truth.sky.float(), truth)[0] == total_loss(changed, truth.sky.float(), truth)[0]


def test_scores_are_perfect_for_the_truth_at_any_scale(atlas: Atlas) -> None:
    scenes = UnseenScenes(9, atlas)
    assert sum(len(group.image) for group in scenes.groups) == 9
    truths = [decode_depth(group.depth) for group in scenes.groups]
    answers = iter([(7.0 * log_depth.exp(), sky.float()) for log_depth, sky in truths])
    scores = scenes.score(lambda image: next(answers))
    assert scores.abs_rel < 1e-5
    assert scores.delta1 == 1.0
    assert scores.sky_iou == 1.0


def test_the_ramp_is_no_worse_than_a_constant_where_it_was_fitted(atlas: Atlas) -> None:
    scenes = UnseenScenes(10, atlas)
    top, bottom, best = fit_ramp(scenes)
    assert top < bottom  # what is low in an image is near
    assert best.abs_rel <= scenes.score(ramp(1.0, 1.0)).abs_rel


def test_a_network_is_evaluated_at_the_size_of_the_image(atlas: Atlas) -> None:
    assert network_size((168, 224), 0.667) == (112, 154)
    scores = evaluate(NanoDepth(TINY), UnseenScenes(4, atlas), 0.5)
    assert 0.0 < scores.abs_rel < 3.0
    assert 0.0 <= scores.sky_iou <= 1.0


def test_images_are_normalised_as_the_package_does() -> None:
    from depth_anything_3.inputs.resample.normalize import MEAN, STD

    white = normalise(torch.ones(1, 3, 2, 2))
    expected = (1.0 - torch.tensor(MEAN)) / torch.tensor(STD)
    torch.testing.assert_close(white[0, :, 0, 0], expected.float())


@pytest.mark.slow
def test_the_student_of_the_examples_learns_from_the_demonstration_model(tmp_path: Path) -> None:
    """Here and not with the other examples, because torch takes seconds to import what its optimisers need.

    In a process of its own: its DataLoader forks, and leaves a handler of SIGCHLD behind.
    """
    for one in demo_images():
        with Image.open(one.path) as image:
            image.draft("RGB", (480, 270))
            image.resize((160, 90)).save(tmp_path / one.path.name)
    script = Path(__file__).parents[2] / "examples" / "train_student.py"
    options = ["--steps", "30", "--batch-size", "4", "--size", "56"]
    done = subprocess.run(
        [sys.executable, script, tmp_path, *options], capture_output=True, text=True, timeout=300, check=True
    )
    errors = [float(one) for one in re.findall(r"error of log depth (\S+)", done.stdout)]
    assert len(errors) == 4
    assert errors[-1] < 0.8 * errors[0]
