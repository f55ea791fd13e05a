"""Examine this machine: hardware, libraries, and the strategy of each kind of input."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import torch
from PIL import features

from depth_anything_3.diagnostics.calibrate import calibrate, nothing_to_measure
from depth_anything_3.diagnostics.nvidia_driver import driver_version, why_no_gpu
from depth_anything_3.errors import UnsupportedError
from depth_anything_3.inputs.choices import Fidelity, Strategy
from depth_anything_3.inputs.decode.gpu.jpeg_engine import nvjpeg_version
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
from depth_anything_3.runtime.packages import DISTRIBUTION, other_owners
from depth_anything_3.runtime.version import __version__

__all__ = [
    "Diagnosis",
    "InputStrategy",
    "choose_strategies",
    "examine",
    "recalibrate",
]

_WORKERS = 8  # the default of the API


@dataclass(frozen=True)
class InputStrategy:
    """The strategy of one kind of input.

    Attributes:
        input: kind of input, such as "PNG".
        mode: "single image", or "stream" of images while the network runs.
        choice: the strategy, and the reason.
        problem: why there is none: the machine does not support the strategy that the environment requests.
    """

    input: str
    mode: str
    choice: RoutingDecision | None
    problem: str | None = None


@dataclass(frozen=True)
class Diagnosis:
    """Properties of a machine.

    Attributes:
        package, python, system, processor, torch: names and versions.
        cuda: version of CUDA or ROCm that torch was built for; None for other builds.
        driver: version of the NVIDIA driver, if found.
        nvjpeg: version of NVIDIA's JPEG library, on CUDA devices.
        device: device of the network, as torch names it.
        compute_capability: compute capability of an NVIDIA GPU.
        memory_bytes, free_memory_bytes: memory of the GPU, and what is free of it.
        cpu_decoders: versions by name.
        capabilities: what the input pipeline can use.
        calibration: stored measurements.
        nothing_to_calibrate: why calibration is pointless, if it is.
        requested_strategy: value of the environment variable DA3_STRATEGY.
        hints: what to install for more capabilities, or to uninstall.
        strategies: strategy of each kind of input.
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
    free_memory_bytes: int | None
    cpu_decoders: dict[str, str]
    capabilities: Capabilities
    calibration: Calibration
    nothing_to_calibrate: str | None
    requested_strategy: str | None
    hints: tuple[str, ...]
    strategies: tuple[InputStrategy, ...]

    @property
    def ok(self) -> bool:
        """Whether there is a strategy for every kind of input."""
        return all(one.choice for one in self.strategies)

    def as_dict(self) -> dict[str, Any]:  # Any: plain JSON values
        """Return all properties as plain values, for JSON."""
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
            "missing_engine": found.missing_engine and asdict(found.missing_engine),
            "resamplers": list(found.resamplers),
            "cores": found.cores,
            "calibration": {
                "path": str(self.calibration.path),
                "date": self.calibration.date,
                "ignored": self.calibration.ignored,
                "rows": [asdict(cost) for cost in costs.table] if costs else [],
            },
            "strategies": [
                {
                    "input": one.input,
                    "mode": one.mode,
                    "strategy": one.choice and one.choice.strategy.value,
                    "decoder": one.choice and one.choice.decoder,
                    "reason": one.choice.reason if one.choice else one.problem,
                }
                for one in self.strategies
            ],
        }


def examine(device: torch.device) -> Diagnosis:
    """Examine drivers, libraries and strategies.

    Raises:
        InvalidInputError: the environment variable DA3_STRATEGY is not a known strategy.
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
        nvjpeg=_nvjpeg() if device.type == "cuda" else None,
        device=str(device),
        compute_capability=f"{properties.major}.{properties.minor}" if properties else None,
        memory_bytes=properties.total_memory if properties else None,
        free_memory_bytes=torch.cuda.mem_get_info(device)[0] if properties else None,
        cpu_decoders={
            "OpenCV": cv2.__version__,
            "Pillow": importlib.metadata.version("pillow"),
            "libjpeg-turbo": features.version("libjpeg_turbo") or "none",
        },
        capabilities=capabilities,
        calibration=read_calibration(capabilities),
        nothing_to_calibrate=nothing_to_measure(capabilities),
        requested_strategy=os.environ.get(STRATEGY_VARIABLE),
        hints=(*_conflicts(), *_hints(device, capabilities, driver)),
        strategies=choose_strategies(capabilities),
    )


def choose_strategies(capabilities: Capabilities) -> tuple[InputStrategy, ...]:
    """Choose the strategy of each kind of input, as a single image and as a stream, with default options.

    Raises:
        InvalidInputError: the environment variable DA3_STRATEGY is not a known strategy.
    """
    requests = {
        "single image": Request.of(Strategy.AUTO, Fidelity.EXACT, workers=_WORKERS),
        "stream": Request.of(Strategy.AUTO, Fidelity.EXACT, workers=_WORKERS, overlapped=True),
    }
    strategies = []
    for name, traits in _input_kinds(capabilities).items():
        for mode, request in requests.items():
            try:
                check_strategy(capabilities, request)
                strategies.append(InputStrategy(name, mode, choose_strategy(capabilities, traits, request)))
            except UnsupportedError as error:
                strategies.append(InputStrategy(name, mode, None, str(error)))
    return tuple(strategies)


def recalibrate(device: torch.device, *, on_progress: Callable[[float], None] = lambda done: None) -> str | None:
    """Measure the cost of each decoder on this machine, and store it for later runs.

    Args:
        device: device of the network.
        on_progress: called with the share that is done, 0 to 1.

    Returns:
        Why nothing was stored; None if the measurements were stored.

    Raises:
        ExportError: the cache folder cannot be written.
    """
    capabilities = find_capabilities(device)
    reason = nothing_to_measure(capabilities)
    if reason is not None:
        return reason
    costs = calibrate(device, capabilities, on_progress=on_progress)
    if not set(costs.decoders) - {"cpu"}:
        return "no GPU decoder could be measured; the CPU decodes"
    save_costs(capabilities, costs)
    return None


def _nvjpeg() -> str | None:
    """Return the version of nvJPEG, which the GPU decoders use and which reports JPEG engines; None if not found."""
    version = nvjpeg_version()
    return version and ".".join(map(str, version))


def _input_kinds(capabilities: Capabilities) -> dict[str, ImageTraits]:
    """List the traits of each kind of input, which determine its strategy."""

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


def _conflicts() -> tuple[str, ...]:
    """Make a hint of each other distribution that installs this package."""
    return tuple(
        f"{name} also installs the package depth_anything_3, so some files in use may be its own; "
        f"pip uninstall {name} {DISTRIBUTION}, then install {DISTRIBUTION} again"
        for name in other_owners()
    )


def _hints(device: torch.device, capabilities: Capabilities, driver: str | None) -> tuple[str, ...]:
    if device.type == "cpu" and driver and not torch.cuda.is_available():
        return (why_no_gpu(driver),)
    missing = capabilities.missing_engine
    if missing is not None:
        return (*capabilities.missing, f"no JPEG engine can be used: {missing.cause}; {missing.hint}")
    return capabilities.missing
