"""A processor that was used before a fork works in the child, which has none of the parent's threads."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from support import fork_cases

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")


@pytest.fixture(scope="module")
def outcomes() -> dict[str, str]:
    """The error of each case, empty if there is none; all run in one process, which takes seconds to start."""
    done = subprocess.run([sys.executable, fork_cases.__file__], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return {name: error and f"{error}\n{done.stderr}" for name, error in json.loads(done.stdout).items()}


@pytest.mark.parametrize("name", [case.__name__ for case in fork_cases.CASES])
def test_a_fork(outcomes, name):
    assert not outcomes[name]
