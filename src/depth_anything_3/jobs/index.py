"""Write the page that shows the results of an export folder in a browser."""

from __future__ import annotations

import html
import logging
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from itertools import zip_longest
from pathlib import Path, PurePosixPath
from string import Template
from urllib.parse import quote

from depth_anything_3.errors import ExportError, InvalidInputError
from depth_anything_3.export.registry import FORMATS
from depth_anything_3.jobs.depth_facts import DepthFacts
from depth_anything_3.jobs.manifest import Manifest, Record
from depth_anything_3.jobs.report import RunReport
from depth_anything_3.jobs.run_summary import reports_in, summarize
from depth_anything_3.runtime.atomic_file import atomic_write

__all__ = ["INDEX", "index_of_folder", "indexed"]

logger = logging.getLogger(__name__)

INDEX = "index.html"
"""Name of the page in an export folder."""

_MAX_LINKS = 12  # of one card; frames of a video are thousands of files
_PICTURES = (".jpg", ".jpeg", ".png")
_UNITS = {"metre": " m", "canonical": " (canonical)", "relative": " (relative)"}


@dataclass(frozen=True)
class _Card:
    """One result of the page.

    Attributes:
        name: heading.
        lines: facts in words.
        outputs: files to link, relative to the export folder.
        picture: file to show; empty if there is none.
        size: (height, width) of the picture, as far as known.
    """

    name: str
    lines: Sequence[str]
    outputs: Sequence[str]
    picture: str = ""
    size: tuple[int, int] | None = None


@contextmanager
def indexed(manifest: Manifest, report: RunReport, wanted: bool) -> Iterator[None]:
    """At the end of the block, also after an error or Ctrl-C, write the page, if it is wanted.

    Raises:
        ExportError: the page cannot be written, and nothing else stopped the block.
    """
    try:
        yield
    except BaseException:
        if wanted:
            try:
                _write(manifest, report.failures, report.stopped_by)
            except ExportError as error:
                logger.warning("no index was written: %s", error)  # the error that stopped the run is raised
        raise
    if wanted:
        _write(manifest, report.failures, report.stopped_by)


def index_of_folder(folder: Path) -> Path:
    """Write the page of a folder of results: what its manifests list, and the failures that its reports list.

    Raises:
        InvalidInputError: the folder has no manifest, or a damaged one, or a damaged report.
        ExportError: the page cannot be written.
    """
    manifest = Manifest(folder)
    if not manifest.results:
        raise InvalidInputError(f"{folder}: has no manifest.json, so its results are not known; give an export folder")
    if not reports_in(folder):
        return _write(manifest, [], None)
    summary = summarize([folder])
    stopped_by = next(iter(summary.stopped.values()), None)
    failures = summary.failures
    return _write(manifest, failures, stopped_by)


def _write(manifest: Manifest, failures: Sequence[Mapping[str, str]], stopped_by: str | None) -> Path:
    """Write the page, and record it in the manifest, so that it is not input of later runs."""
    records = [one for one in manifest.records if one.kind != "other"]
    models = dict.fromkeys(str(manifest.settings(one).get("model", "")) for one in records)
    cards = [card for one in records for card in _cards(manifest, one, several_models=len(models) > 1)]
    summary = [f"{len(cards)} result(s), {len(failures)} failed · {', '.join(filter(None, models))}".rstrip(" ·")]
    if stopped_by:
        summary.append(f"The run was stopped: {stopped_by}")
    text = Template(files("depth_anything_3.jobs").joinpath(INDEX).read_text(encoding="utf-8")).substitute(
        title=_text(f"{os.path.basename(os.path.abspath(manifest.folder)) or 'results'} - depth"),
        summary="\n".join(f"<p>{_text(one)}</p>" for one in summary),
        failures=_failures(failures),
        results="\n".join(_html(card, order) for order, card in sorted(enumerate(cards), key=_by_name)),
    )
    path = manifest.folder / INDEX
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    manifest.add_results([path])
    return path


def _cards(manifest: Manifest, record: Record, *, several_models: bool) -> Iterator[_Card]:
    """Describe a result; of a scene, also each view. Only files that exist are named."""
    model = [str(manifest.settings(record).get("model", ""))] if several_models else []
    outputs = [one for one in record.outputs if (manifest.folder / one).is_file()]
    if record.kind == "image":
        outputs = list(dict.fromkeys([*outputs, *_other_formats(manifest.folder, record.name)]))
    if not outputs:
        return
    if record.kind == "image":
        facts = record.facts[0] if record.facts else None
        yield _card(manifest.folder, record.name, facts, outputs, model)
        return
    if record.kind == "video":
        yield _Card(
            record.name, [os.path.basename(record.sources[0].path), *model], outputs, _first(outputs, (".mp4",))
        )
        return
    views = [f"{number:04d}" for number in range(len(record.sources))]
    whole = [one for one in outputs if PurePosixPath(one).stem not in views]
    yield _Card(f"scene of {len(views)} view(s)", model, whole, _first(whole, _PICTURES))
    for view, source, one_view in zip_longest(views, record.sources, record.facts):
        own = [one for one in outputs if PurePosixPath(one).stem == view]
        yield _card(manifest.folder, f"{view} {os.path.basename(source.path)}", one_view, own, [])


