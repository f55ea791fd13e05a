"""Define the `da3` command."""

from __future__ import annotations

import atexit
import gc
import io
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, NoReturn

import typer

from depth_anything_3.cli.auto import auto
from depth_anything_3.cli.backend import backend
from depth_anything_3.cli.cache import cache
from depth_anything_3.cli.colmap import colmap
from depth_anything_3.cli.console import (
    EXIT_FAILURES,
    EXIT_INTERRUPTED,
    EXIT_MISUSE,
    EXIT_TERMINATED,
    escape_message,
    stderr,
    stdout,
    verbosity,
)
from depth_anything_3.cli.demo import demo
from depth_anything_3.cli.doctor import doctor
from depth_anything_3.cli.download import download
from depth_anything_3.cli.export import export
from depth_anything_3.cli.export_model import export_model
from depth_anything_3.cli.image import image
from depth_anything_3.cli.images import images
from depth_anything_3.cli.index import index
from depth_anything_3.cli.messages import flags_of
from depth_anything_3.cli.models import models
from depth_anything_3.cli.panels import MAX_HELP_WIDTH, PanelCommand, PanelGroup
from depth_anything_3.cli.plan import plan
from depth_anything_3.cli.progress import stop_line
from depth_anything_3.cli.report import report
from depth_anything_3.cli.serve import serve
from depth_anything_3.cli.video import video
from depth_anything_3.cli.webcam import webcam
from depth_anything_3.errors import DA3Error, DeviceError, InputFileError, InvalidInputError

__all__ = ["app", "main"]

app = typer.Typer(
    name="da3",
    cls=PanelGroup,
    help="Depth Anything 3: compute depth of images and videos.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help, in half the time
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": MAX_HELP_WIDTH},
)

app.command("demo", short_help="Try the pipeline offline, with the bundled model and images.")(demo)
app.command("images", short_help="Compute depth of many images: files, folders, patterns, lists.")(images)
app.command("image", short_help="Compute depth of one image.")(image)
app.command("auto", short_help="Compute a scene from images, a video or a COLMAP workspace, as upstream.")(auto)
app.command("video", short_help="Compute depth of a video.")(video)
app.command("webcam", short_help="Show live depth of a camera, stream or file.")(webcam)
app.command("serve", short_help="Serve depth of uploaded images over HTTP, with a page for browsers.")(serve)
app.command("backend", short_help="Serve with upstream's routes too, for --use-backend.")(backend)
app.command("colmap", short_help="Compute depth of a COLMAP workspace, given its cameras.")(colmap)
app.command("export", short_help="Convert saved results to other formats.")(export)
app.command("export-model", short_help="Write a model as an ONNX, OpenVINO or pt2 file, verified.")(export_model)
app.command("index", short_help="Write a page that shows the results of a folder.")(index)
app.command("plan", short_help="State how images become the network's input, for other languages.")(plan)
app.command("report", short_help="Sum up the reports of shards: complete, failed, missing.")(report)
app.command("models", short_help="List the models and their licences.")(models)
app.command("download", short_help="Download checkpoints to the hub's cache.")(download)
app.command("cache", short_help="List and clear what the package keeps on disk.")(cache)
app.command("doctor", short_help="Report what this machine supports, and test it.")(doctor)
for _command in app.registered_commands:
    _command.cls = PanelCommand


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", rich_help_panel="General")
    ] = False,
) -> None:
    if version:
        from depth_anything_3.runtime.version import __version__

        stdout.print(f"da3 {__version__}")
        raise typer.Exit


def main() -> None:
    """Run the command; print a `DA3Error` as one line and exit with code 2 for misuse, 1 otherwise."""
    # Silence the libraries' messages about damaged files: the package's errors say more.
    os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")
    warnings.filterwarnings("ignore", module=r"PIL\.")
    # Decoding shares the cores with the network. OpenMP threads that spin while waiting for a busy core made the
    # network 2 to 6 times slower on two cores; threads that sleep cost under 10 % on an idle machine.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # oneDNN compiles dozens of kernels for each image size and caches 1,024; torch caches as many per thread. After
    # 432 sizes memory with da3-small had grown by 268 MB, and by 118 MB with these limits, in the same time.
    for variable in ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"):
        os.environ.setdefault(variable, "256")
    atexit.register(_skip_last_collection)
    if isinstance(sys.stdout, io.TextIOWrapper):  # file names may hold bytes that are not valid text
        sys.stdout.reconfigure(errors="backslashreplace")
    arguments, debug = _split_debug(sys.argv[1:])
    flags = flags_of(_command_in(arguments))
    with verbosity(flags):
        try:
            with _sigterm_as_ctrl_c():
                app(arguments, prog_name="da3")
        except DA3Error as error:
            if debug:
                raise
            more = (
                ". To continue, pass resume=True" if isinstance(error, DeviceError) else ""
            )  # if there is such a flag
            stderr.print_error(f"[red]error:[/] {escape_message(str(error) + more, flags)}")
            misuse = isinstance(error, InvalidInputError) and not isinstance(error, InputFileError)
            sys.exit(EXIT_MISUSE if misuse else EXIT_FAILURES)
        except SystemExit as left:
            if left.code in (EXIT_INTERRUPTED, EXIT_TERMINATED) and arguments[:1] not in (["serve"], ["backend"]):
                stderr.print(escape_message(stop_line(left, arguments)))
            raise


def _skip_last_collection() -> None:
    """Keep Python from looking for cyclic garbage among all objects of torch at its exit, which took 0.5 s."""
    if "triton" not in sys.modules:  # its bindings report objects that are left
        gc.freeze()


def _split_debug(arguments: list[str]) -> tuple[list[str], bool]:
    """Remove --debug, which may be anywhere, and return whether it was given."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    left = [one for one in arguments[:end] if one != "--debug"]
    return left + arguments[end:], len(left) < end


def _command_in(arguments: list[str]) -> list[Callable[..., None]]:
    """Return the function of the command that the arguments name; empty if they name none."""
    name = next((one for one in arguments if not one.startswith("-")), None)
    return [one.callback for one in app.registered_commands if one.name == name and one.callback is not None]


@contextmanager
def _sigterm_as_ctrl_c() -> Iterator[None]:
    """Within the block, end the command on SIGTERM as on Ctrl-C."""
    received = False

    def stop(_number: int, _frame: object) -> NoReturn:
        nonlocal received
        received = True
        raise KeyboardInterrupt("SIGTERM")

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except SystemExit as left:
        if received and left.code == EXIT_INTERRUPTED:  # typer's exit code for KeyboardInterrupt
            sys.exit(EXIT_TERMINATED)
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
