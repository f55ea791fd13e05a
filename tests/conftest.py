"""Options and fixtures of all tests."""

from __future__ import annotations

import os
import signal
import uuid
from pathlib import Path

import hypothesis
import pytest

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command does; read when torch is first imported
import torch

from depth_anything_3.api import DepthAnything3
from depth_anything_3.inference import batch_store
from depth_anything_3.runtime.threads import usable_cores
from support.seeded_values import seeded_array

# Time is not what these tests are about, and the machine may be busy.
hypothesis.settings.register_profile("no-deadline", deadline=None)
hypothesis.settings.register_profile("same-examples", deadline=None, derandomize=True)  # a check can be repeated
hypothesis.settings.load_profile("no-deadline")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--goldens", type=Path, metavar="DIR", help="the full goldens, for -m full_goldens")


_DESELECTED = pytest.StashKey[list[pytest.Item]]()
# With `--dist loadfile` the longest files begin first, so that no process is left with one of them at the end.
_LONGEST = (
    "cli/test_stopped_command.py",
    "inputs/resample/test_gpu.py",
    "inputs/decode/gpu/test_decoders.py",
    "diagnostics/test_calibrate.py",
    "cli/test_cli.py",
    "demo_model/test_training.py",
    "model/test_checkpoint.py",
    "utils/io/test_fork.py",
    "utils/io/test_input_processor.py",
    "inference/test_runner.py",
)


def pytest_configure(config: pytest.Config) -> None:
    config.option.loadscopereorder = False  # xdist would begin with the files of most tests


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {Path(__file__).parent / name: place for place, name in enumerate(_LONGEST)}
    items.sort(key=lambda item: places.get(item.path, len(places)))  # else as they are


def pytest_deselected(items: list[pytest.Item]) -> None:
    for item in items:
        item.config.stash.setdefault(_DESELECTED, []).append(item)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """`-n auto`: a process for each usable core, up to four, since each takes about a gigabyte."""
    return min(4, usable_cores())


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Torch's threads spin for one another: where other work shares the cores, two took five times as long as one."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def batch_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Batch sizes measured by one test are not used by another, nor by the user."""
    folder = tmp_path_factory.getbasetemp() / "batch-sizes" / uuid.uuid4().hex
    monkeypatch.setattr(batch_store, "_cache_folder", lambda: folder)
    return folder


@pytest.fixture(scope="session", autouse=True)
def ctrl_c() -> None:
    """A shell that runs the tests in its background has Ctrl-C ignored, by them and by what they start."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def deselected(pytestconfig: pytest.Config) -> list[pytest.Item]:
    """The tests of this run's folders that its options leave out."""
    return pytestconfig.stash.get(_DESELECTED, [])


@pytest.fixture(scope="session")
def full_goldens(pytestconfig: pytest.Config) -> Path:
    """The folder with the full goldens, `model` and `preprocess`."""
    folder = pytestconfig.getoption("goldens")
    if folder is None:
        pytest.skip("needs the full golden set (13 MB), which maintainers keep outside the repository: --goldens=DIR")
    if not (folder / "model").is_dir():
        pytest.fail(f"--goldens {folder}: there is no folder model in it")
    return folder


@pytest.fixture(scope="session")
def seeded_small() -> DepthAnything3:
    """`da3-small` with the seeded weights of the goldens."""
    with torch.device("meta"):
        model = DepthAnything3("da3-small")
    weights = {
        name: torch.from_numpy(seeded_array(name, value.shape, "normal")) for name, value in model.state_dict().items()
    }
    model.load_state_dict(weights, assign=True)
    return model


@pytest.fixture(scope="session")
def small_checkpoint(seeded_small: DepthAnything3, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in the official format with the weights of `seeded_small`."""
    folder = tmp_path_factory.mktemp("checkpoint") / "da3-small"
    seeded_small.save_pretrained(folder)
    return folder
