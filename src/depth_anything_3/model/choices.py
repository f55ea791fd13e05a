"""The finite choices of the network's work, as enums that accept their strings."""

from __future__ import annotations

from depth_anything_3.runtime.option_values import StringEnum

__all__ = ["RefViewStrategy"]


class RefViewStrategy(StringEnum):
    """How the reference view is chosen; each member accepts and equals its string."""

    FIRST = "first"
    """The first view as given."""
    MIDDLE = "middle"
    """View `S // 2`, sensible for a video."""
    SADDLE_BALANCED = "saddle_balanced"
    """The view that is most average in similarity to the others, token norm and token variance."""
    SADDLE_SIM_RANGE = "saddle_sim_range"
    """The view whose similarities to the others spread most."""
