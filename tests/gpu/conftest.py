"""Fixtures of the tests that need a CUDA device, which mark themselves `gpu`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:  # pytest calls this with the items of all folders
            item.add_marker(pytest.mark.gpu)


@pytest.fixture(scope="session", autouse=True)
def machine_as_it_is(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Neither a calibration nor the environment decides the strategy."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.delenv("DA3_STRATEGY", raising=False)
        yield


@pytest.fixture(scope="session", autouse=True)
def cuda() -> torch.device:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device; torch sees none here")
    return torch.device("cuda", torch.cuda.current_device())
