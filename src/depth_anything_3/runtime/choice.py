"""Options with names: enums inside, their strings accepted outside, parsed in one place."""

from __future__ import annotations

import re
from enum import Enum
from typing import NoReturn

from depth_anything_3.errors import InvalidInputError

__all__ = ["Option"]


class Option(str, Enum):
    """A choice that accepts and equals its string. Named like the parameter that takes it."""

    @classmethod
    def _missing_(cls, value: object) -> NoReturn:
        parameter = re.sub(r"(?<=.)(?=[A-Z])", "_", cls.__name__).lower()
        *names, last = (repr(member.value) for member in cls)
        raise InvalidInputError(f"{parameter}={value!r} is unknown; choose {', '.join(names)} or {last}")
