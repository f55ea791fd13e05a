"""Implement the timed methods from images to the network's tensor: the four usual ones, ours, and the peers.

Input: files (in memory, as bytes), or (H, W, 3) uint8 pixels, all of one size and without EXIF orientation. Output: a
normalised (N, 3, H, W) tensor, of one dtype, on the device of the network.

The four usual methods follow the description of their origin, with a thread pool that outlives a call.
"""

from __future__ import annotations

import importlib.util
import io
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from PIL import Image as PillowImage
from torch.nn import functional

from depth_anything_3.errors import DA3Error, UnsupportedError
from depth_anything_3.inputs.choices import Fidelity, Strategy
from depth_anything_3.inputs.decode.gpu import nvimgcodec, torchcodec, torchvision
from depth_anything_3.inputs.decode.gpu.decoder import DecoderTraits
from depth_anything_3.inputs.decode.gpu.registry import DECODER_FINDERS
from depth_anything_3.inputs.plan.resize_plan import Interpolation, ResizePlan, plan_resize
from depth_anything_3.inputs.resample.cpu import resample_stepwise
from depth_anything_3.inputs.resample.normalize import MEAN, STD
from depth_anything_3.utils.io.gpu_input_processor import GPUInputProcessor
from depth_anything_3.utils.io.input_processor import InputProcessor
from harness.method import (
    FILES,
    MEMORY,
    OURS,
    PEERS,
    REFERENCE,
    FoundDecoders,
    Image,
    Method,
    Setting,
    declared_fidelity,
    find_cuda_decoders,
)

__all__ = ["OursOnGPU", "UsualGPUDecode", "make_methods"]

Maker = Callable[[Setting], Method]


class _Normalizing(Method):
    """Base of methods that normalise in float32 on the device."""

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self._mean = torch.tensor(MEAN, device=setting.device).view(3, 1, 1)
        self._std = torch.tensor(STD, device=setting.device).view(3, 1, 1)

    def _normalized(self, unit: torch.Tensor) -> torch.Tensor:
        """Normalise values from 0 to 1, and convert to the network's dtype."""
        return ((unit - self._mean) / self._std).to(self.setting.dtype)


class _Threaded(_Normalizing):
    """Base of methods that prepare one image per thread."""

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self._pool = ThreadPoolExecutor(setting.workers)
        # Pillow's pixels are read-only, which torch warns about and nothing here violates.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable", category=UserWarning)

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown()

    def _resized(self, pixels: torch.Tensor, plan: ResizePlan) -> torch.Tensor:
        """Resize (3, H, W) uint8 on the device with Kornia, as commonly called; returns values from 0 to 1."""
        import kornia

        resize = kornia.geometry.transform.resize
        unit = pixels[None].to(torch.float32) / 255.0
        for step in plan.steps:
            kernel = "area" if step.interpolation is Interpolation.AREA else "bicubic"
            unit = resize(unit, step.result_hw, interpolation=kernel, antialias=True)
        return unit[0]


class CPUReference(_Threaded):
    """Pillow decodes, OpenCV resizes twice, NumPy normalises in float32 and stacks; then upload."""

    name = REFERENCE

    def __call__(self, images: Sequence[Image]) -> torch.Tensor:
        batch = torch.stack(list(self._pool.map(self._one, images)))
        return batch.to(self.setting.device).to(self.setting.dtype)

    def _one(self, image: Image) -> torch.Tensor:
        pixels = _decoded(image)
        small = resample_stepwise(pixels, plan_resize(pixels.shape[:2]))
        unit = small.astype(np.float32) / np.float32(255)
        return torch.from_numpy((unit - np.array(MEAN, np.float32)) / np.array(STD, np.float32)).permute(2, 0, 1)


class FullGPUKornia(_Threaded):
    """Pillow decodes in threads; the full-size image is uploaded, resized by Kornia and normalised on the GPU."""

    name = "Full GPU Kornia"
    needs = ("gpu", "kornia")

    def __call__(self, images: Sequence[Image]) -> torch.Tensor:
        return self._normalized(torch.stack(list(self._pool.map(self._one, images))))

    def _one(self, image: Image) -> torch.Tensor:
        pixels = _decoded(image)
        uploaded = torch.from_numpy(pixels).to(self.setting.device).permute(2, 0, 1)
        return self._resized(uploaded, plan_resize(pixels.shape[:2]))


class UsualHybrid(_Threaded):
    """Pillow decodes and OpenCV resizes in threads; 8 bits a sample are uploaded and normalised on the GPU."""

    name = "Hybrid"
    needs = ("gpu",)

    def __call__(self, images: Sequence[Image]) -> torch.Tensor:
        small = np.stack(list(self._pool.map(self._one, images)))
        uploaded = torch.from_numpy(small).to(self.setting.device).permute(0, 3, 1, 2)
        return self._normalized(uploaded.to(torch.float32) / 255.0).contiguous()

    def _one(self, image: Image) -> npt.NDArray[np.uint8]:
        pixels = _decoded(image)
        return resample_stepwise(pixels, plan_resize(pixels.shape[:2]))


