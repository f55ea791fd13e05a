"""Put the scripts that make the demonstration model and its images on the import path."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "tools" / "demo_model"))

from scenes import Atlas, make_atlas


@pytest.fixture(scope="session")
def atlas() -> Atlas:
    """Textures of rendered scenes, one of each family."""
    return make_atlas(pages_per_family=1)
