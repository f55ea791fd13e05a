"""The ways from pictures to the network's tensor that the benchmarks time: the four usual ones, ours, and the peers.

Each starts from files (in memory, as bytes) or from pixels in memory, (H, W, 3) uint8, all of one size, and ends in the
same thing: a normalised (N, 3, H, W) tensor of one dtype on the device that the network uses, upright or as stored
alike, since the pictures carry no orientation.

The four usual ways are written as their origin describes them, with a pool of threads that lives from call to call.
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
from PIL import Image
from torch.nn import functional

from depth_anything_3.errors import DA3Error, UnsupportedError
from depth_anything_3.inputs.choices import Fidelity, Strategy
from depth_anything_3.inputs.decode.gpu import nvimgcodec, torchcodec, torchvision
from depth_anything_3.inputs.plan.resize_plan import Interpolation, ResizePlan, plan_resize
from depth_anything_3.inputs.resample.cpu import resample_stepwise
from depth_anything_3.inputs.resample.normalize import MEAN, STD
from depth_anything_3.utils.io.gpu_input_processor import GPUInputProcessor
from depth_anything_3.utils.io.input_processor import InputProcessor
from harness.method import DECODERS, FILES, MEMORY, OURS, PEERS, REFERENCE, Picture, Setting, Way, decoder_refusal

__all__ = ["OursOnGPU", "make_ways"]

Maker = Callable[[Setting], Way]


class _Threaded(Way):
    """One picture a thread."""

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self._pool = ThreadPoolExecutor(setting.workers)
        self._mean = torch.tensor(MEAN, device=setting.device).view(3, 1, 1)
        self._std = torch.tensor(STD, device=setting.device).view(3, 1, 1)
        # Pillow's pixels are read-only, which torch warns of and nobody here violates.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable", category=UserWarning)

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown()

    def _normalized(self, unit: torch.Tensor) -> torch.Tensor:
        """From 0 to 1, to the network's values and dtype."""
        return ((unit - self._mean) / self._std).to(self.setting.dtype)

    def _resized(self, pixels: torch.Tensor, plan: ResizePlan) -> torch.Tensor:
        """(3, H, W) uint8 on the device to (3, height, width) from 0 to 1, by Kornia, as the field calls it."""
        import kornia

        resize = kornia.geometry.transform.resize
        unit = pixels[None].to(torch.float32) / 255.0
        for step in plan.steps:
            kernel = "area" if step.interpolation is Interpolation.AREA else "bicubic"
            unit = resize(unit, step.result_hw, interpolation=kernel, antialias=True)
        return unit[0]


class CPUReference(_Threaded):
    """Pillow decodes, OpenCV resizes twice, float32 normalisation, a stack; then to the device."""

    name = REFERENCE

    def __call__(self, pictures: Sequence[Picture]) -> torch.Tensor:
        """A batch."""
        batch = torch.stack(list(self._pool.map(self._one, pictures)))
        return batch.to(self.setting.device).to(self.setting.dtype)

    def _one(self, picture: Picture) -> torch.Tensor:
        pixels = _decoded(picture)
        small = resample_stepwise(pixels, plan_resize(pixels.shape[:2]))
        unit = small.astype(np.float32) / np.float32(255)
        return torch.from_numpy((unit - np.float32(MEAN)) / np.float32(STD)).permute(2, 0, 1)


class FullGPUKornia(_Threaded):
    """Pillow decodes in threads; the full-size picture is uploaded, resized by Kornia and normalised on the GPU."""

    name = "Full GPU Kornia"
    needs = ("gpu", "kornia")

    def __call__(self, pictures: Sequence[Picture]) -> torch.Tensor:
        """A batch."""
        return self._normalized(torch.stack(list(self._pool.map(self._one, pictures))))

    def _one(self, picture: Picture) -> torch.Tensor:
        pixels = _decoded(picture)
        uploaded = torch.from_numpy(pixels).to(self.setting.device).permute(2, 0, 1)
        return self._resized(uploaded, plan_resize(pixels.shape[:2]))


class UsualHybrid(_Threaded):
    """Pillow decodes and OpenCV resizes in threads; 8 bits a sample are uploaded and normalised on the GPU."""

    name = "Hybrid"
    needs = ("gpu",)

    def __call__(self, pictures: Sequence[Picture]) -> torch.Tensor:
        """A batch."""
        small = np.stack(list(self._pool.map(self._one, pictures)))
        uploaded = torch.from_numpy(small).to(self.setting.device).permute(0, 3, 1, 2)
        return self._normalized(uploaded.to(torch.float32) / 255.0).contiguous()

    def _one(self, picture: Picture) -> npt.NDArray[np.uint8]:
        pixels = _decoded(picture)
        return resample_stepwise(pixels, plan_resize(pixels.shape[:2]))