class UsualGPUDecode(_Threaded):
    """torchvision decodes on the GPU, one image a thread; Kornia resizes."""

    name = "GPU Decode"
    starts = (FILES,)
    needs = ("gpu", "kornia", torchvision.NAME)

    def __init__(self, setting: Setting) -> None:
        from torchvision.io import ImageReadMode, decode_jpeg

        super().__init__(setting)
        # Every call would warn that its decoders are deprecated.
        warnings.filterwarnings("ignore", message=".*TorchVision are deprecated", category=DeprecationWarning)
        self._decode, self._mode = decode_jpeg, ImageReadMode.RGB

    def __call__(self, images: Sequence[Image]) -> torch.Tensor:
        """Prepare a batch."""
        return self._normalized(torch.stack(list(self._pool.map(self._one, images))))

    def _one(self, image: Image) -> torch.Tensor:
        encoded = torch.from_numpy(np.frombuffer(image, np.uint8).copy())
        pixels = self._decode(encoded, mode=self._mode, device=self.setting.device)
        return self._resized(pixels, plan_resize((pixels.shape[1], pixels.shape[2])))


class OursOnCPU(Method):
    """`InputProcessor`, where the network is on the CPU; below "exact" files are decoded at a reduced size."""

    group = OURS

    def __init__(self, setting: Setting, fidelity: Fidelity = Fidelity.EXACT) -> None:
        super().__init__(setting)
        exact = fidelity is Fidelity.EXACT
        self.name = f"ours, {fidelity.value}"
        self.starts = (FILES, MEMORY) if exact else (FILES,)
        self._fidelity = fidelity
        self._processor = InputProcessor()

    def __call__(self, images: Sequence[Image]) -> torch.Tensor:
        batch = self._processor(images, num_workers=self.setting.workers, fidelity=self._fidelity)
        parts = sorted({f"1/{one.plan.reduced_by}" for one in batch.images if one.plan.reduced_by > 1})
        self.took = ", ".join(parts)
        return batch.tensor

    def close(self) -> None:
        """End the threads."""
        self._processor.close()


class EntropyFloor(_Threaded):
    """Decodes files at 1/8 and does nothing else: nearly all is entropy decoding, which no method avoids."""

    name = "floor: decoding at 1/8 alone"
    group = PEERS
    starts = (FILES,)
    complete = False

    def __init__(self, setting: Setting) -> None:
        super().__init__(replace(setting, workers=min(setting.workers, setting.capabilities.cores)))

    def __call__(self, images: Sequence[Image]) -> torch.Tensor:
        """Decode all; return the last one's pixels, (H, W, 3) uint8."""
        return torch.from_numpy(list(self._pool.map(self._one, images))[-1])

    @staticmethod
    def _one(image: Image) -> npt.NDArray[np.uint8]:
        flags = cv2.IMREAD_REDUCED_COLOR_8 | cv2.IMREAD_IGNORE_ORIENTATION
        return np.asarray(cv2.imdecode(np.frombuffer(image, np.uint8), flags), np.uint8)


class OursOnGPU(Method):
    """`GPUInputProcessor` with one strategy; for `GPU_DECODE` through one decoder."""

    group = OURS

    def __init__(
        self, setting: Setting, strategy: Strategy, decoder: DecoderTraits | None = None, note: str = ""
    ) -> None:
        super().__init__(setting if decoder is None else setting.only(decoder))
        note = note if decoder is None else decoder.name
        self.name = f"ours: {strategy.value}" + (f" ({note})" if note else "")
        self.starts = (FILES,) if strategy is Strategy.GPU_DECODE else (FILES, MEMORY)
        self._strategy = strategy
        self._fidelity = Fidelity.EXACT if decoder is None else declared_fidelity(decoder)
        self._processor = GPUInputProcessor(setting.device, dtype=setting.dtype, capabilities=self.setting.capabilities)

    def __call__(self, images: Sequence[Image]) -> torch.Tensor:
        """Prepare a batch; raise if an image did not take the strategy that names the row."""
        batch = self._processor(
            images, strategy=self._strategy, fidelity=self._fidelity, num_workers=self.setting.workers
        )
        taken = sorted({one.choice.decoder or one.choice.strategy.value for one in batch.images})
        self.took = ", ".join(taken)
        for one in batch.images:
            if self._strategy not in (Strategy.AUTO, one.choice.strategy):
                raise UnsupportedError(f"an image took {one.choice.strategy.value}: {one.choice.reason}")
        return batch.tensor

    def close(self) -> None:
        """End the threads and release the decoders' memory."""
        self._processor.close()


