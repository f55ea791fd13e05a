"""Compute the weights of a torch network with a library that runs exported networks."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from depth_anything_3.errors import DA3Error, UnsupportedError
from depth_anything_3.exported.model_store import ModelStore
from depth_anything_3.inference.backends.backend import Backend, BackendName
from depth_anything_3.inference.backends.conversion import check_installed, convert, open_stored
from depth_anything_3.inference.backends.graph_backend import GRAPH_DTYPES, GraphBackend, unsupported_option
from depth_anything_3.inference.backends.torch_backend import TorchBackend
from depth_anything_3.inference.options import NetworkOptions
from depth_anything_3.model.catalog import DepthKind, ModelCard
from depth_anything_3.runtime.devices import choose_device

__all__ = ["AutoBackend", "ConvertedBackend", "backend_device", "backend_of"]

logger = logging.getLogger(__name__)

MAX_AUTO_ERROR = 1e-5
"""Largest difference to torch in float32, relative to the largest value, with which "auto" takes a conversion."""

_DTYPES = {
    BackendName.OPENVINO: (torch.float32, torch.bfloat16),
    BackendName.ONNXRUNTIME: (torch.float32,),
}


class ConvertedBackend:
    """The network of torch, converted for another library when it is first used; a `Backend` on the CPU.

    The conversion is kept in the user's cache folder. Before each run the weights are compared with those that were
    converted: new tensors, and in-place writes that torch counts, are noticed; writes through `.data` are not.

    Args:
        torch_backend: returns the network of torch.
        card: catalog entry of its model.
        name: the library.

    Attributes:
        error: largest difference to torch of the conversions in use; see `StoredModel`.
    """

    process_res: int | None = None

    def __init__(self, torch_backend: Callable[[], TorchBackend], card: ModelCard, name: BackendName) -> None:
        self._torch = torch_backend
        self._card = card
        self._name = name
        self._reset()

    def _reset(self) -> None:
        self.error = 0.0
        self._weights: _Weights | None = None
        self._graphs: dict[tuple[bool, torch.dtype], GraphBackend] = {}

    def __getstate__(self) -> dict[str, Any]:  # Any: of the attributes
        return {name: value for name, value in vars(self).items() if name in ("_torch", "_card", "_name")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._reset()

    @property
    def device(self) -> torch.device:
        """The CPU."""
        return torch.device("cpu")

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the backbone's computation."""
        return self._torch().dtype

    def unsupported_reason(self, options: NetworkOptions, *, has_poses: bool = False) -> str | None:
        """Return what this backend cannot do, and why; None if it can do all."""
        found, title = self._torch(), f"backend={self._name.value!r}"
        if found.device.type != "cpu":
            return f"{title} computes on the CPU, and the weights are on {found.device}"
        if found.dtype not in _DTYPES[self._name]:
            accepted = " or ".join(str(one).removeprefix("torch.") for one in _DTYPES[self._name])
            return f"{title} computes in {accepted}, not in {str(found.dtype).removeprefix('torch.')}"
        if self._card.depth_kind is DepthKind.METRIC:
            return f"{title} does not support {self._card.name}"
        unsupported = unsupported_option(options, has_poses=has_poses)
        return f"{title} does not support {unsupported}" if unsupported else None

    def check(self, options: NetworkOptions, *, has_poses: bool = False) -> None:
        """Check the options; see `Backend.check`."""
        self._torch().check(options, has_poses=has_poses)
        reason = self.unsupported_reason(options, has_poses=has_poses)
        if reason:
            raise UnsupportedError(f"{reason}; pass backend='torch'")
        check_installed(self._name)

    def check_views(self, count: int) -> None:
        """Accept any number of views."""

    def prepare(self, options: NetworkOptions, *, views: int = 1) -> None:
        """Convert the network if its weights have changed, and open it.

        Raises:
            UnsupportedError: the network cannot be converted.
            ExportError: the cache folder cannot be written.
        """
        from depth_anything_3.exported.weights import weights_hash

        found = self._torch()
        if self._weights is None or not self._weights.match(found.network):
            self._reset()
            self._weights = _Weights(found.network, weights_hash(found.network))
        key = (self._many(views), found.dtype)
        if key not in self._graphs:
            digest = self._weights.digest
            stored = convert(found.network, digest, self._card, self._name, many_views=key[0], store=ModelStore())
            self.error = max(self.error, stored.error)
            self._graphs[key] = open_stored(stored, self._card, self._name, GRAPH_DTYPES[found.dtype])

    def _many(self, views: int) -> bool:
        return views > 1 and self._card.has_poses

    def name_for(self, options: NetworkOptions) -> str:
        """Return the library's name."""
        return self._name.value

    def weights_digest(self) -> str:
        """Return that of the network of torch."""
        return self._torch().weights_digest()

    def __call__(self, x: Tensor, **forward: Any) -> Mapping[str, Any]:  # Any: see `Backend`
        """Compute (B, S, 3, H, W) images; call `prepare` before."""
        return self._graphs[self._many(x.shape[1]), self.dtype](x, **forward)


