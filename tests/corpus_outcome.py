"""What became of a file of the corpus, and the table of it all in docs/robustness.md.

python tests/corpus_outcome.py      # writes the table anew
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from corpus import Case, corpus
from depth_anything_3.errors import DA3Error
from depth_anything_3.utils.io.prepare import ImagePreparer

__all__ = ["decoded", "mistakes", "resampled", "table"]

PAGE = Path(__file__).parents[1] / "docs" / "robustness.md"
_RES = 56
_TABLE = re.compile(r"(?<=<!-- corpus -->\n).*?(?=<!-- /corpus -->)", re.DOTALL)
_TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
    8: np.rot90,
}


def decoded(image: bytes | Path) -> np.ndarray:
    """The pixels of a file as this package decodes it, turned upright; raises what it raises."""
    preparer = ImagePreparer(_RES)
    opened = preparer.open(0, image)
    assert opened.header
    return _TURNS[opened.header.exif_orientation](np.asarray(preparer.decode(opened).data))


def resampled(case: Case) -> np.ndarray | DA3Error:
    """(3, H, W) what is to reach the network of a file that is right: its known pixels, resampled."""
    assert case.pixels is not None
    return ImagePreparer(_RES)(0, np.ascontiguousarray(case.pixels)).pixels


def mistakes(case: Case, found: np.ndarray | Exception, wanted: np.ndarray | None, levels: int) -> str | None:
    """What is wrong with an outcome, pixels or an error; None if nothing is."""
    if isinstance(found, Exception):
        if wanted is not None:
            return f"refused: {found}"
        as_told = isinstance(found, case.error) and case.told in str(found)
        return None if as_told else f"{type(found).__name__}: {found}"
    if wanted is None:
        return f"taken, of shape {found.shape}"
    if found.shape != wanted.shape:
        return f"of shape {found.shape}, not {wanted.shape}"
    most = int(np.abs(found.astype(np.int16) - wanted).max())
    return None if most <= levels else f"{most} levels off"


def table(cases: Iterable[Case]) -> str:
    """Counts of what became of each group, as Markdown."""
    counts: dict[str, list[int]] = {}
    for case in cases:
        try:
            found: np.ndarray | Exception = decoded(case.data)
        except Exception as error:  # whatever it is, it is counted
            found = error
        column = 2 if mistakes(case, found, case.pixels, case.levels) else int(case.pixels is None)
        counts.setdefault(case.group, [0, 0, 0])[column] += 1
    rows = [*counts.items(), ("**all**", [sum(one) for one in zip(*counts.values(), strict=True)])]
    lines = ["| files | tried | decoded right | refused right | wrong |", "|---|---|---|---|---|"]
    lines += [f"| {group} | {sum(of)} | {of[0]} | {of[1]} | {of[2]} |" for group, of in rows]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(_TABLE.sub(lambda _: table(corpus()), text), encoding="utf-8")