def _other_formats(folder: Path, name: str) -> Iterator[str]:
    """Find results of an image that were written by other runs, or by `da3 export`."""
    for one in FORMATS:
        file = f"{one.name}/{name}{one.suffix}"
        if one.file_names is None and (folder / file).is_file():
            yield file


def _card(folder: Path, name: str, facts: DepthFacts | None, outputs: list[str], more: list[str]) -> _Card:
    lines = [] if facts is None else _describe(facts)
    thumbnail = facts.thumbnail if facts is not None and (folder / facts.thumbnail).is_file() else ""
    beside = next((one for one in outputs if one.startswith("depth_vis/")), "")
    size = (facts.map_size[0], 2 * facts.map_size[1]) if facts is not None and (beside or thumbnail) else None
    return _Card(name, [*lines, *more], outputs, beside or thumbnail or _first(outputs, _PICTURES), size)


def _describe(facts: DepthFacts) -> list[str]:
    height, width = facts.map_size
    size = (
        f"{facts.size[1]} × {facts.size[0]} pixels; depth {width} × {height}" if facts.size else f"{width} × {height}"
    )
    if facts.depth is None:
        return [size, "no valid depth"]
    near, far = facts.depth
    return [size, f"depth {near:.3g} to {far:.3g}{_UNITS.get(facts.unit, '')}"]


def _first(outputs: Iterable[str], suffixes: tuple[str, ...]) -> str:
    return next((one for one in outputs if one.lower().endswith(suffixes)), "")


# HTML


def _by_name(numbered: tuple[int, _Card]) -> list[tuple[bool, int, str]]:
    """Sort by name, numbers in it by value."""
    parts = re.split(r"([0-9]+)", numbered[1].name.casefold())
    return [(not one.isdecimal(), int(one) if one.isdecimal() else 0, one) for one in parts if one]


def _html(card: _Card, order: int) -> str:
    name = _text(card.name)
    if not card.picture:
        picture = '<div class="none">no image</div>'
    elif card.picture.endswith(".mp4"):
        picture = f'<div class="picture"><video src="{_url(card.picture)}" controls preload="none"></video></div>'
    else:
        size = f' height="{card.size[0]}" width="{card.size[1]}"' if card.size else ""
        image = f'<img src="{_url(card.picture)}" alt="{name}: image and depth"{size} loading="lazy" decoding="async">'
        picture = f'<a class="picture" href="{_url(card.picture)}">{image}</a>'
    lines = "".join(f"<p>{_text(one)}</p>" for one in card.lines)
    links = " ".join(f'<a href="{_url(one)}">{_text(label)}</a>' for one, label in _links(card))
    text = f'<div><h3>{name}</h3>{lines}<p class="files">{links}</p></div>'
    return f'<li class="card" data-order="{order}">{picture}{text}</li>'


def _links(card: _Card) -> Iterator[tuple[str, str]]:
    """List files with labels: their format where it says which one it is; of very many files, their folders."""
    if len(card.outputs) > _MAX_LINKS:
        for one in dict.fromkeys(PurePosixPath(file).parts[0] for file in card.outputs):
            yield one, one
        return
    tops = [PurePosixPath(one).parts[0] for one in card.outputs]
    for one, top in zip(card.outputs, tops, strict=True):
        is_format = "/" in one and top != "exports" and tops.count(top) == 1
        yield one, top if is_format else PurePosixPath(one).name


def _failures(failures: Sequence[Mapping[str, str]]) -> str:
    if not failures:
        return ""
    cards = (
        f'<li class="card failed"><div><h3>{_text(os.path.basename(one["image"]))}</h3>'
        f"<p>{_text(one['error'])}</p></div></li>"
        for one in failures
    )
    return "\n".join((f"<section><h2>{len(failures)} failed</h2>\n<ul>", *cards, "</ul></section>"))


def _text(text: str) -> str:
    """Escape text for HTML; control characters and bytes of a file name that are not text are written as escapes."""
    return html.escape("".join(one if one.isprintable() else repr(one)[1:-1] for one in text))


def _url(file: str) -> str:
    """Quote a path as a relative URL."""
    return quote(os.fsencode(file))
