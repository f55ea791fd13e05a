"""Compare the outcome of corpus files with what is expected, and write the table of docs/robustness.md.

PYTHONPATH=tests python -m support.corpus.outcome      # writes the table
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import numpy as np

from depth_anything_3.inputs.batch.preparer import ImagePreparer
from depth_anything_3.inputs.batch.processor import BatchProcessor
from depth_anything_3.inputs.failure import ImageFailure
from depth_anything_3.inputs.options import PreprocessOptions
from support.corpus.cases import Case, corpus
from support.metadata_files import TURNS

__all__ = ["all_mistakes", "decoded", "mistakes", "table"]

PAGE = Path(__file__).parents[3] / "docs" / "robustness.md"
_RES = 56
_TABLE = re.compile(r"(?<=<!-- corpus -->\n).*?(?=<!-- /corpus -->)", re.DOTALL)


def decoded(image: bytes | Path) -> np.ndarray:
    """The pixels of a file as this package decodes it, turned upright; raises what it raises."""
    preparer = ImagePreparer(PreprocessOptions(process_res=_RES))
    opened = preparer.open(0, image)
    assert opened.header
    return TURNS[opened.header.exif_orientation](np.asarray(preparer.decode(opened).data))


def mistakes(case: Case, found: np.ndarray | Exception, wanted: np.ndarray | None, levels: int) -> str | None:
    """What is wrong with an outcome, pixels or an error; None if nothing is."""
    if isinstance(found, Exception):
        if wanted is not None:
            return f"refused: {found}"
        as_expected = isinstance(found, case.error) and case.message in str(found)
        return None if as_expected else f"{type(found).__name__}: {found}"
    if wanted is None:
        return f"taken, of shape {found.shape}"
    if found.shape != wanted.shape:
        return f"of shape {found.shape}, not {wanted.shape}"
    most = int(np.abs(found.astype(np.int16) - wanted).max())
    return None if most <= levels else f"{most} levels off"


def all_mistakes(processor: BatchProcessor, strategy: str, levels: int) -> list[str]:
    """What is wrong with what a processor makes of the corpus, with a fifth of its many damaged files.

    Args:
        processor: of which the pixels that the network gets are held against what is known, resampled.
        strategy: asked of it.
        levels: by how much more pixels may differ than the decoded ones.
    """
    cases, wanted = _some()
    found: dict[int, np.ndarray | Exception] = {}
    options = PreprocessOptions(process_res=_RES, num_workers=2, strategy=strategy)
    for one in processor.batches([case.data for case in cases], options):
        if isinstance(one, ImageFailure):
            found[one.index] = one.error
        else:
            found |= {image.index: pixels.cpu().numpy() for image, pixels in zip(one.images, one.pixels, strict=True)}
            found |= {failure.index: failure.error for failure in one.failures}
    found_mistakes = [mistakes(case, found[at], wanted[at], case.levels + levels) for at, case in enumerate(cases)]
    return [f"{case}: {mistake}" for case, mistake in zip(cases, found_mistakes, strict=True) if mistake]


@cache
def _some() -> tuple[list[Case], list[np.ndarray | None]]:
    cases = [
        case for at, case in enumerate(corpus()) if case.group not in ("truncated", "flipped bytes") or at % 5 == 0
    ]
    preparer = ImagePreparer(PreprocessOptions(process_res=_RES))
    shown = [case.pixels for case in cases]
    return cases, [None if one is None else preparer(0, np.ascontiguousarray(one)).pixels for one in shown]


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
    lines = ["| files | tested | decoded correctly | rejected as expected | wrong |", "|---|---|---|---|---|"]
    lines += [f"| {group} | {sum(of)} | {of[0]} | {of[1]} | {of[2]} |" for group, of in rows]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(_TABLE.sub(lambda _: table(corpus()), text), encoding="utf-8")
