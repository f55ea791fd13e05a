"""The demonstration checkpoint's tools are scripts beside the package, not part of it."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tools" / "demo_model"))
