"""The page about errors lists every one of them, with the built-in error that it also is."""

from __future__ import annotations

import builtins
import re
from pathlib import Path

import pytest

from depth_anything_3 import errors
from depth_anything_3.cli import console

PAGE = (Path(__file__).parents[1] / "docs" / "errors.md").read_text(encoding="utf-8")
ROWS = {
    row[0]: row[1:] for row in re.findall(r"^\| `(\w+)` \| (?:`(\w+)`)? ?\| (.+?) \| (.*?) ?\|$", PAGE, re.MULTILINE)
}


@pytest.mark.parametrize("name", errors.__all__)
def test_every_error_is_explained_with_cause_and_hint(name):
    also, cause, hint = ROWS[name]
    assert cause
    assert hint or name == "CheckpointError"
    if also:
        assert issubclass(getattr(errors, name), getattr(builtins, also))
    else:
        assert getattr(errors, name).__bases__[0] in (Exception, errors.DA3Error)


def test_nothing_is_explained_that_is_not_there():
    assert ROWS.keys() == set(errors.__all__)


def test_every_exit_code_is_explained():
    codes = {int(code) for code in re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE)}
    assert codes == {0, *(getattr(console, name) for name in console.__all__ if name.startswith("EXIT_"))}