class UsualGPUDecode(_Threaded):
    """torchvision decodes on the GPU, one picture a thread; Kornia resizes."""

    name = "GPU Decode"
    starts = (FILES,)
    needs = ("gpu", "kornia", torchvision.NAME)

    def __init__(self, setting: Setting) -> None:
        from torchvision.io import ImageReadMode, decode_jpeg

        super().__init__(setting)
        # Every call would tell that its decoders are deprecated.
        warnings.filterwarnings("ignore", message=".*TorchVision are deprecated", category=DeprecationWarning)
        self._decode, self._mode = decode_jpeg, ImageReadMode.RGB

    def __call__(self, pictures: Sequence[Picture]) -> torch.Tensor:
        """A batch."""
        return self._normalized(torch.stack(list(self._pool.map(self._one, pictures))))

    def _one(self, picture: Picture) -> torch.Tensor:
        encoded = torch.from_numpy(np.frombuffer(picture, np.uint8).copy())
        pixels = self._decode(encoded, mode=self._mode, device=self.setting.device)
        return self._resized(pixels, plan_resize((pixels.shape[1], pixels.shape[2])))


class OursOnCPU(Way):
    """`InputProcessor`, where the network is on the CPU; below "exact" files are decoded at a part of their size."""

    group = OURS

    def __init__(self, setting: Setting, fidelity: Fidelity = Fidelity.EXACT) -> None:
        super().__init__(setting)
        exact = fidelity is Fidelity.EXACT
        self.name = f"ours, {fidelity.value}"
        self.starts = (FILES, MEMORY) if exact else (FILES,)
        self._fidelity = fidelity
        self._processor = InputProcessor()

    def __call__(self, pictures: Sequence[Picture]) -> torch.Tensor:
        """A batch."""
        batch = self._processor(pictures, num_workers=self.setting.workers, fidelity=self._fidelity)
        parts = sorted({f"1/{one.plan.reduced_by}" for one in batch.images if one.plan.reduced_by > 1})
        self.took = ", ".join(parts)
        return batch.tensor

    def close(self) -> None:
        """End the threads."""
        self._processor.close()


class EntropyFloor(_Threaded):
    """The files decoded at 1/8 and nothing else: nearly all of it entropy decoding, which no way avoids."""

    name = "floor: decoding at 1/8 alone"
    group = PEERS
    starts = (FILES,)
    complete = False

    def __init__(self, setting: Setting) -> None:
        super().__init__(replace(setting, workers=min(setting.workers, setting.capabilities.cores)))

    def __call__(self, pictures: Sequence[Picture]) -> torch.Tensor:
        """The last one's pixels, (H, W, 3) uint8."""
        return torch.from_numpy(list(self._pool.map(self._one, pictures))[-1])

    @staticmethod
    def _one(picture: Picture) -> npt.NDArray[np.uint8]:
        flags = cv2.IMREAD_REDUCED_COLOR_8 | cv2.IMREAD_IGNORE_ORIENTATION
        return np.asarray(cv2.imdecode(np.frombuffer(picture, np.uint8), flags), np.uint8)


class OursOnGPU(Way):
    """`GPUInputProcessor` with one strategy; for `GPU_DECODE` through one decoder."""

    group = OURS

    def __init__(self, setting: Setting, strategy: Strategy, decoder: str = "", note: str = "") -> None:
        super().__init__(setting)
        self.name = f"ours: {strategy.value}" + (f" ({decoder or note})" if decoder or note else "")
        self.starts = (FILES,) if strategy is Strategy.GPU_DECODE else (FILES, MEMORY)
        self._strategy, self._fidelity = strategy, Fidelity.EXACT
        capabilities = setting.capabilities
        if decoder:
            traits = DECODERS[decoder](setting.device.type)
            # Coarser fidelities admit decoders of nearest chroma, and let others do less.
            self._fidelity = Fidelity.EXACT if traits.exact else Fidelity.FAST
            capabilities = replace(capabilities, decoders=(traits,), costs=None)
        self._processor = GPUInputProcessor(setting.device, dtype=setting.dtype, capabilities=capabilities)

    def __call__(self, pictures: Sequence[Picture]) -> torch.Tensor:
        """A batch; raises if pictures did not go the way that the row is named after."""
        batch = self._processor(
            pictures, strategy=self._strategy, fidelity=self._fidelity, num_workers=self.setting.workers
        )
        taken = sorted({one.choice.decoder or one.choice.strategy.value for one in batch.images})
        self.took = ", ".join(taken)
        for one in batch.images:
            if self._strategy not in (Strategy.AUTO, one.choice.strategy):
                raise UnsupportedError(f"it went another way, {one.choice.strategy.value}: {one.choice.reason}")
        return batch.tensor

    def close(self) -> None:
        """End the threads and give the decoders' memory back."""
        self._processor.close()


