"""The catalog: networks have the published parameters, and a model is one row."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
import torch
from typer.testing import CliRunner

from depth_anything_3.cli import app
from depth_anything_3.errors import InvalidInputError, UnsupportedError
from depth_anything_3.export import AvailableFields, check_formats
from depth_anything_3.model import DepthAnything3Net, build_network, catalog
from depth_anything_3.model.catalog import MODEL_CARDS, DepthKind, ModelCard, find_preset
from support.goldens import published_parameters
from support.preset_facts import PARAMETER_COUNTS


def on_meta(preset):
    with torch.device("meta"):
        return build_network(preset)


@pytest.mark.parametrize("preset", MODEL_CARDS)
def test_state_dict_has_the_published_number_of_parameters(preset):
    state = on_meta(preset).state_dict()
    assert (len(state), sum(value.numel() for value in state.values())) == PARAMETER_COUNTS[preset]


@pytest.mark.parametrize("preset", [name for name, card in MODEL_CARDS.items() if card.hub_ids])
def test_state_dict_has_the_published_names_and_shapes(preset):
    state = on_meta(preset).state_dict()
    shapes = {f"model.{name}": list(value.shape) for name, value in state.items()}
    assert shapes == published_parameters()[preset]


def test_the_shared_norm_is_stored_once_under_level_zero():
    names = [
        name
        for name in on_meta("da3-small").state_dict()
        if re.fullmatch(r"head\.scratch\.output_conv2_aux\.\d\.2\.\w+", name)
    ]
    assert names == [f"head.scratch.output_conv2_aux.0.2.{part}" for part in ("weight", "bias")]


@pytest.mark.parametrize("preset", MODEL_CARDS)
def test_parameters_are_all_there_is_to_materialise(preset):
    net = on_meta(preset)
    assert list(net.buffers()) == []
    assert net.state_dict().keys() == dict(net.named_parameters()).keys()


def test_an_unknown_preset_is_quoted_with_the_accepted_ones():
    with pytest.raises(InvalidInputError, match=r"'da3-huge'.*da3-small, da3-base, da3-large, da3-giant"):
        DepthAnything3Net("da3-huge")
    with pytest.raises(InvalidInputError, match=r"'da3-huge'.*da3metric-large.*da3nested-giant-large"):
        build_network("da3-huge")


@pytest.mark.parametrize("preset", MODEL_CARDS)
def test_a_card_matches_its_network(preset):
    card, net = MODEL_CARDS[preset], on_meta(preset)
    modules = {name.rpartition(".")[2] for name, _ in net.named_modules()}
    assert card.has_poses == card.has_conf == ("cam_dec" in modules)
    assert card.has_gaussians == ("gs_head" in modules)
    nested = "da3_metric" in modules
    assert card.has_sky == ("sky_output_conv2" in modules and not nested)
    assert (card.depth_kind is DepthKind.METRIC) == nested
    assert all(name.startswith("depth-anything/DA3") for name in card.hub_ids)
    assert card.licence in ("Apache-2.0", "CC-BY-NC-4.0")


TOY = ModelCard(
    replace(find_preset("da3-small"), name="toy-giant", depth=8, out_layers=(1, 3, 5, 7), gaussian_head=True),
    licence="MIT",
    depth_kind=DepthKind.CANONICAL,
    hub_ids=("someone/toy",),
)


@pytest.fixture
def toy(monkeypatch):
    """A model added to the catalog by its one row."""
    monkeypatch.setitem(catalog._BY_NAME, TOY.name, TOY)
    return TOY.name


def test_a_model_added_in_one_row_can_be_built(toy):
    assert (on_meta(toy).preset, on_meta(toy).preset.depth) == (TOY.network, 8)


def test_a_model_added_in_one_row_is_listed_by_the_command(toy):
    shown = CliRunner().invoke(app, ["models"])
    assert "someone/toy" in shown.output
    listed = json.loads(CliRunner().invoke(app, ["models", "--json"]).output)
    assert listed[-1] == {**TOY.as_dict(), "cached": []}


@pytest.mark.parametrize(
    ("formats", "available"),
    [
        pytest.param("glb", AvailableFields(poses=False), id="poses"),
        pytest.param("ply", AvailableFields(poses=False, intrinsics=False), id="metric"),
        pytest.param("gs_ply", AvailableFields(), id="gaussians"),
    ],
)
def test_a_model_added_in_one_row_is_suggested_in_messages(toy, formats, available):
    with pytest.raises(UnsupportedError, match=toy):
        check_formats(formats, available)


def test_a_model_added_in_one_row_is_named_beside_an_unknown_one(toy):
    for build in (build_network, DepthAnything3Net):
        with pytest.raises(InvalidInputError, match=f"'da3-huge'.*{toy}"):
            build("da3-huge")
