"""A process that runs a script with a Python of its own, and answers each line of JSON with one."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from depth_anything_3.errors import UnsupportedError

__all__ = ["Child", "without_our_package"]


class Child:
    """A script in a process of its own. It prints a line of JSON when it is ready, and one for each line that it reads.

    Args:
        command: Python and its arguments.
        environment: variables of the process.

    Attributes:
        ready: the first line.

    Raises:
        UnsupportedError: the process ended before it was ready, or during a call; with its last line.
    """

    def __init__(self, command: Sequence[str | Path], environment: Mapping[str, str]) -> None:
        self._command = list(map(str, command))
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115, until `close`
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=environment,
        )
        self.ready = self._answer()

    def ask(self, message: object) -> Any:  # Any: plain JSON values
        """Send a message, and wait for its answer."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # the answer gives the reason
            print(json.dumps(message), file=self._process.stdin, flush=True)
        return self._answer()

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()
        self._errors.close()

    def _answer(self) -> Any:  # Any: plain JSON values
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if line:
            return json.loads(line)
        self._process.wait()
        self._errors.seek(0)
        last = self._errors.read().decode(errors="replace").strip().rpartition("\n")[2]
        self.close()
        command, code = " ".join(self._command[:3]), self._process.returncode
        raise UnsupportedError(f"{command} ended with exit code {code}: {last or 'no message'}")


def without_our_package() -> dict[str, str]:
    """Return the environment without the path of this package, which another one of the same name must not find."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
