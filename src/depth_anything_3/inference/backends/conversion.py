"""Convert a network for a library that runs exported networks, once, and compare it with torch."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import torch
from torch import nn

from depth_anything_3.errors import UnsupportedError
from depth_anything_3.exported.model_store import ModelStore, StoredModel
from depth_anything_3.exported.runtimes.open import open_graph
from depth_anything_3.exported.runtimes.runtime import GraphRuntime, RuntimeName
from depth_anything_3.exported.specification import Dynamic, ExportSpecification, GraphDtype, ModelFormat
from depth_anything_3.exported.verification import decided_pixels
from depth_anything_3.inference.backends.backend import BackendName
from depth_anything_3.inference.backends.graph_backend import GraphBackend
from depth_anything_3.inference.backends.torch_backend import TorchBackend
from depth_anything_3.inference.options import NetworkOptions
from depth_anything_3.inputs.options import PreprocessOptions
from depth_anything_3.model.catalog import ModelCard
from depth_anything_3.model.network import use_matrix_dtype
from depth_anything_3.runtime.packages import package_version
from depth_anything_3.runtime.version import __version__
from depth_anything_3.utils.io.input_processor import InputProcessor

__all__ = ["MAX_ERROR", "check_installed", "convert", "open_stored"]

logger = logging.getLogger(__name__)

MAX_ERROR = 1e-4
"""Largest difference to torch in float32, relative to the largest value, with which a conversion is used."""

_PACKAGES = {BackendName.OPENVINO: ("openvino",), BackendName.ONNXRUNTIME: ("onnxruntime", "onnx", "onnxscript")}
_EXTRAS = {BackendName.OPENVINO: "openvino", BackendName.ONNXRUNTIME: "onnx"}
_TITLES = {BackendName.OPENVINO: "OpenVINO", BackendName.ONNXRUNTIME: "ONNX Runtime"}
_WRITER = "3"  # raise it when other files are written for the same weights, or they are compared otherwise
_FILES = {BackendName.OPENVINO: "model.xml", BackendName.ONNXRUNTIME: "model.onnx"}
_FORMATS = {BackendName.OPENVINO: ModelFormat.OPENVINO, BackendName.ONNXRUNTIME: ModelFormat.ONNX}
_CHECKED_RES = 280
_PHOTOS = Path(__file__).parents[2] / "jobs" / "demo_images"  # of the package, photo-like


def check_installed(backend: BackendName) -> dict[str, str]:
    """Return the versions of the packages that a backend needs.

    Raises:
        UnsupportedError: one is not installed.
    """
    extra = _EXTRAS[backend]
    names = {"onnxruntime": ("onnxruntime", "onnxruntime-gpu")}
    return {one: package_version(one, extra=extra, distributions=names.get(one, (one,))) for one in _PACKAGES[backend]}


def convert(
    network: nn.Module, weights: str, card: ModelCard, backend: BackendName, *, many_views: bool, store: ModelStore
) -> StoredModel:
    """Find a converted network in the cache, or convert it and keep it there.

    Args:
        network: the network of torch, on the CPU.
        weights: hash of its weights.
        card: catalog entry of its model.
        backend: the library.
        many_views: whether scenes have any number of views; else one.
        store: the cache.

    Raises:
        UnsupportedError: the library is not installed, the network cannot be converted, or gives other results.
        ExportError: the cache folder cannot be written.
    """
    versions = check_installed(backend)
    views = "dynamic" if many_views else "1"
    facts = {
        "weights": weights,
        "views": views,
        "version": __version__,
        "writer": _WRITER,
        "torch": torch.__version__,
        **versions,
    }
    name = f"{card.name}-{backend.value}-{'views' if many_views else 'image'}"
    stored = store.get(name, facts)
    if stored is None:
        logger.warning("converting %s for %s, once; this may take a minute", card.name, _TITLES[backend])

        def write(path: Path) -> float:
            _write(network, card, backend, path, many_views=many_views)
            return _difference(network, card, _open(path, backend), many_views=many_views)

        stored = store.add(name, facts, _FILES[backend], write)
    if not stored.error <= MAX_ERROR:
        raise UnsupportedError(
            f"{card.name} differs by {stored.error:.1e} from torch when converted for {_TITLES[backend]}, more than "
            f"{MAX_ERROR:.0e}; pass backend='torch'"
        )
    return stored


def open_stored(stored: StoredModel, card: ModelCard, backend: BackendName, dtype: GraphDtype) -> GraphBackend:
    """Open a converted network, to compute in a dtype."""
    return GraphBackend(_open(stored.file, backend, dtype), card)


def _write(network: nn.Module, card: ModelCard, backend: BackendName, path: Path, *, many_views: bool) -> None:
    from depth_anything_3.exported.write import write_model

    specification = ExportSpecification(
        format=_FORMATS[backend], dynamic=Dynamic.ALL, views="dynamic" if many_views else 1, dtype=GraphDtype.FLOAT32
    )
    write_model(network, card, specification, path)


def _open(path: Path, backend: BackendName, dtype: GraphDtype = GraphDtype.FLOAT32) -> GraphRuntime:
    if backend is BackendName.OPENVINO:
        from depth_anything_3.exported.runtimes.openvino import OpenVinoGraph

        return OpenVinoGraph(path, dtype=dtype)
    return open_graph(path, RuntimeName.ONNXRUNTIME)


def _difference(network: nn.Module, card: ModelCard, graph: GraphRuntime, *, many_views: bool) -> float:
    """Return the largest difference of the outputs for real images, relative to each output's largest value.

    Depth is compared where rounding cannot make ground of sky.
    """
    photos = sorted(_PHOTOS.glob("*.jpg"))[: 3 if many_views else 1]
    with InputProcessor() as processor:
        batch = processor.views(photos, PreprocessOptions(process_res=_CHECKED_RES))
    x = batch.tensor[None]
    found = GraphBackend(graph, card)(x)
    use_matrix_dtype(network, torch.float32)
    with torch.inference_mode():
        expected = TorchBackend(network, torch.float32)(x, **NetworkOptions().forward())
    graph.close()
    decided = decided_pixels(expected["sky"].numpy() if "sky" in expected else None, GraphDtype.FLOAT32)
    worst = 0.0
    for name, value in found.items():
        mask = decided if name == "depth" and decided is not None else ...
        exact = expected[name].numpy()[mask]
        error = np.abs(value.numpy()[mask] - exact).max() / max(float(np.abs(exact).max()), 1e-12)
        worst = max(worst, float(error)) if np.isfinite(error) else 1e9  # JSON has no infinity
    return worst
