"""Parse the values of options: named choices and whole numbers."""

from __future__ import annotations

import re
from enum import Enum
from numbers import Integral
from typing import NoReturn

from depth_anything_3.errors import InvalidInputError

__all__ = ["StringEnum", "positive_int"]


class StringEnum(str, Enum):
    """A string enum whose unknown values raise InvalidInputError. Named like the parameter that takes it."""

    @classmethod
    def _missing_(cls, value: object) -> NoReturn:
        parameter = re.sub(r"(?<=.)(?=[A-Z])", "_", cls.__name__).lower()
        *names, last = (repr(member.value) for member in cls)
        raise InvalidInputError(f"{parameter}={value!r} is unknown; choose {', '.join(names)} or {last}")


def positive_int(name: str, value: object, *, minimum: int = 1, hint: str | None = None) -> int:
    """Check a whole number.

    Args:
        name: of the option, for the message.
        value: an integer, numpy's included; True and False are none.
        minimum: the smallest that is accepted.
        hint: what to pass, for the message; None: "give a whole number, 1 or more".

    Raises:
        InvalidInputError: it is no integer, or too small.
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or value < minimum:
        raise InvalidInputError(f"{name}={value!r}: {hint or f'give a whole number, {minimum} or more'}")
    return int(value)
