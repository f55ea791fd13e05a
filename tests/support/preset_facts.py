"""What the published checkpoints hold."""

from __future__ import annotations

__all__ = ["PARAMETER_COUNTS"]

# Arrays and numbers in each published file.
PARAMETER_COUNTS = {
    "da3-small": (437, 34_299_463),
    "da3-base": (437, 135_366_599),
    "da3-large": (637, 410_941_767),
    "da3-giant": (971, 1_355_674_125),
    "da3mono-large": (406, 334_171_394),
    "da3metric-large": (406, 334_171_394),
    "da3nested-giant-large": (1377, 1_689_845_519),
    "da3-nano": (182, 4_609_986),
}
