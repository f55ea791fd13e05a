"""Define `da3 backend`, the server with upstream's routes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from depth_anything_3.cli import options as o
from depth_anything_3.cli.console import stderr
from depth_anything_3.cli.flag_groups import Omit, grouped
from depth_anything_3.cli.serve import Token, TokenFile, WithoutToken, read_token, run_server
from depth_anything_3.services.server.settings import ServerSettings

__all__ = ["backend"]

_SETTINGS = ServerSettings()


@grouped
def backend(
    *,
    model: o.ModelFlags,
    allow_paths: Annotated[
        list[Path] | None,
        typer.Option(
            help="Folder in which requests may name images and output folders; may be given several times. Without it "
            "they are refused.",
            metavar="DIR",
            rich_help_panel="Server",
        ),
    ] = None,
    server_token: Token = "",
    token_file: TokenFile = None,
    insecure_no_token: WithoutToken = False,
    gallery_dir: Annotated[str, typer.Option(hidden=True)] = "",  # upstream's
    settings: Annotated[ServerSettings, Omit(("token", "upstream", "allow_paths"))] = _SETTINGS,
) -> None:
    """Serve as da3 serve does, with upstream's routes too, for --use-backend. Press Ctrl-C to stop."""
    from depth_anything_3.services.server.run import check_installed

    check_installed()
    from depth_anything_3.services.server.allowed_paths import resolve_folders

    if gallery_dir:
        stderr.print("--gallery-dir has no effect: there is no gallery")
    settings = replace(
        settings,
        token=read_token(server_token, token_file),
        upstream=True,
        allow_paths=resolve_folders(allow_paths or []),
    )
    run_server(model, settings, without_token=insecure_no_token)
