"""`da3 models`: the table and the JSON."""

from __future__ import annotations

import json

from typer.testing import CliRunner

from depth_anything_3.cli import app
from depth_anything_3.model.catalog import MODEL_CARDS


def run(*arguments: object):
    result = CliRunner().invoke(app, [str(one) for one in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result


def test_models_lists_every_checkpoint_and_its_licence():
    shown = run("models").output
    listed = json.loads(run("models", "--json").output)
    for card, row in zip(MODEL_CARDS.values(), listed, strict=True):
        assert row["hub_ids"] == list(card.hub_ids)
        assert all(name in shown for name in card.hub_ids)
        assert card.licence in shown
    assert "da3-nano is bundled with the package: a small demonstration, not for real use." in shown


def test_models_shows_sizes_and_marks_what_is_in_the_cache(monkeypatch):
    monkeypatch.setattr("depth_anything_3.model.hub_cache.is_cached", lambda hub_id: hub_id.endswith("BASE"))
    shown = run("models").output
    base = next(line for line in shown.splitlines() if line.strip().startswith("da3-base"))
    assert "541 MB" in base
    assert "491 MB" in base
    assert "depth-anything/DA3-BASE (in the hub's cache)" in shown
    assert shown.count("in the hub's cache") == 1
    listed = {row["name"]: row for row in json.loads(run("models", "--json").output)}
    assert listed["da3-base"]["cached"] == ["depth-anything/DA3-BASE"]
    assert listed["da3-small"]["cached"] == []
