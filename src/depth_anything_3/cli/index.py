"""Define `da3 index`, which writes a page that shows the results of earlier runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from depth_anything_3.cli.console import stdout

__all__ = ["index"]


def index(
    folder: Annotated[Path, typer.Argument(help="Output folder of earlier runs.", metavar="FOLDER")],
) -> None:
    """Write index.html to a folder of results: a page with thumbnails and links, for a browser.

    It needs no other files than those of the folder. The commands write it themselves with --index; then images whose
    results have no image to show get a thumbnail.
    """
    from depth_anything_3.jobs.index import index_of_folder

    stdout.print(str(index_of_folder(folder)), markup=False)
