"""The memory of the machine, and the limit of a container."""

from __future__ import annotations

import pytest

from depth_anything_3.runtime import control_groups, memory
from depth_anything_3.runtime.memory import MainMemory, available_memory, main_memory

MEMINFO = "MemTotal:       16000 kB\nMemFree:  100 kB\nMemAvailable:    4000 kB\n"
TOTAL, FREE = 16_384_000, 4_096_000


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A machine of 16 MB, without limits, and the root of its control groups."""
    (tmp_path / "meminfo").write_text(MEMINFO)
    (tmp_path / "own").write_text("0::/job\n")
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(control_groups, "_OWN_CGROUP", tmp_path / "own")
    monkeypatch.setattr(control_groups, "_CGROUPS", tmp_path / "groups")
    return tmp_path


def group(folder, **files):
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / f"memory.{name}").write_text(f"{text}\n")


def test_without_a_limit(machine):
    group(machine / "groups" / "job", max="max", current=5_000, stat="anon 1\ninactive_file 2")
    assert main_memory() == MainMemory(TOTAL, FREE)
    assert available_memory() == FREE


def test_the_smallest_limit_and_the_least_that_is_left_count(machine):
    group(machine / "groups" / "job", max=8_000_000, current=3_000_000, stat="anon 1\ninactive_file 1000000")
    group(machine / "groups" / "job" / "below", max=1, current=1, stat="")
    (machine / "groups" / "memory.max").write_text("9000000\n")
    (machine / "groups" / "memory.current").write_text("8500000\n")
    (machine / "groups" / "memory.stat").write_text("inactive_file 0\n")
    assert main_memory() == MainMemory(TOTAL, FREE, 8_000_000, 500_000)
    assert available_memory() == 500_000


@pytest.mark.parametrize(("limit", "expected"), [(2**63 - 4096, (None, None)), (6_000_000, (6_000_000, 5_999_990))])
def test_version_1_states_no_limit_as_a_huge_one(machine, limit, expected):
    (machine / "own").write_text("4:memory:/job\n")
    stat = "cache 7\ntotal_inactive_file 20"
    group(machine / "groups" / "memory" / "job", limit_in_bytes=limit, usage_in_bytes=30, stat=stat)
    found = main_memory()
    assert (found.limit_bytes, found.limit_free_bytes) == expected


def test_without_linux_the_total_comes_from_the_system(machine, monkeypatch):
    (machine / "meminfo").unlink()
    monkeypatch.setattr(memory.os, "sysconf", {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 1000}.__getitem__, raising=False)
    assert main_memory() == MainMemory(4_096_000, None)
    monkeypatch.delattr(memory.os, "sysconf")
    assert main_memory() == MainMemory(None, None)
    assert available_memory() is None