class AutoBackend:
    """OpenVINO where it can be used and gives the results of torch, otherwise torch; a `Backend`.

    The reason for torch is logged once.

    Args:
        torch_backend: returns the network of torch.
        card: catalog entry of its model.
    """

    process_res: int | None = None

    def __init__(self, torch_backend: Callable[[], TorchBackend], card: ModelCard) -> None:
        self._torch = torch_backend
        self._converted = ConvertedBackend(torch_backend, card, BackendName.OPENVINO)
        self._logged: set[str] = set()
        self._failed: str | None = None  # why conversions are not tried again
        self._runs: dict[tuple[NetworkOptions, int], Backend] = {}

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return self._torch().device

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the backbone's computation."""
        return self._torch().dtype

    def check(self, options: NetworkOptions, *, has_poses: bool = False) -> None:
        """Check the options; see `Backend.check`. Torch takes those that OpenVINO cannot."""
        self._torch().check(options, has_poses=has_poses)

    def check_views(self, count: int) -> None:
        """Accept any number of views."""

    def prepare(self, options: NetworkOptions, *, views: int = 1) -> None:
        """Choose what computes such a run, and get it ready."""
        chosen = self._chosen(options, views)
        if chosen is not self._converted:
            chosen.prepare(options, views=views)
        self._runs[options, views] = chosen

    def name_for(self, options: NetworkOptions) -> str:
        """Return the name of the library that computes single images with these options."""
        return self._chosen(options, 1).name_for(options)

    def weights_digest(self) -> str:
        """Return that of the network of torch."""
        return self._torch().weights_digest()

    def _chosen(self, options: NetworkOptions, views: int) -> Backend:
        reason = self._failed or self._converted.unsupported_reason(options)
        if reason is None:
            try:
                check_installed(BackendName.OPENVINO)
                self._converted.prepare(options, views=views)
            except DA3Error as error:
                reason = self._failed = str(error)
        if reason is None and self._converted.error > MAX_AUTO_ERROR:
            reason = f"the converted network differs by {self._converted.error:.1e} from torch"
        if reason is None:
            return self._converted
        if reason not in self._logged:
            self._logged.add(reason)
            logger.info("backend='auto' takes torch: %s", reason)
        return self._torch()

    def __call__(self, x: Tensor, **forward: Any) -> Mapping[str, Any]:  # Any: see `Backend`
        """Compute (B, S, 3, H, W) images; call `prepare` before."""
        options = {name: one for name, one in forward.items() if name not in ("extrinsics", "intrinsics")}
        given = forward.get("extrinsics") is not None
        chosen = None if given else self._runs.get((NetworkOptions(**options), x.shape[1]))
        return (chosen or self._torch())(x, **forward)


class _Weights:
    """The weights of a network at one time, and their hash.

    The references keep their memory allocated, so that no other tensor gets its address.
    """

    def __init__(self, network: nn.Module, digest: str) -> None:
        self.digest = digest
        self._tensors = _states(network)

    def match(self, network: nn.Module) -> bool:
        """Whether the network still has these weights, unchanged."""
        now = _states(network)
        if self._tensors is None or now is None or len(now) != len(self._tensors):
            return False
        return all(
            version == other_version and one.data_ptr() == other.data_ptr() and one.device == other.device
            for (one, version), (other, other_version) in zip(self._tensors, now, strict=True)
        )


def _states(network: nn.Module) -> list[tuple[Tensor, int]] | None:
    """Return each weight and its version counter; None if torch counts no versions of one."""
    weights = list(network.state_dict(keep_vars=True).values())
    if any(one.is_inference() for one in weights):
        return None
    return [(one.detach(), one._version) for one in weights]


def backend_device(name: BackendName, device: str | torch.device | None) -> torch.device:
    """Return the device of the weights: the one that was asked for, or the best for a backend.

    Raises:
        InvalidInputError: the device is unknown or not available.
        UnsupportedError: the backend computes on the CPU, and another device was asked for.
    """
    if name in (BackendName.TORCH, BackendName.AUTO):
        return choose_device(device)
    if device is not None and device != "auto" and choose_device(device).type != "cpu":
        raise UnsupportedError(
            f"device={str(device)!r} with backend={name.value!r}, which computes on the CPU; omit one of them"
        )
    return torch.device("cpu")


def backend_of(
    name: BackendName, torch_backend: Callable[[], TorchBackend], card: ModelCard
) -> ConvertedBackend | AutoBackend | None:
    """Return what computes in place of torch; None: torch itself.

    Raises:
        UnsupportedError: the library is not installed, or the backend lacks what the network needs.
    """
    if name is BackendName.TORCH:
        return None
    if name is BackendName.AUTO:
        return AutoBackend(torch_backend, card)
    converted = ConvertedBackend(torch_backend, card, name)
    converted.check(NetworkOptions())
    return converted
