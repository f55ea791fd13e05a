"""Containers are recognised, and what they hide of the NVIDIA driver."""

from __future__ import annotations

import pytest

from depth_anything_3.runtime import container
from depth_anything_3.runtime.container import in_container, missing_driver_capability

NAME = container.CAPABILITIES_VARIABLE


@pytest.fixture(autouse=True)
def bare(monkeypatch, tmp_path):
    """No sign of a container, and no variable."""
    monkeypatch.setattr(container, "_MARKS", (tmp_path / ".dockerenv",))
    for name in (NAME, "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_a_container_is_known_by_its_mark_or_its_cluster(bare, monkeypatch):
    assert not in_container()
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    assert in_container()
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST")
    (bare / ".dockerenv").touch()
    assert in_container()


@pytest.mark.parametrize(
    ("value", "inside", "capability", "cause"),
    [
        ("compute,utility", True, "video", f"{NAME}=compute,utility lacks 'video'"),
        ("compute,utility", False, "video", f"{NAME}=compute,utility lacks 'video'"),
        ("compute, video", True, "video", None),
        ("all", True, "video", None),
        ("utility,video", True, "compute", f"{NAME}=utility,video lacks 'compute'"),
        (None, True, "video", f"{NAME} is not set, and the default lacks 'video'"),
        ("", True, "video", f"{NAME} is not set, and the default lacks 'video'"),
        (None, True, "compute", None),
        (None, False, "video", None),
    ],
)
def test_a_missing_capability_has_a_cause(bare, monkeypatch, value, inside, capability, cause):
    if value is not None:
        monkeypatch.setenv(NAME, value)
    if inside:
        (bare / ".dockerenv").touch()
    assert missing_driver_capability(capability) == cause
