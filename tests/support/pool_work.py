"""Work for processes of a pool; in a module of its own, which they import."""

from __future__ import annotations

import logging
import os
import signal
from functools import partial
from pathlib import Path

from depth_anything_3.errors import DeviceError, InputFileError


def make_describer():
    """What the process sees."""
    return lambda item: (item, os.getpid(), os.environ.get("CUDA_VISIBLE_DEVICES"))


def make_killed_by(item, marker=None):
    """A process that is killed by an item, with a marker only once."""
    return partial(_killed_by, item, marker)


def make_failing(item, error):
    """A process to which an item is an error."""
    return partial(_failing, item, error)


def make_nothing():
    """What cannot begin."""
    raise InputFileError("weights.safetensors: not found")


def make_warning():
    """A process that warns."""
    logging.getLogger("depth_anything_3.test").warning("beware")
    return lambda item: item


def device_error():
    return DeviceError("the GPU has fallen off the bus")


def _killed_by(killer, marker, item):
    if item == killer and (marker is None or not Path(marker).exists()):
        if marker is not None:
            Path(marker).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def _failing(failing, error, item):
    if item == failing:
        raise error
    return item
