"""What all tests share: where the full goldens are, small pictures, and a small checkpoint."""

from __future__ import annotations

import importlib.util
import os
import signal
from collections.abc import Callable
from pathlib import Path

import hypothesis
import numpy as np
import pytest

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command does; read when torch is first imported
import torch

from depth_anything_3.api import DepthAnything3
from support.seeded_values import seeded_array

# Time is not what these tests are about, and the machine may be busy.
hypothesis.settings.register_profile("no-deadline", deadline=None)
hypothesis.settings.load_profile("no-deadline")

SHARED = Path(__file__).parents[2] / "shared"


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Torch's threads spin for one another: where other work shares the cores, two took five times as long as one."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def ctrl_c() -> None:
    """A shell that runs the tests in its background has Ctrl-C ignored, by them and by what they start."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with the full goldens, which lies beside the repository and is not part of it."""
    if not (SHARED / "goldens").is_dir():
        pytest.skip("the full goldens are not beside this repository; the subset in tests/data is tested")
    return SHARED


@pytest.fixture(scope="session")
def golden_photo(shared: Path) -> Callable[[int, int, int], np.ndarray]:
    """Draws the pictures that the preprocessing goldens were made of."""
    spec = importlib.util.spec_from_file_location("golden_photos", shared / "spec" / "photos.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.photo


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
