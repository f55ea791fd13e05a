"""Only the tests that need a GPU are marked `gpu`, and so left out of the default run."""

from __future__ import annotations

from pathlib import Path

GPU = Path(__file__).parent / "gpu"


def test_only_the_folder_of_gpu_tests_is_deselected(request, deselected):
    """Of what this run has collected; tests/inputs/decode/gpu, for one, holds tests that need only the CPU."""
    marked = [one for one in deselected if one.get_closest_marker("gpu")]
    assert [one.nodeid for one in marked if GPU not in one.path.parents] == []
    assert [one.nodeid for one in request.session.items if GPU in one.path.parents] == []
