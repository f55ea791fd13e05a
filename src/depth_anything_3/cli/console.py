"""Print results of `da3` to stdout, and its progress and messages to stderr."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.markup import escape

from depth_anything_3.cli.messages import flags_of, in_flags
from depth_anything_3.errors import UnsupportedError

if TYPE_CHECKING:
    from depth_anything_3.api import DepthAnything3
    from depth_anything_3.cli.options import ModelFlags
    from depth_anything_3.jobs.report import RunReport
    from depth_anything_3.model.catalog import ModelCard

__all__ = [
    "EXIT_FAILURES",
    "EXIT_INTERRUPTED",
    "EXIT_MISUSE",
    "EXIT_TERMINATED",
    "LogHandler",
    "Output",
    "escape_message",
    "finish",
    "load_model",
    "note_licence",
    "open_model",
    "set_quiet",
    "set_verbosity",
    "stderr",
    "stdout",
    "verbosity",
]

logger = logging.getLogger(__name__)
_package_logger = logging.getLogger("depth_anything_3")

EXIT_FAILURES = 1
EXIT_MISUSE = 2
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143


class Output(Console):
    """A console that can be made quiet: it then prints errors and JSON only."""

    def print_error(self, message: str) -> None:
        """Print a message with markup, even if quiet."""
        with self._loud():
            self.print(message)

    def print_json(self, json: str | None = None, **settings: Any) -> None:  # Any: those of the base class
        """Print JSON, even if quiet."""
        with self._loud():
            super().print_json(json, **settings)

    @contextmanager
    def _loud(self) -> Iterator[None]:
        quiet, self.quiet = self.quiet, False
        try:
            yield
        finally:
            self.quiet = quiet


stderr = Output(stderr=True, highlight=False, emoji=False, soft_wrap=True)
stdout = Output(highlight=False, emoji=False, soft_wrap=True)


def set_quiet() -> None:
    """Print nothing but errors and JSON until the command ends; see `verbosity`."""
    stdout.quiet = stderr.quiet = True
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


def set_verbosity(level: int) -> None:
    """Print log records from INFO on (1), or from DEBUG on (2), until the command ends; see `verbosity`."""
    threshold = logging.INFO if level == 1 else logging.DEBUG
    _package_logger.setLevel(threshold)
    for one in _package_logger.handlers:
        if isinstance(one, LogHandler):
            one.setLevel(threshold)


@contextmanager
def verbosity(flags: Mapping[str, str | None]) -> Iterator[None]:
    """Print warnings of the package within the block, and end there what `set_quiet` and `set_verbosity` have set.

    Args:
        flags: replace Python arguments by these flags in messages.
    """
    handler, level = LogHandler(logging.WARNING, flags), _package_logger.level
    _package_logger.addHandler(handler)
    try:
        yield
    finally:
        _package_logger.removeHandler(handler)
        _package_logger.setLevel(level)
        stdout.quiet = stderr.quiet = False


def escape_message(message: str, flags: Mapping[str, str | None] | None = None) -> str:
    """Make a message safe for `Console.print`: one line, without markup and control characters.

    Args:
        message: any text.
        flags: replace Python arguments by these flags; see `in_flags`.
    """
    plain = "".join(one if one.isprintable() else repr(one)[1:-1] for one in message)
    return escape(in_flags(plain, flags or {}))


def load_model(flags: ModelFlags) -> DepthAnything3:
    """Load a model, and report a licence that forbids commercial use."""
    with stderr.status(f"loading {escape(flags.model_dir)}"):
        model = open_model(flags)
    logger.info("%s computes on %s", model.model_name, model.device)
    note_licence(model.card)
    return model


def open_model(flags: ModelFlags) -> DepthAnything3:
    """Load a checkpoint or an exported file, without a word."""
    from depth_anything_3.api import DepthAnything3
    from depth_anything_3.exported.runtimes.open import is_exported_file
    from depth_anything_3.inference.backends.backend import BackendName
    from depth_anything_3.runtime.devices import parse_dtype

    backend, dtype = BackendName(flags.backend), parse_dtype(flags.dtype)
    if is_exported_file(flags.model_dir):
        model = _load_exported(flags)
    else:
        model = DepthAnything3.from_pretrained(flags.model_dir, flags.device, dtype, backend=backend)
    if flags.compiled:
        model.compile()
    return model


def _load_exported(flags: ModelFlags) -> DepthAnything3:
    """Load an exported file; --backend openvino and onnxruntime choose the library that runs it."""
    from depth_anything_3.api import DepthAnything3
    from depth_anything_3.exported.runtimes.runtime import RuntimeName

    if flags.device not in ("auto", "cpu") or flags.dtype != "auto":
        raise UnsupportedError(
            f"{flags.model_dir}: an exported file computes on the CPU, in its own dtype; omit --device and --dtype"
        )
    return DepthAnything3.from_exported(
        flags.model_dir, None if flags.backend in ("torch", "auto") else RuntimeName(flags.backend)
    )


def note_licence(card: ModelCard) -> None:
    """Report a licence that forbids commercial use."""
    if "-NC-" in card.licence:
        stderr.print(f"{card.name}: licence {card.licence}, no commercial use", markup=False)


def finish(
    command: Callable[..., None],
    report: RunReport,
    as_json: bool,
    *,
    index: bool = False,
    to: Console | None = None,
    noun: str = "image",
) -> None:
    """Print the report of a command's run; exit with code 1 if an image failed.

    Args:
        command: the function of the command.
        report: of the run.
        as_json: print it as JSON.
        index: whether the page of the folder was written.
        to: where to print; None: stdout.
        noun: what the report counts.
    """
    out = stdout if to is None else to
    flags = flags_of([command]) if report.failures else {}
    for failure in report.failures:
        stderr.print_error(f"[red]failed:[/] {escape_message(failure['error'], flags)}")
    for strategy, reasons in report.strategies.items():
        for reason, count in reasons.items():
            logger.info("strategy %s for %d %s(s): %s", strategy, count, noun, reason)
    if as_json:
        stdout.print_json(json.dumps(report.as_dict()))
    else:
        skipped = f", {report.skipped} already done" if report.skipped else ""
        failed = f", {len(report.failures)} failed" if report.failures else ""
        written = f"; written to {report.export_dir}" if report.images else ""
        out.print(
            f"{report.images} {noun}(s) in {report.wall_seconds:.2f} s ({report.images_per_second:.2f} {noun}s/s) "
            f"on {report.device}{skipped}{failed}{written}",
            markup=False,
        )
        if report.images:
            stages = report.stage_seconds.items()
            each = " | ".join(f"{stage} {1e3 * seconds / report.images:.1f}" for stage, seconds in stages)
            out.print(f"ms per {noun}: {each}")
            counts = {name: sum(reasons.values()) for name, reasons in report.strategies.items()}
            out.print(f"strategy: {', '.join(f'{name} {count}' for name, count in counts.items())}")
        if report.focal_lengths:
            origins = ", ".join(f"{origin} {count}" for origin, count in report.focal_lengths.items())
            out.print(f"focal length for metric depth: {origins}", markup=False)
        if index:
            out.print(f"index: {os.path.join(report.export_dir, 'index.html')}", markup=False)
    if report.failures:
        raise typer.Exit(EXIT_FAILURES)


class LogHandler(logging.Handler):
    """Prints log records without breaking the progress bar.

    Args:
        level: minimum level.
        flags: replace Python arguments by these flags in messages.
    """

    def __init__(self, level: int, flags: Mapping[str, str | None]) -> None:
        super().__init__(level)
        self._flags = flags

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record."""
        message, colour = record.getMessage(), "yellow" if record.levelno >= logging.WARNING else "cyan"
        stderr.print(f"[{colour}]{record.levelname.lower()}[/] {escape_message(message, self._flags)}")
