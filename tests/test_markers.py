"""Only the tests that need a GPU are marked `gpu`, and so left out of the default run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parent


def test_only_the_folder_of_gpu_tests_is_deselected():
    folders = [TESTS / "gpu", TESTS / "inputs" / "decode" / "gpu"]
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *folders]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=TESTS.parent)
    collected = {line.partition("::")[0] for line in done.stdout.splitlines() if "::" in line}
    # One folder has a file for each adapter, which the CPU can test.
    assert collected == {path.relative_to(TESTS.parent).as_posix() for path in folders[1].glob("test_*.py")}
