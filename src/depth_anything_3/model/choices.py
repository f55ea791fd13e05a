"""Named options of the networks, as string enums."""

from __future__ import annotations

from typing import Literal

from depth_anything_3.runtime.option_values import StringEnum

__all__ = ["RefViewStrategy", "RefViewStrategyName"]

RefViewStrategyName = Literal["first", "middle", "saddle_balanced", "saddle_sim_range"]
"""The strings of `RefViewStrategy`."""


class RefViewStrategy(StringEnum):
    """How the reference view is chosen; each member equals its string."""

    FIRST = "first"
    """The first view."""
    MIDDLE = "middle"
    """View `S // 2`, suited to videos."""
    SADDLE_BALANCED = "saddle_balanced"
    """The view closest to average in similarity to the others, token norm and token variance."""
    SADDLE_SIM_RANGE = "saddle_sim_range"
    """The view with the largest range of similarities to the others."""
