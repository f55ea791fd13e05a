"""Ask the model hub, beside other work, whether it can be reached."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass

from huggingface_hub import constants

from depth_anything_3.model.hub import why_unreachable

__all__ = ["MAX_WAIT_SECONDS", "HubAnswer", "HubQuestion", "without_login"]

MAX_WAIT_SECONDS = 3.0
"""Longest wait for the hub's answer."""


@dataclass(frozen=True)
class HubAnswer:
    """Whether the model hub can be reached.

    Attributes:
        endpoint: its address, without a login.
        reachable: None: it was not asked.
        reason: why it is not reachable, or was not asked.
    """

    endpoint: str
    reachable: bool | None
    reason: str | None = None


class HubQuestion:
    """A request to the hub in a thread of its own; it ends after `MAX_WAIT_SECONDS` at the latest.

    Args:
        why_not: why the hub shall not be asked; None: ask, unless `HF_HUB_OFFLINE` is set.
        why_unreachable: makes the request, waits at most the given seconds, and returns what is wrong.
    """

    def __init__(
        self, why_not: str | None = None, *, why_unreachable: Callable[[float], str | None] = why_unreachable
    ) -> None:
        if why_not is None and constants.HF_HUB_OFFLINE:
            why_not = "HF_HUB_OFFLINE is set"
        self._ask = why_unreachable
        self._answer = HubAnswer(without_login(constants.ENDPOINT), None, why_not)
        self._thread: threading.Thread | None = None
        if why_not is None:
            self._thread = threading.Thread(target=self._run, name="da3-doctor", daemon=True)
            self._thread.start()

    def answer(self) -> HubAnswer:
        """Wait for the answer."""
        if self._thread is not None:
            self._thread.join()
        return self._answer

    def _run(self) -> None:
        problem, endpoint = self._ask(MAX_WAIT_SECONDS), self._answer.endpoint
        self._answer = HubAnswer(
            endpoint, problem is None, problem and without_login(problem).removeprefix(f"{endpoint}: ")
        )


def without_login(text: str) -> str:
    """Replace the user and password of an address by `***`."""
    return re.sub(r"//[^/@\s]*@", "//***@", text)
