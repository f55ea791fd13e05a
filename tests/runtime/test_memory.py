"""Memory that a process may use: of the machine, or less in a control group."""

from __future__ import annotations

import pytest

from depth_anything_3.runtime import memory, threads

MIB = 2**20


@pytest.mark.parametrize(
    ("own", "files", "mebibytes"),
    [
        pytest.param("0::/box", {}, 1000, id="no-limit"),
        pytest.param(
            "0::/box",
            {"box/memory.max": f"{500 * MIB}", "box/memory.current": f"{300 * MIB}", "box/memory.stat": "anon 5"},
            200,
            id="limit",
        ),
        pytest.param(
            "0::/a/b",
            {
                "a/memory.max": f"{500 * MIB}\n",
                "a/memory.current": f"{300 * MIB}\n",
                "a/memory.stat": f"anon 5\ninactive_file {100 * MIB}\n",
                "a/b/memory.max": "max\n",
            },
            300,
            id="limit-above-and-cached-files",
        ),
        pytest.param(
            "4:memory:/box",
            {
                "memory/box/memory.limit_in_bytes": f"{500 * MIB}",
                "memory/box/memory.usage_in_bytes": f"{499 * MIB}",
                "memory/box/memory.stat": "cache 0",
            },
            1,
            id="version-1",
        ),
    ],
)
def test_a_control_group_limits_the_memory(monkeypatch, tmp_path, own, files, mebibytes):
    (tmp_path / "meminfo").write_text(f"MemTotal: 9 kB\nMemAvailable:   {1000 * 1024} kB\n")
    (tmp_path / "own").write_text(own + "\n")
    for name, content in files.items():
        path = tmp_path / "groups" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(threads, "_OWN_CGROUP", tmp_path / "own")
    monkeypatch.setattr(threads, "_CGROUPS", tmp_path / "groups")
    assert memory.available_memory() == mebibytes * MIB


def test_memory_is_unknown_elsewhere(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "none")
    assert memory.available_memory() is None
