"""Fixtures of the network tests: networks with seeded weights, drawn once per session."""

from __future__ import annotations

import pytest

from depth_anything_3.model import DepthAnything3Net, NestedDepthAnything3Net
from support.model_golden import Network, seeded_network
from support.tiny_networks import TINY, TINY_METRIC, seeded


class Networks:
    """Networks by preset and profile of weights: all small ones, and the last of the larger ones."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], Network] = {}

    def __call__(self, preset: str, profile: str = "normal") -> Network:
        key = (preset, profile)
        if key not in self._kept:
            self._kept = {kept: net for kept, net in self._kept.items() if kept[0] == "da3-small"}
            self._kept[key] = seeded_network(preset, profile)
        return self._kept[key]


@pytest.fixture(scope="session")
def networks() -> Networks:
    return Networks()


@pytest.fixture(scope="session")
def small(networks: Networks) -> DepthAnything3Net:
    return networks("da3-small")


@pytest.fixture(scope="session")
def tiny() -> DepthAnything3Net:
    """A network of the giant's structure in miniature."""
    return seeded(lambda: DepthAnything3Net(TINY))


@pytest.fixture(scope="session")
def tiny_metric() -> DepthAnything3Net:
    return seeded(lambda: DepthAnything3Net(TINY_METRIC))


@pytest.fixture(scope="session")
def tiny_nested() -> NestedDepthAnything3Net:
    return seeded(lambda: NestedDepthAnything3Net(TINY, TINY_METRIC))
