"""Parse the values of options: named choices and whole numbers."""

from __future__ import annotations

import re
from enum import Enum
from numbers import Integral
from typing import NoReturn

from depth_anything_3.errors import InvalidInputError

__all__ = ["StringEnum", "positive_int"]


class StringEnum(str, Enum):
    """A string enum whose unknown values raise InvalidInputError. Its name is the parameter's, in CamelCase."""

    @classmethod
    def _missing_(cls, value: object) -> NoReturn:
        parameter = re.sub(r"(?<=.)(?=[A-Z])", "_", cls.__name__).lower()
        *names, last = (repr(member.value) for member in cls)
        raise InvalidInputError(f"{parameter}={value!r} is unknown; choose {', '.join(names)} or {last}")


def positive_int(name: str, value: object, *, minimum: int = 1, hint: str | None = None) -> int:
    """Check an integer option.

    Args:
        name: name of the option, for the message.
        value: a Python or numpy integer; booleans are not accepted.
        minimum: smallest accepted value.
        hint: what to pass, for the message; None: "give a whole number, 1 or more".

    Raises:
        InvalidInputError: it is not an integer, or is too small.
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or value < minimum:
        raise InvalidInputError(f"{name}={value!r}: {hint or f'give a whole number, {minimum} or more'}")
    return int(value)
