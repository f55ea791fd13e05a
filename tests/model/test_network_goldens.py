"""The network against the authors' implementation: every array of every case, from patch to pose."""

from __future__ import annotations

import pytest

from support.goldens import compact_case, full_case
from support.model_golden import case_meta, errors_of_case

FULL_CASES = (
    "small_v1",
    "small_v1_518",
    "small_v1_cams",
    "small_v1_ray",
    "small_v2",
    "small_v2_98x140",
    "small_v2_cams",
    "small_v2_portrait",
    "small_v3",
    "small_v3_cams",
    "small_v3_cams_ray",
    "small_v3_ray",
    "small_b2_v4",
    "small_v5",
    "small_v5_feats",
    "small_v9",
    "small_quiet_v3",
    "small_quiet_v3_cams",
    "small_v5_balanced",
    "small_v5_first",
    "small_v5_middle",
    "small_v5_simrange",
    "base_v2",
    "base_v4_cams",
    "large_v2",
    "large_v3_cams",
    "mono_v1",
    "metric_v1",
    "metric_v2",
    pytest.param("giant_v2_gs", marks=pytest.mark.slow),
    pytest.param("giant_v3_cams_gs", marks=pytest.mark.slow),
    pytest.param("nested_v2", marks=pytest.mark.slow),
    pytest.param("nested_v3_ray_gs", marks=pytest.mark.slow),
)

COMPACT_CASES = ("small_v1", "small_v3", "small_v3_cams", "small_v3_ray", "small_quiet_v3_cams")


@pytest.mark.parametrize("name", COMPACT_CASES)
def test_network_agrees_with_the_compact_goldens(networks, name):
    assert_agrees(networks, compact_case(name))


@pytest.mark.full_goldens
@pytest.mark.parametrize("name", FULL_CASES)
def test_network_agrees_with_the_full_goldens(networks, full_goldens, name):
    assert_agrees(networks, full_case(full_goldens, name))


def assert_agrees(networks, case):
    meta = case_meta(case)
    errors = errors_of_case(networks(meta["preset"], meta["profile"]), case)
    assert len(errors) > 45
    beyond = {key: f"{error:.2g} times the tolerance" for key, error in errors.items() if not error <= 1}
    assert beyond == {}
