"""Run the `da3` command by `python -m depth_anything_3`."""

from __future__ import annotations

from depth_anything_3.cli import main

__all__: list[str] = []

if __name__ == "__main__":
    main()
