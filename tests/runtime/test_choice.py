"""Options are parsed in one place, and what is accepted is named."""

from __future__ import annotations

import numpy as np
import pytest

from depth_anything_3.errors import InvalidInputError
from depth_anything_3.runtime.option_values import positive_int


@pytest.mark.parametrize("value", [1, 20, np.int64(3)])
def test_a_positive_whole_number_is_an_int(value):
    assert positive_int("count", value) == value
    assert type(positive_int("count", value)) is int


@pytest.mark.parametrize("value", [0, -1, 1.0, True, "4", None])
def test_anything_else_is_quoted_with_what_is_accepted(value):
    with pytest.raises(InvalidInputError) as raised:
        positive_int("count", value)
    assert str(raised.value) == f"count={value!r}: give a whole number, 1 or more"


def test_a_minimum_and_a_hint_are_part_of_the_message():
    with pytest.raises(InvalidInputError, match="count=13: give a whole number, 14 or more"):
        positive_int("count", 13, minimum=14)
    with pytest.raises(InvalidInputError, match="count=0: give pixels"):
        positive_int("count", 0, hint="give pixels")
