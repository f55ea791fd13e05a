"""docs/models.md agrees with the catalog and with the networks."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from depth_anything_3.model.catalog import MODEL_CARDS
from support.preset_facts import PARAMETER_COUNTS

PAGE = Path(__file__).parents[2] / "docs" / "models.md"
PREDICTIONS, MEMORY = "Predictions and licences", "Memory and precision"


def table(heading):
    """Return the table below a heading: rows by their first cell, cells by the name of their column."""
    below = PAGE.read_text(encoding="utf-8").partition(f"## {heading}\n")[2]
    lines = re.findall(r"^\|.*\|$", below.partition("\n## ")[0], re.MULTILINE)
    names, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    return {row[0].strip("`"): dict(zip(names, row, strict=True)) for row in rows}


def test_the_page_lists_every_model_in_both_tables():
    assert list(table(PREDICTIONS)) == list(table(MEMORY)) == list(MODEL_CARDS)


@pytest.mark.parametrize("preset", MODEL_CARDS)
def test_the_page_agrees_with_the_card(preset):
    card, row = MODEL_CARDS[preset], table(PREDICTIONS)[preset]
    assert re.findall(r"`([^`]+)`", row["hub ids"]) == list(card.hub_ids)
    assert row["licence"] == card.licence
    assert row["unit of depth"] == card.depth_kind.value
    predicts = ["depth"]
    predicts += ["confidence"] * card.has_conf + ["cameras"] * card.has_poses
    predicts += ["sky"] * card.has_sky + ["Gaussians"] * card.has_gaussians
    assert row["predicts"] == ", ".join(predicts)


@pytest.mark.parametrize("preset", MODEL_CARDS)
def test_the_page_states_the_size_of_the_network(preset):
    parameters, row = PARAMETER_COUNTS[preset][1], table(MEMORY)[preset]
    assert MODEL_CARDS[preset].parameters == parameters
    assert megabytes(row["memory at 504x336, computed"]) == MODEL_CARDS[preset].memory_mb
    assert row["parameters"] == f"{parameters / 1e6:.1f} M"
    assert row["float32 file"] == f"{4 * parameters / 1e6:,.0f} MB"
    # The backbone's matrices have two bytes a value, other weights four.
    assert 2 * parameters / 1e6 < megabytes(row["memory at 504x336, computed"])


def megabytes(cell):
    return float(cell.removesuffix(" MB").replace(",", ""))


@pytest.mark.slow
def test_the_page_states_the_memory_that_the_benchmark_counts(monkeypatch):
    monkeypatch.syspath_prepend(PAGE.parents[1] / "benchmarks")
    from network_benchmark import _LiveTensors, memory

    with torch.inference_mode(), _LiveTensors() as live:
        first = torch.zeros(1000)
        second = first + 1
        del first
        third = (second * 2).view(10, 100).add_(1)
        fourth = third + 1
        del second, third, fourth
        torch.zeros(500)
    assert live.peak == 3 * 4000
    found = memory("da3-nano", (336, 504), torch.device("cpu"))
    stated = megabytes(table(MEMORY)["da3-nano"]["memory at 504x336, computed"])
    assert stated == round(1e3 * (found["weights_gb"] + found["tensors_gb"]))
