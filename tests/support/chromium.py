"""Run Chromium without a window."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

__all__ = ["CHROMIUM", "run_chromium"]

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)


def run_chromium(url: str, folder: Path, *options: str) -> str:
    """Open a page, with a profile in `folder` and no requests of the browser's own; return what it prints."""
    as_root = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    done = subprocess.run(
        [
            str(CHROMIUM), "--headless", *as_root, "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
            "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
            "--disable-sync", f"--user-data-dir={folder / 'profile'}", *options, url,
        ],
        check=True, capture_output=True, timeout=60, text=True,
    )  # fmt: skip
    return done.stdout
