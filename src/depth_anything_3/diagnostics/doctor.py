"""A device in, a diagnosis out: what this machine has, and which way each kind of input takes there and why."""

from __future__ import annotations

import ctypes
import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import torch
from PIL import features

from depth_anything_3.diagnostics.calibrate import calibrate, nothing_to_measure
from depth_anything_3.errors import UnsupportedError
from depth_anything_3.inputs.choices import Fidelity, Strategy
from depth_anything_3.inputs.decode.gpu.jpeg_engine import load_nvjpeg
from depth_anything_3.inputs.header import ImageHeader, JpegCoding, JpegProcess
from depth_anything_3.inputs.plan.resize_plan import plan_resize
from depth_anything_3.inputs.routing.capabilities import find_capabilities
from depth_anything_3.inputs.routing.cost_store import Calibration, processor_name, read_calibration, save_costs
from depth_anything_3.inputs.routing.strategy import (
    STRATEGY_VARIABLE,
    Capabilities,
    ImageTraits,
    Request,
    RoutingDecision,
    check_strategy,
    choose_strategy,
)
from depth_anything_3.runtime.version import __version__

__all__ = ["Diagnosis", "Route", "driver_version", "examine", "find_routes", "nvjpeg_version", "recalibrate"]

_DRIVER_FILE = Path("/proc/driver/nvidia/version")
_WORKERS = 8  # as the API has by default


@dataclass(frozen=True)
class Route:
    """The way of one kind of input.

    Attributes:
        kind: of input.
        use: "one image", or "stream" of images beside the network.
        choice: its way, and why.
        problem: why it has none: the environment asks for what cannot be.
    """

    kind: str
    use: str
    choice: RoutingDecision | None
    problem: str | None = None


@dataclass(frozen=True)
class Diagnosis:
    """What was found on a machine; plain values, to be looked at.

    Attributes:
        package, python, system, processor, torch: names and versions.
        cuda: version that torch was built for, or ROCm's; None without.
        driver: of the NVIDIA GPU, if there is one to be asked.
        nvjpeg: version of NVIDIA's JPEG library, for a device that could use it.
        device: of the network, as torch names it.
        compute_capability: of an NVIDIA GPU.
        memory_bytes: of the GPU.
        cpu_decoders: versions.
        capabilities: what the input pipeline can use.
        calibration: what was measured here.
        nothing_to_calibrate: why measuring is useless, if it is.
        asked_strategy: what the environment asks for.
        hints: what could be installed to have more.
        routes: of each kind of input.
    """

    package: str
    python: str
    system: str
    processor: str
    torch: str
    cuda: str | None
    driver: str | None
    nvjpeg: str | None
    device: str
    compute_capability: str | None
    memory_bytes: int | None
    cpu_decoders: dict[str, str]
    capabilities: Capabilities
    calibration: Calibration
    nothing_to_calibrate: str | None
    asked_strategy: str | None
    hints: tuple[str, ...]
    routes: tuple[Route, ...]

    @property
    def ok(self) -> bool:
        """Whether every kind of input has a way."""
        return all(route.choice for route in self.routes)

    def as_dict(self) -> dict[str, Any]:  # Any: plain JSON values
        """Everything, as JSON takes it."""
        plain = {name: value for name, value in vars(self).items() if isinstance(value, (str, int, dict, type(None)))}
        found = self.capabilities
        costs = self.calibration.costs
        return {
            **plain,
            "hints": list(self.hints),
            "device_type": found.device_type,
            "device_name": found.device_name,
            "decoders": [{"name": one.name, "version": one.version, "exact": one.exact} for one in found.decoders],
            "jpeg_engines": found.jpeg_engines,
            "resamplers": list(found.resamplers),
            "cores": found.cores,
            "calibration": {
                "path": str(self.calibration.path),
                "date": self.calibration.date,
                "ignored": self.calibration.ignored,
                "rows": [asdict(cost) for cost in costs.table] if costs else [],
            },
            "routes": [
                {
                    "kind": route.kind,
                    "use": route.use,
                    "strategy": route.choice and route.choice.strategy.value,
                    "decoder": route.choice and route.choice.decoder,
                    "reason": route.choice.reason if route.choice else route.problem,
                }
                for route in self.routes
            ],
        }


def examine(device: torch.device) -> Diagnosis:
    """Ask drivers and libraries what is there, and `choose_strategy` what it makes of it.

    Raises:
        InvalidInputError: the environment variable DA3_STRATEGY names no strategy.
    """
    capabilities = find_capabilities(device)
    driver = driver_version()
    properties = torch.cuda.get_device_properties(device) if device.type == "cuda" else None
    return Diagnosis(
        package=__version__,
        python=platform.python_version(),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        processor=processor_name(),
        torch=torch.__version__,
        cuda=torch.version.cuda or (f"ROCm {torch.version.hip}" if torch.version.hip else None),
        driver=driver,
        nvjpeg=nvjpeg_version() if device.type == "cuda" else None,
        device=str(device),
        compute_capability=f"{properties.major}.{properties.minor}" if properties else None,
        memory_bytes=properties.total_memory if properties else None,
        cpu_decoders={
            "OpenCV": cv2.__version__,
            "Pillow": importlib.metadata.version("pillow"),
            "libjpeg-turbo": features.version("libjpeg_turbo") or "none",
        },
        capabilities=capabilities,
        calibration=read_calibration(capabilities),
        nothing_to_calibrate=nothing_to_measure(capabilities),
        asked_strategy=os.environ.get(STRATEGY_VARIABLE),
        hints=_hints(device, capabilities, driver),
        routes=find_routes(capabilities),
    )


