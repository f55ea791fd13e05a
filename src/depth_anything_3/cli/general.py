"""Define the flags that every command takes: how much it prints."""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any

import typer

from depth_anything_3.cli.console import set_quiet, set_verbosity

__all__ = ["general_flags"]


def _set_quiet(value: bool) -> None:
    if value:
        set_quiet()


def _set_verbosity(value: int) -> None:
    if value:
        set_verbosity(value)


def _general(
    quiet: Annotated[
        bool,
        typer.Option(
            "--quiet",
            "-q",
            help="Print errors only, and the result with --json.",
            callback=_set_quiet,
            expose_value=False,
            is_eager=True,
            rich_help_panel="General",
        ),
    ] = False,
    verbose: Annotated[
        int,
        typer.Option(
            "--verbose",
            "-v",
            count=True,
            help="Print what is chosen and why; -vv: also the times of each image.",
            show_default=False,
            callback=_set_verbosity,
            expose_value=False,
            is_eager=True,
            rich_help_panel="General",
        ),
    ] = 0,
    debug: Annotated[
        bool,
        typer.Option(
            "--debug", help="Show the traceback of an error.", expose_value=False, rich_help_panel="General"
        ),  # `main` reads it
    ] = False,
) -> None: ...


@cache
def general_flags() -> tuple[Any, ...]:  # Any: click's parameters, which some versions of typer bring as private copies
    """Make the flags as parameters of a command."""
    holder = typer.Typer(add_completion=False)
    holder.command()(_general)
    return tuple(typer.main.get_command(holder).params)
