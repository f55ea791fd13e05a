"""Precision of a network's weights: float32 for callers, the dtype of the computation inside the backbone."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from depth_anything_3.model.tracing import is_tracing

__all__ = ["LowPrecisionMatrices", "convert_matrices", "is_low_precision", "keep_float32"]

logger = logging.getLogger(__name__)

_LOW = (torch.float16, torch.bfloat16)

Convert = Callable[[Tensor], Tensor]


def is_low_precision(dtype: torch.dtype) -> bool:
    """Whether a dtype is float16 or bfloat16."""
    return dtype in _LOW


def keep_float32(convert: Convert) -> tuple[Convert, torch.dtype | None]:
    """Split what `Module.half`, `to` or `float` does to each tensor.

    Args:
        convert: the argument of `Module._apply`.

    Returns:
        A function that moves tensors to the same device but leaves their dtype, and the requested dtype; the dtype is
        None if `convert` changes none. Other dtypes are converted.
    """
    moved = convert(torch.empty(0))
    if moved.dtype in _LOW:
        logger.warning("weights stay float32; the backbone computes in %s", moved.dtype)
        return lambda tensor: tensor.to(convert(tensor.new_empty(0)).device), moved.dtype
    made_float = moved.dtype is torch.float32 and convert(torch.empty(0, dtype=torch.float16)).dtype is torch.float32
    return convert, torch.float32 if made_float else None


class LowPrecisionMatrices:
    """Weights and biases of a module's linear layers and convolutions, converted in place.

    Autocast converts exactly these in every forward; converted once, they give the same result and take half the
    memory. Their float32 values stay in host memory, on the CPU in the tensors that were there. The `Parameter`
    objects stay the same. An in-place change of a converted matrix survives `restore`, rounded. A copy starts empty.

    Attributes:
        dtype: the dtype of the converted matrices; None if they are float32.
    """

    def __init__(self) -> None:
        self.dtype: torch.dtype | None = None
        self._float32: list[tuple[nn.Parameter, Tensor, torch.dtype]] = []
        self._keeps_float32 = False
        self._lock = threading.RLock()

    def __reduce__(self) -> tuple[type[LowPrecisionMatrices], tuple[()]]:
        return type(self), ()

    def use(self, module: nn.Module, dtype: torch.dtype) -> None:
        """Convert the matrices of `module` to a dtype; float32 restores them.

        A network that is trained, traced or captured stays in float32, as does one that was used in float32 (`check`).
        """
        wanted = dtype if dtype in _LOW else None
        if wanted is self.dtype or (wanted is not None and self._must_stay(module)):
            return
        self.restore()
        if wanted is None:
            return
        with self._lock, torch.inference_mode(False), torch.no_grad():
            matrices = list(_matrices(module))
            if matrices and matrices[0].is_cuda:  # memory is freed, which kernels on any stream may still read
                torch.cuda.synchronize(matrices[0].device)
            self.dtype = wanted
            for one in matrices:
                low = one.data.to(wanted)
                self._float32.append((one, one.data.cpu(), wanted))
                one.data = low

    def check(self, module: nn.Module, *inputs: Tensor | None) -> None:
        """Restore float32 before a forward that needs it, and keep it from then on.

        That is one that builds a graph for gradients, or runs without autocast to the matrices' dtype.
        """
        if getattr(module, "_is_replica", False):  # of DataParallel: its weights are copies
            return
        if torch.is_grad_enabled() and _any_requires_grad(module, inputs):
            self._keeps_float32 = True
        elif self.dtype is None or self._is_autocast(inputs):
            return
        self._keeps_float32 = True
        if is_tracing():  # in another thread, whose operations are not recorded
            with ThreadPoolExecutor(1) as thread:
                thread.submit(self.restore).result()
        else:
            self.restore()

    def restore(self) -> None:
        """Give the matrices their float32 values again, on the device where they are now."""
        if self.dtype is None:
            return
        with self._lock, torch.inference_mode(False), torch.no_grad():
            if self._float32 and self._float32[0][0].is_cuda:
                torch.cuda.synchronize(self._float32[0][0].device)
            while self._float32:
                one, exact, low = self._float32[-1]
                one.data = _restored(one.data, exact, low)
                self._float32.pop()
            self.dtype = None

    @contextmanager
    def in_float32(self) -> Iterator[None]:
        """Return a context in which the matrices are float32, whatever other threads compute meanwhile."""
        with self._lock:
            self.restore()
            yield

    def before_apply(self, convert: Convert, weight: Tensor) -> None:
        """Restore float32 unless `convert`, applied by `Module._apply`, only moves tensors between devices.

        To and from the meta device, and with one of torch's switches, it also replaces the `Parameter` objects.
        """
        if self.dtype is None:
            return
        moved = convert(weight.new_empty(0, dtype=self.dtype))
        replaced = torch.__future__.get_overwrite_module_params_on_conversion()
        if replaced or moved.dtype is not self.dtype or moved.is_meta or weight.is_meta:
            self.restore()

    def _must_stay(self, module: nn.Module) -> bool:
        if self._keeps_float32 or module.training or getattr(module, "_is_replica", False):
            return True
        if is_tracing() or torch.compiler.is_compiling():
            return True
        weights = list(module.parameters())
        capturing = weights[0].is_cuda and torch.cuda.is_current_stream_capturing()
        return capturing or any(one.grad is not None for one in weights)

    def _is_autocast(self, inputs: tuple[Tensor | None, ...]) -> bool:
        assert inputs[0] is not None
        device = inputs[0].device.type
        return torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device) is self.dtype


def convert_matrices(module: nn.Module, dtype: torch.dtype) -> None:
    """Replace the weights and biases that autocast converts by ones of another dtype.

    For a copy that is exported: it cannot be restored. Tensors that it shares with another network are not changed.
    """
    for layer in module.modules():
        if isinstance(layer, (nn.Linear, nn.Conv2d)):
            for name, one in list(layer.named_parameters(recurse=False)):
                setattr(layer, name, nn.Parameter(one.detach().to(dtype), requires_grad=False))


def _matrices(module: nn.Module) -> Iterator[nn.Parameter]:
    """Yield the plain float32 weights and biases that autocast converts."""
    seen = set()
    for layer in module.modules():
        if not isinstance(layer, (nn.Linear, nn.Conv2d)):
            continue
        for one in layer.parameters(recurse=False):
            plain = type(one) is nn.Parameter and type(one.data) is Tensor and not one.is_inference()
            if plain and one.dtype is torch.float32 and id(one) not in seen:
                seen.add(id(one))
                yield one


def _any_requires_grad(module: nn.Module, inputs: tuple[Tensor | None, ...]) -> bool:
    given = any(one is not None and one.requires_grad for one in inputs)
    return given or any(one.requires_grad for one in module.parameters())


def _restored(low: Tensor, exact: Tensor, dtype: torch.dtype) -> Tensor:
    """Return `exact` on the device of `low`, or `low` as float32 if it was changed since its conversion."""
    moved = exact.to(low.device)
    unchanged = torch.equal(low.to(dtype).view(torch.int16), moved.to(dtype).view(torch.int16))
    return moved if unchanged else low.to(torch.float32)
