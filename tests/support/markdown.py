"""Read the links, headings and code of Markdown pages, with their line numbers."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

_FENCE = re.compile(
    r"^(?P<indent> *)(?P<mark>`{3,})(?P<language>\w*).*\n(?P<code>(?:.*\n)*?) *(?P=mark)`*$", re.MULTILINE
)
_SPAN = re.compile(r"(?<!`)(?P<mark>`+)(?!`)(?P<code>(?:(?!\n\s*\n)[\s\S])+?)(?<!`)(?P=mark)(?!`)")
_LINK = re.compile(
    r"\[(?:[^\[\]]|\[[^\[\]]*\](?:\([^()]*\))?)*\]\(\s*<?(?P<target>[^\s()<>]+)>?(?:\s+\"[^\"]*\")?\s*\)"
)
_OTHER_LINKS = (
    re.compile(r"^ {0,3}\[[^\]]+\]:\s*<?(?P<target>[^\s<>]+)", re.MULTILINE),
    re.compile(r"<(?:img|a|source)\b[^>]*?\s(?:src|href|srcset)=\"(?P<target>[^\"]+)\""),
)
_HEADING = re.compile(r"^ {0,3}#{1,6}\s+(?P<text>.+?)\s*#*$", re.MULTILINE)
_ANCHOR = re.compile(r"<\w+\b[^>]*?\s(?:id|name)=\"(?P<name>[^\"]+)\"")
RUNNABLE = "<!-- runnable -->"
"""A line before a fence: its Python code is to be run by the tests."""
_MISSING = re.compile(r"<!-- missing -->.*?<!-- /missing -->", re.DOTALL)


class Code(NamedTuple):
    """Code of a page: a fence, or a span within a line, whose language is empty."""

    line: int
    language: str
    text: str
    runnable: bool = False


class Page:
    """A Markdown page, without what it lists as missing between `<!-- missing -->` and `<!-- /missing -->`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        text = _MISSING.sub(_blank, path.read_text(encoding="utf-8"))
        self.fences = [
            Code(
                _line(text, found.start()) + 1,
                found["language"],
                re.sub(rf"^{found['indent']}", "", found["code"], flags=re.MULTILINE),
                text[: found.start()].rstrip().endswith(RUNNABLE),
            )
            for found in _FENCE.finditer(text)
        ]
        self._prose = _FENCE.sub(_blank, text)
        self.spans = [
            Code(_line(text, found.start()), "", " ".join(found["code"].replace("\\|", "|").split()))
            for found in _SPAN.finditer(self._prose)
        ]

    def links(self) -> list[tuple[int, str]]:
        """Line and target of every link and image."""
        text = _SPAN.sub(_blank, self._prose)
        found = [match for pattern in (_LINK, *_OTHER_LINKS) for match in pattern.finditer(text)]
        # An image may itself be the text of a link.
        found += [
            inner for match in _LINK.finditer(text) for inner in _LINK.finditer(text, match.start() + 1, match.end())
        ]
        return sorted({(_line(text, match.start("target")), match["target"]) for match in found})

    def anchors(self) -> set[str]:
        """Names of the headings, as GitHub makes them, and of anchors in HTML."""
        names = {match["name"] for match in _ANCHOR.finditer(self._prose)}
        seen: Counter[str] = Counter()
        for match in _HEADING.finditer(self._prose):
            name = _slug(match["text"])
            names.add(f"{name}-{seen[name]}" if seen[name] else name)
            seen[name] += 1
        return names


def _slug(heading: str) -> str:
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading)
    text = re.sub(r"<[^>]+>|[*`]", "", text)
    return re.sub(r"[^\w\- ]", "", text.strip().lower()).replace(" ", "-")


def _line(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1


def _blank(found: re.Match[str]) -> str:
    """White space with the same lines, so that numbers of lines stay."""
    return "\n" * found[0].count("\n") or " "
