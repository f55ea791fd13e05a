"""The demonstration checkpoint's tools are scripts beside the package, not part of it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "tools" / "demo_weights"))

from renderer import Atlas, make_atlas


@pytest.fixture(scope="session")
def atlas() -> Atlas:
    return make_atlas(pages_per_family=1)
