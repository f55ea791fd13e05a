"""The simulation of docs/scale.md."""

from __future__ import annotations

import importlib
import sys
from dataclasses import replace
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def simulation(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("scale_simulation")


@pytest.mark.parametrize(
    ("changed", "bound"),
    [
        ({}, "network"),
        ({"cores": 1.0}, "decode cores"),
        ({"node_gb": 0.1}, "node's bandwidth"),
        ({"store_gb": 0.5, "node_gb": 100.0}, "store's bandwidth"),
        ({"head_ms": 1000.0}, "head node"),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)
def test_a_run_is_as_fast_as_what_bounds_it(simulation, changed, bound):
    site = replace(simulation.Site(jitter=0.0), **changed)
    allowed = simulation.bounds(site, 8)
    assert min(allowed, key=allowed.get) == bound
    assert 0.9 * allowed[bound] < simulation.simulate(site, 8) <= 1.001 * allowed[bound]


def test_the_tables_are_those_of_the_page(simulation, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["scale_simulation.py"])
    simulation.main()
    page = (DOCS / "scale.md").read_text(encoding="utf-8")
    rows = [one for one in capsys.readouterr().out.splitlines() if one.startswith("|")]
    assert len(rows) == 15
    assert all(one in page for one in rows)
