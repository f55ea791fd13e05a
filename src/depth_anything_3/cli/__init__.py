"""The `da3` command: parses, calls the API, reports."""

from __future__ import annotations

import io
import logging
import os
import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, NoReturn

import typer

from depth_anything_3.cli.colmap import colmap
from depth_anything_3.cli.console import (
    EXIT_FAILURES,
    EXIT_INTERRUPTED,
    EXIT_MISUSE,
    EXIT_TERMINATED,
    LogHandler,
    stderr,
    stdout,
    told,
)
from depth_anything_3.cli.demo import demo
from depth_anything_3.cli.doctor import doctor
from depth_anything_3.cli.export import export
from depth_anything_3.cli.images import images
from depth_anything_3.cli.models import models
from depth_anything_3.cli.video import video
from depth_anything_3.cli.webcam import webcam
from depth_anything_3.errors import DA3Error, InvalidInputError

__all__ = ["app", "main"]

app = typer.Typer(
    name="da3",
    help="Depth Anything 3: from images to depth, with nothing wasted on the way in.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help, in half the time
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command("auto", short_help="One image or many, whichever is given.")(images)
app.command("images", short_help="Depth of many images: folders, files, patterns, lists.")(images)
app.command("image", short_help="Depth of one image.")(images)
app.command("colmap", short_help="Depth of a COLMAP workspace, by its cameras.")(colmap)
app.command("export", short_help="Results in other formats, without the network.")(export)
app.command("video", short_help="Depth of a video, as a video or a file for each frame.")(video)
app.command("webcam", short_help="Live depth of a camera, stream or file, in a window or a browser.")(webcam)
app.command("demo", short_help="From pictures to depth, with what is in the package alone.")(demo)
app.command("doctor", short_help="What this machine has, which way each input takes, and whether it works.")(doctor)
app.command("models", short_help="The models and their licences.")(models)


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    if version:
        from depth_anything_3.runtime.version import __version__

        stdout.print(f"da3 {__version__}")
        raise typer.Exit


def main() -> None:
    """Run the command; errors of ours become one line, with exit code 2 for misuse and 1 otherwise."""
    # What libraries print about damaged files says less than our errors.
    os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")
    os.environ.setdefault("PYNVIMGCODEC_VERBOSITY", "0")
    warnings.filterwarnings("ignore", module=r"PIL\.")
    # Decoding shares the cores with the network: threads that spin while they wait for a core that is busy made the
    # network 2 to 6 times slower on two cores, sleeping ones cost under 10 % where nothing else runs.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # oneDNN compiles kernels for each size of picture, some dozens, and keeps 1,024 of them, torch as many for each
    # thread. After 432 sizes da3-small had grown by 268 MB so, with these bounds by 118 MB, in the same time.
    for cache in ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"):
        os.environ.setdefault(cache, "256")
    if isinstance(sys.stdout, io.TextIOWrapper):  # names of files may be bytes that no encoding has
        sys.stdout.reconfigure(errors="backslashreplace")
    logging.getLogger("depth_anything_3").addHandler(LogHandler(logging.WARNING))
    words, debug = _without_debug(sys.argv[1:])
    try:
        with _sigterm_as_ctrl_c():
            app(words)
    except DA3Error as error:
        if debug:
            raise
        stderr.print(f"[red]error[/] {told(str(error))}")
        sys.exit(EXIT_MISUSE if isinstance(error, InvalidInputError) else EXIT_FAILURES)
    except SystemExit as left:
        if left.code in (EXIT_INTERRUPTED, EXIT_TERMINATED):
            stderr.print("stopped; what was written is whole")
        raise


def _without_debug(words: list[str]) -> tuple[list[str], bool]:
    """The command line without --debug, which may stand anywhere, and whether it stood there."""
    end = words.index("--") if "--" in words else len(words)
    left = [word for word in words[:end] if word != "--debug"]
    return left + words[end:], len(left) < end


@contextmanager
def _sigterm_as_ctrl_c() -> Iterator[None]:
    """Within the block SIGTERM, by which machines stop programs, ends the command as Ctrl-C does."""
    received = False

    def stop(_number: int, _frame: object) -> NoReturn:
        nonlocal received
        received = True
        raise KeyboardInterrupt("SIGTERM")

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except SystemExit as left:
        if received and left.code == EXIT_INTERRUPTED:  # what typer makes of Ctrl-C
            sys.exit(EXIT_TERMINATED)
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
