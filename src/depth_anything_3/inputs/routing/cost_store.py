"""Store measured decode costs in the user's cache folder, and load them while they are valid.

There is one small JSON file per machine. It records the hardware and library versions that the times depend on; once
any of these changes, the file is ignored.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import logging
import math
import platform
import sys
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NoReturn

import cv2
import platformdirs

from depth_anything_3.errors import ExportError, UnsupportedError
from depth_anything_3.inputs.routing.costs import Costs
from depth_anything_3.inputs.routing.strategy import Capabilities
from depth_anything_3.runtime.atomic_file import atomic_write
from depth_anything_3.runtime.packages import package_version
from depth_anything_3.runtime.version import __version__

__all__ = [
    "FORMAT_VERSION",
    "Calibration",
    "cache_path",
    "calibration_path",
    "load_costs",
    "processor_name",
    "read_calibration",
    "save_costs",
]

logger = logging.getLogger(__name__)

FORMAT_VERSION = 1
"""Version of the file format; files of another version are not read."""

_MAX_FILE_BYTES = 2**20  # typical files have 10 to 40 thousand
_HINT = "run `da3 doctor --calibrate` again"


@dataclass(frozen=True)
class Calibration:
    """The stored calibration of a machine.

    Attributes:
        path: path of the file, whether or not it exists.
        costs: the measured costs, if they are valid for this machine.
        date: time of the measurement, if known.
        ignored: why an existing file is ignored, and what to do; None if there is no file, or it is used.
    """

    path: Path
    costs: Costs | None = None
    date: str | None = None
    ignored: str | None = None


def load_costs(capabilities: Capabilities) -> Costs | None:
    """Load the costs measured on this machine; return None, with a warning if a file exists, if none are valid."""
    calibration = read_calibration(capabilities)
    if calibration.ignored:
        logger.warning("%s", calibration.ignored)
    return calibration.costs


def read_calibration(capabilities: Capabilities) -> Calibration:
    """Read the stored calibration and check whether it is valid. Never raises: an unusable file is ignored."""
    path = calibration_path(capabilities)
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_FILE_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        return Calibration(path)
    except OSError as error:
        return Calibration(path, ignored=f"{path}: the calibration cannot be read ({error.strerror or error}); {_HINT}")
    try:
        costs, date, changed = _parse(data, capabilities)
    except (ValueError, TypeError, KeyError, ArithmeticError, RecursionError) as error:
        return Calibration(path, ignored=f"{path}: the calibration is damaged ({error}), so it is ignored; {_HINT}")
    if changed:
        return Calibration(path, None, date, f"{path}: the calibration is ignored ({changed}); {_HINT}")
    return Calibration(path, costs, date)


def save_costs(capabilities: Capabilities, costs: Costs) -> Path:
    """Store the costs measured on this machine, replacing earlier ones in an atomic write.

    Returns:
        The path of the file.

    Raises:
        ExportError: the cache folder is not writable.
    """
    path = calibration_path(capabilities)
    content = {
        "version": FORMAT_VERSION,
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "fingerprint": _fingerprint(capabilities),
        "rows": [cost.to_row() for cost in costs.table],
    }
    try:
        with atomic_write(path) as temporary:
            temporary.write_text(json.dumps(content, indent=1, allow_nan=False), encoding="utf-8")
    except ExportError as error:
        hint = "; XDG_CACHE_HOME names another cache folder" if sys.platform == "linux" else ""
        raise ExportError(f"{error}, so the calibration is not stored{hint}") from error
    return path


def calibration_path(capabilities: Capabilities) -> Path:
    """Return the path of this machine's calibration.

    Machines may share a home folder, so the name contains a hash of the hardware. Versions are not part of it: after
    an update the file is still found, reported as out of date, and overwritten by the next calibration.
    """
    machine = json.dumps(_hardware(capabilities), sort_keys=True).encode()
    name = f"calibration-{hashlib.sha256(machine).hexdigest()[:12]}.json"
    return cache_path() / name


def cache_path() -> Path:
    """Return the user's cache folder of this package, whether or not it exists."""
    return platformdirs.user_cache_path("depth-anything-3-fast", appauthor=False)


def processor_name() -> str:
    """Return the CPU's model name, which the standard library does not provide on Linux."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            return next(line.partition(":")[2].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _parse(data: bytes, capabilities: Capabilities) -> tuple[Costs | None, str | None, str]:
    """Return the costs, the date, and what has changed since; raise if the file is damaged."""
    if len(data) > _MAX_FILE_BYTES:
        raise ValueError(f"it is longer than {_MAX_FILE_BYTES:,} bytes")
    content = json.loads(data.decode("utf-8"), parse_constant=_refuse_constant)
    if not isinstance(content, dict):
        raise ValueError("it is not a JSON object")
    date = str(content["date"])
    if content["version"] != FORMAT_VERSION:
        return None, date, f"its format is {content['version']!r}, not {FORMAT_VERSION}"
    stored, present = content["fingerprint"], _fingerprint(capabilities)
    if not isinstance(stored, dict):
        raise ValueError("its fingerprint is not a JSON object")
    for key in [*present, *stored]:
        if stored.get(key) != present.get(key):
            return None, date, f"{key} was {_format_value(stored.get(key))}, is {_format_value(present.get(key))}"
    costs = Costs.from_rows(content["rows"])
    if not costs.table:
        raise ValueError("it has no measurements")
    for cost in costs.table:
        if not (math.isfinite(cost.alone_ms) and math.isfinite(cost.contended_ms)):
            raise ValueError(f"not a measurement: {cost.to_row()}")
    return costs, date, ""


def _fingerprint(capabilities: Capabilities) -> dict[str, Any]:  # Any: plain JSON values
    """Everything that the measured times depend on, as far as it is cheap to query."""
    return {
        **_hardware(capabilities),
        "driver": _cuda_driver() if capabilities.device_type == "cuda" else None,
        "JPEG engines": capabilities.jpeg_engines,
        "decoders": {one.name: one.version for one in capabilities.decoders},
        "resamplers": list(capabilities.resamplers),
        "torch": _version("torch"),
        "OpenCV": cv2.__version__,
        "numba": _version("numba"),
        "depth-anything-3-fast": __version__,
    }


def _hardware(capabilities: Capabilities) -> dict[str, Any]:  # Any: plain JSON values
    return {
        "device": f"{capabilities.device_type} {capabilities.device_name}",
        "system": f"{platform.system()} {platform.machine()}",
        "processor": processor_name(),
        "cores": capabilities.cores,
    }


def _cuda_driver() -> int | None:
    """The newest CUDA version that the driver supports, such as 13000; None if there is no driver."""
    try:
        library = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
        number = ctypes.c_int()
        return number.value if library.cuDriverGetVersion(ctypes.byref(number)) == 0 else None
    except (OSError, AttributeError):
        return None


def _version(package: str) -> str | None:
    """Return a package's version with its build tag, without importing it."""
    try:
        return package_version(package, extra="")
    except UnsupportedError:
        return None


def _format_value(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {number}" for name, number in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return "unknown" if value is None else str(value)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a measurement")
