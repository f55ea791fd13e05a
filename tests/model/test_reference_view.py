"""Reference views: names, orders and ties."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from depth_anything_3.errors import InvalidInputError
from depth_anything_3.model import RefViewStrategy
from depth_anything_3.model.reference_view import (
    order_from_reference,
    order_to_original,
    select_reference_view,
    take_views,
)


@settings(deadline=None)
@given(st.integers(1, 12).flatmap(lambda n: st.tuples(st.just(n), st.lists(st.integers(0, n - 1), min_size=1))))
def test_original_order_undoes_the_reordering(case):
    views, references = case
    reference = torch.tensor(references)
    x = torch.arange(len(references) * views).reshape(len(references), views)
    reordered = take_views(x, order_from_reference(reference, views))
    assert torch.equal(reordered[:, 0], x[torch.arange(len(references)), reference])
    assert torch.equal(take_views(reordered, order_to_original(reference, views)), x)


def test_other_views_keep_their_order():
    assert order_from_reference(torch.tensor([2, 0]), 4).tolist() == [[2, 0, 1, 3], [0, 1, 2, 3]]


@pytest.mark.parametrize("name", ["first", "middle", "saddle_balanced", "saddle_sim_range"])
def test_a_strategy_is_its_string(name):
    assert RefViewStrategy(name) == name


def test_an_unknown_strategy_is_quoted_with_the_accepted_ones():
    with pytest.raises(InvalidInputError, match=r"'last'.*'first', 'middle', 'saddle_balanced' or 'saddle_sim_range'"):
        RefViewStrategy("last")


@pytest.mark.parametrize("strategy", ["saddle_balanced", "saddle_sim_range"])
def test_the_first_of_equal_views_is_the_reference(strategy):
    tokens = torch.ones(2, 5, 16) + torch.arange(16.0)
    assert select_reference_view(tokens, RefViewStrategy(strategy)).tolist() == [0, 0]