def find_routes(capabilities: Capabilities) -> tuple[Route, ...]:
    """The way of each kind of input, one at a time and as a stream, at the default options.

    Raises:
        InvalidInputError: the environment variable DA3_STRATEGY names no strategy.
    """
    requests = {
        "one image": Request.of(Strategy.AUTO, Fidelity.EXACT, workers=_WORKERS),
        "stream": Request.of(Strategy.AUTO, Fidelity.EXACT, workers=_WORKERS, overlapped=True),
    }
    routes = []
    for kind, traits in _kinds(capabilities).items():
        for use, request in requests.items():
            try:
                check_strategy(capabilities, request)
                routes.append(Route(kind, use, choose_strategy(capabilities, traits, request)))
            except UnsupportedError as error:
                routes.append(Route(kind, use, None, str(error)))
    return tuple(routes)


def recalibrate(device: torch.device, *, on_progress: Callable[[float], None] = lambda done: None) -> str | None:
    """Measure what the ways cost on this machine, and store it for every later run.

    Args:
        device: of the network.
        on_progress: told which part is done, 0 to 1.

    Returns:
        Why nothing was stored, because there is nothing to choose between; None if it was.

    Raises:
        ExportError: the cache folder cannot be written.
    """
    capabilities = find_capabilities(device)
    reason = nothing_to_measure(capabilities)
    if reason is not None:
        return reason
    costs = calibrate(device, capabilities, on_progress=on_progress)
    if not set(costs.decoders) - {"cpu"}:
        return "no GPU decoder could be measured, so the CPU decodes"
    save_costs(capabilities, costs)
    return None


def driver_version() -> str | None:
    """Of NVIDIA's driver: from its tool, else from the system; None if neither knows one."""
    tool = shutil.which("nvidia-smi")
    if tool is not None:
        try:
            done = subprocess.run(
                [tool, "--query-gpu=driver_version", "--format=csv,noheader"],
                capture_output=True,
                text=True,
                timeout=10,
                check=True,
            )
            return done.stdout.split()[0]
        except (OSError, subprocess.SubprocessError, IndexError):  # there without a driver, or without a GPU
            pass
    try:
        found = re.search(r"\d{3,}\.\d+(\.\d+)?", _DRIVER_FILE.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return None
    return found[0] if found else None


def nvjpeg_version(load: Callable[[], Any] = load_nvjpeg) -> str | None:
    """Of NVIDIA's JPEG library, which the GPU decoders use and which knows the JPEG engines; None if it is not there.

    Args:
        load: gives it as a `ctypes` library (its functions are untyped), or None.
    """
    library = load()
    if library is None:
        return None
    parts = [ctypes.c_int() for _ in range(3)]  # major, minor, patch
    if any(library.nvjpegGetProperty(which, ctypes.byref(part)) for which, part in enumerate(parts)):
        return None
    return ".".join(str(part.value) for part in parts)


def _kinds(capabilities: Capabilities) -> dict[str, ImageTraits]:
    """What a header says of each kind, which is all that its way depends on."""

    def encoded(width: int, height: int, jpeg: JpegCoding | None) -> ImageTraits:
        header = ImageHeader("JPEG" if jpeg else "PNG", (height, width), 1, jpeg)
        return ImageTraits(header, reduction=plan_resize((height, width)).reduction)

    colour = ((2, 2), (1, 1), (1, 1))
    baseline = JpegCoding(JpegProcess.BASELINE, 8, colour)
    kinds = {
        "JPEG 640x480": encoded(640, 480, baseline),
        "JPEG 1920x1080": encoded(1920, 1080, baseline),
        "JPEG 3840x2160": encoded(3840, 2160, baseline),
        "progressive JPEG": encoded(1920, 1080, JpegCoding(JpegProcess.PROGRESSIVE, 8, colour)),
        "CMYK JPEG": encoded(1920, 1080, JpegCoding(JpegProcess.BASELINE, 8, ((1, 1),) * 4)),
        "PNG": encoded(1920, 1080, None),
        "PIL image": ImageTraits(),
        "NumPy array": ImageTraits(),
        "tensor on the CPU": ImageTraits(),
    }
    return kinds if capabilities.device_type == "cpu" else {**kinds, "tensor on the GPU": ImageTraits(on_device=True)}


def _hints(device: torch.device, capabilities: Capabilities, driver: str | None) -> tuple[str, ...]:
    if device.type == "cpu" and driver and not torch.cuda.is_available():
        built = f"is built for CUDA {torch.version.cuda}" if torch.version.cuda else "is built without CUDA"
        return (
            f"NVIDIA driver {driver} is there, but torch {torch.__version__} {built} and finds no GPU; install the "
            "build for your driver from https://pytorch.org/get-started",
        )
    if capabilities.device_type == "cuda" and capabilities.jpeg_engines is None:
        unknown = "the driver tells of JPEG engines through nvJPEG for CUDA 11.9 or newer, which was not found"
        return (*capabilities.missing, f"{unknown}: pip install 'depth-anything-3-fast[cuda]'")
    return capabilities.missing