class _Peer(_Normalizing):
    """A batch decoded in one call, then one antialiased bilinear resize of all: how others do it today."""

    group, starts = PEERS, (FILES,)

    def _finished(self, pixels: torch.Tensor) -> torch.Tensor:
        """Resize and normalise (N, 3, H, W) uint8."""
        plan = plan_resize((pixels.shape[2], pixels.shape[3]))
        unit = pixels.to(torch.float32, memory_format=torch.contiguous_format) / 255.0
        unit = functional.interpolate(unit, plan.result_hw, mode="bilinear", antialias=True)
        return self._normalized(unit)

    def close(self) -> None:
        """Do nothing: there are no resources."""


class TorchcodecPeer(_Peer):
    """torchcodec's batch decoder and torch's resize."""

    name = "torchcodec + torch"
    needs = ("gpu", torchcodec.NAME)

    def __init__(self, setting: Setting) -> None:
        from torchcodec.decoders import decode_jpeg

        super().__init__(setting)
        self._decode = decode_jpeg

    def __call__(self, images: Sequence[Image]) -> torch.Tensor:
        return self._finished(torch.stack(self._decode(list(images), mode="RGB", device=self.setting.device)))


class NvImageCodecPeer(_Peer):
    """nvImageCodec's batch decoder with its default options (nearest chroma), and torch's resize."""

    name = "nvimgcodec + torch"
    needs = ("gpu", nvimgcodec.NAME)

    def __init__(self, setting: Setting) -> None:
        from nvidia import nvimgcodec as library

        super().__init__(setting)
        cuda = setting.device.type == "cuda"
        index = (setting.device.index or 0) if cuda else library.NVIMGCODEC_DEVICE_CPU_ONLY
        backends = None if cuda else [library.Backend(library.BackendKind.CPU_ONLY)]
        self._decoder: Any = library.Decoder(device_id=index, backends=backends)  # untyped
        self._images: list[Any] | None = None

    def __call__(self, images: Sequence[Image]) -> torch.Tensor:
        device = self.setting.device
        stream = torch.cuda.current_stream(device).cuda_stream if device.type == "cuda" else 0
        spare = self._images if self._images and len(self._images) == len(images) else None
        decoded = self._images = self._decoder.decode(list(images), images=spare, cuda_stream=stream)
        if any(one is None for one in decoded):
            raise UnsupportedError("nvImageCodec could not decode an image")
        pixels = [torch.as_tensor(one if device.type == "cuda" else np.asarray(one), device=device) for one in decoded]
        return self._finished(torch.stack(pixels).permute(0, 3, 1, 2))

    def close(self) -> None:
        """Release its memory."""
        self._decoder = self._images = None


_USUAL: tuple[type[Method], ...] = (CPUReference, FullGPUKornia, UsualHybrid, UsualGPUDecode)
_PEERS: tuple[type[Method], ...] = (TorchcodecPeer, NvImageCodecPeer)


def make_methods(setting: Setting) -> tuple[list[Method], dict[str, str]]:
    """List the methods that can run here, and why each of the others cannot."""
    missing: dict[str, str] = {}
    methods: list[Method] = []
    decoders = find_cuda_decoders(setting.device)
    for name, needs, maker in _candidates(setting, decoders):
        why = next((lack for need in needs if (lack := _lack(need, setting, decoders))), None)
        if why is None:
            try:
                methods.append(maker(setting))
                continue
            except (DA3Error, ImportError, OSError, RuntimeError) as error:
                why = str(error).partition("\n")[0]
        missing[name] = why
    return methods, missing


def _candidates(setting: Setting, decoders: FoundDecoders) -> list[tuple[str, tuple[str, ...], Maker]]:
    found: list[tuple[str, tuple[str, ...], Maker]] = [(one.name, one.needs, one) for one in _USUAL]
    if not setting.has_gpu:
        for fidelity in Fidelity:
            found.append((f"ours, {fidelity.value}", (), partial(OursOnCPU, fidelity=fidelity)))
        found.append((EntropyFloor.name, (), EntropyFloor))
    for strategy in (Strategy.AUTO, Strategy.CPU, Strategy.HYBRID, Strategy.FULL_GPU):
        found.append((f"ours: {strategy.value}", ("gpu",), partial(OursOnGPU, strategy=strategy)))
    for name in DECODER_FINDERS["cuda"]:
        maker = partial(OursOnGPU, strategy=Strategy.GPU_DECODE, decoder=decoders.installed.get(name))
        found.append((f"ours: gpu_decode ({name})", ("gpu", name), maker))
    return found + [(one.name, one.needs, one) for one in _PEERS]


def _lack(need: str, setting: Setting, decoders: FoundDecoders) -> str | None:
    """Return why something is not available; None if it is."""
    if need == "gpu":
        return None if setting.has_gpu else "no GPU here"
    if need in DECODER_FINDERS["cuda"]:
        return decoders.missing.get(need)
    return None if importlib.util.find_spec(need) else f"{need} is not installed"


def _decoded(image: Image) -> npt.NDArray[np.uint8]:
    """Decode with Pillow."""
    if isinstance(image, np.ndarray):
        return image
    return np.asarray(PillowImage.open(io.BytesIO(image)).convert("RGB"))