class _Peer(Way):
    """A batch decoded in one call, then one antialiased bilinear resize of all: how others do it today."""

    group, starts = PEERS, (FILES,)

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self._mean = torch.tensor(MEAN, device=setting.device).view(3, 1, 1)
        self._std = torch.tensor(STD, device=setting.device).view(3, 1, 1)

    def _finished(self, pixels: torch.Tensor) -> torch.Tensor:
        """(N, 3, H, W) uint8 to the network's tensor."""
        plan = plan_resize((pixels.shape[2], pixels.shape[3]))
        unit = pixels.to(torch.float32, memory_format=torch.contiguous_format) / 255.0
        unit = functional.interpolate(unit, plan.result_hw, mode="bilinear", antialias=True)
        return ((unit - self._mean) / self._std).to(self.setting.dtype)

    def close(self) -> None:
        """Nothing to end."""


class TorchcodecPeer(_Peer):
    """torchcodec's batch decoder and torch's resize."""

    name = "torchcodec + torch"
    needs = ("gpu", torchcodec.NAME)

    def __init__(self, setting: Setting) -> None:
        from torchcodec.decoders import decode_jpeg

        super().__init__(setting)
        self._decode = decode_jpeg

    def __call__(self, pictures: Sequence[Picture]) -> torch.Tensor:
        """A batch."""
        return self._finished(torch.stack(self._decode(list(pictures), mode="RGB", device=self.setting.device)))


class NvImageCodecPeer(_Peer):
    """nvImageCodec's batch decoder as it comes (nearest chroma), and torch's resize."""

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

    def __call__(self, pictures: Sequence[Picture]) -> torch.Tensor:
        """A batch."""
        device = self.setting.device
        stream = torch.cuda.current_stream(device).cuda_stream if device.type == "cuda" else 0
        spare = self._images if self._images and len(self._images) == len(pictures) else None
        images = self._images = self._decoder.decode(list(pictures), images=spare, cuda_stream=stream)
        if any(image is None for image in images):
            raise UnsupportedError("nvImageCodec could not decode a picture")
        pixels = [torch.as_tensor(one if device.type == "cuda" else np.asarray(one), device=device) for one in images]
        return self._finished(torch.stack(pixels).permute(0, 3, 1, 2))

    def close(self) -> None:
        """Give its memory back."""
        self._decoder = self._images = None


_USUAL: tuple[type[Way], ...] = (CPUReference, FullGPUKornia, UsualHybrid, UsualGPUDecode)
_PEERS: tuple[type[Way], ...] = (TorchcodecPeer, NvImageCodecPeer)


def make_ways(setting: Setting) -> tuple[list[Way], dict[str, str]]:
    """Those that can run here, and for each other one why it cannot; a library that fails to load is such a reason."""
    missing: dict[str, str] = {}
    ways: list[Way] = []
    for name, needs, maker in _candidates(setting):
        why = next((lack for need in needs if (lack := _lack(need, setting))), None)
        if why is None:
            try:
                ways.append(maker(setting))
                continue
            except (DA3Error, ImportError, OSError, RuntimeError) as error:
                why = str(error).partition("\n")[0]
        missing[name] = why
    return ways, missing


def _candidates(setting: Setting) -> list[tuple[str, tuple[str, ...], Maker]]:
    found: list[tuple[str, tuple[str, ...], Maker]] = [(one.name, one.needs, one) for one in _USUAL]
    if not setting.has_gpu:
        for fidelity in Fidelity:
            found.append((f"ours, {fidelity.value}", (), partial(OursOnCPU, fidelity=fidelity)))
        found.append((EntropyFloor.name, (), EntropyFloor))
    for strategy in (Strategy.AUTO, Strategy.CPU, Strategy.HYBRID, Strategy.FULL_GPU):
        found.append((f"ours: {strategy.value}", ("gpu",), partial(OursOnGPU, strategy=strategy)))
    for name in DECODERS:
        maker = partial(OursOnGPU, strategy=Strategy.GPU_DECODE, decoder=name)
        found.append((f"ours: gpu_decode ({name})", ("gpu", name), maker))
    return found + [(one.name, one.needs, one) for one in _PEERS]


def _lack(need: str, setting: Setting) -> str | None:
    """Why one thing is not to be had, or None if it is."""
    if need == "gpu":
        return None if setting.has_gpu else "no GPU here"
    if need not in DECODERS:
        return None if importlib.util.find_spec(need) else f"{need} is not installed"
    return decoder_refusal(need, setting.device)


def _decoded(picture: Picture) -> npt.NDArray[np.uint8]:
    """Pixels as Pillow gives them."""
    if isinstance(picture, np.ndarray):
        return picture
    return np.asarray(Image.open(io.BytesIO(picture)).convert("RGB"))
