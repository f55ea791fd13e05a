"""Define `da3 serve`, which computes depth over HTTP."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from depth_anything_3.cli import options as o
from depth_anything_3.cli.console import EXIT_FAILURES, load_model, stderr, stdout
from depth_anything_3.cli.flag_groups import Omit, grouped
from depth_anything_3.errors import InputFileError, InvalidInputError
from depth_anything_3.services.server.settings import ServerSettings

__all__ = ["Token", "TokenFile", "WithoutToken", "read_token", "run_server", "serve"]

_SETTINGS = ServerSettings()
_SIGNAL_EXIT = 128  # plus the number of the signal, as shells have it


Token = Annotated[
    str,
    typer.Option(
        "--token",
        help="Token that clients must send, as Authorization: Bearer TOKEN. Other users of this machine can see "
        "command lines: prefer the variable or --token-file.",
        metavar="TEXT",
        envvar="DA3_TOKEN",
        rich_help_panel="Server",
    ),
]
TokenFile = Annotated[
    Path | None,
    typer.Option(help="Read the token from the first line of a file.", metavar="FILE", rich_help_panel="Server"),
]
WithoutToken = Annotated[
    bool,
    typer.Option(
        "--insecure-no-token",
        help="Let anyone who can reach --host use the server.",
        rich_help_panel="Server",
    ),
]


@grouped
def serve(
    *,
    model: o.ModelFlags,
    server_token: Token = "",  # not `token`: in messages that is the hub's
    token_file: TokenFile = None,
    insecure_no_token: WithoutToken = False,
    settings: Annotated[ServerSettings, Omit(("token", "upstream", "allow_paths"))] = _SETTINGS,
) -> None:
    """Serve depth of uploaded images over HTTP, and a page for browsers. Press Ctrl-C to stop.

    After SIGTERM or Ctrl-C, accepted requests are finished; the exit code is then 143 or 130, and 1 if some were not.
    """
    settings = replace(settings, token=read_token(server_token, token_file))
    run_server(model, settings, without_token=insecure_no_token)


def run_server(model: o.ModelFlags, settings: ServerSettings, *, without_token: bool) -> NoReturn:
    """Load the model, serve until a signal, and exit.

    Raises:
        InvalidInputError, UnsupportedError: see `check_settings` and `serve`.
    """
    from depth_anything_3.services.server.run import check_installed, check_settings
    from depth_anything_3.services.server.run import serve as run

    check_settings(settings, without_token=without_token)
    check_installed()
    loaded = load_model(model)

    def ready(address: str) -> None:
        stdout.print(f"{loaded.model_name} on {loaded.device}: {address}", markup=False)
        stdout.print(
            f"at most {settings.max_requests} requests, {settings.max_body_bytes >> 20} MB and "
            f"{settings.max_pixels / 1e6:.0f} megapixels an image; "
            + ("a token is required" if settings.token else "no token"),
            markup=False,
        )
        for one in settings.allow_paths:
            stdout.print(f"requests may read and write files in {one}", markup=False)
        if not settings.is_local and settings.token is None:
            stderr.print_error(
                "[red]Anyone who can reach this machine can use this server:[/] there is no token "
                "(--insecure-no-token)."
            )

    number, is_complete = run(loaded.engine, settings, ready)
    if not is_complete:
        stderr.print_error(f"[red]error:[/] accepted requests were not finished within --drain {settings.drain:g} s")
    else:
        stderr.print("Stopped; every accepted request was finished.")
    raise typer.Exit(_SIGNAL_EXIT + number if is_complete else EXIT_FAILURES)


def read_token(token: str, file: Path | None) -> str | None:
    """Return the token; None without one.

    Raises:
        InvalidInputError: both are given, or the file is empty.
        InputFileError: the file cannot be read.
    """
    if file is None:
        return token or None
    if token:
        raise InvalidInputError(
            "--token (or the variable DA3_TOKEN) and --token-file were both given; omit one of them"
        )
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputFileError(f"{file}: the token cannot be read ({getattr(error, 'strerror', error)})") from error
    if not lines or not lines[0].strip():
        raise InvalidInputError(f"{file}: its first line is empty; write the token there")
    return lines[0].strip()
