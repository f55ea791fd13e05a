"""The CPU processor that other processors are compared with."""

from __future__ import annotations

import pytest

from depth_anything_3.utils.io.input_processor import InputProcessor


@pytest.fixture(scope="module")
def cpu():
    with InputProcessor() as processor:
        yield processor
