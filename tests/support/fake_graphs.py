"""Exported networks that are run by torch, so that tests need neither an export nor the libraries that run it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from depth_anything_3.errors import CheckpointFormatError
from depth_anything_3.exported.runtimes.runtime import RuntimeName
from depth_anything_3.exported.specification import FOCAL, IMAGE, MEAN, STD, GraphMetadata, Output
from depth_anything_3.exported.weights import weights_hash

KEYS = {Output.DEPTH: "depth", Output.CONF: "depth_conf", Output.SKY: "sky", Output.EXTRINSICS: "extrinsics"}


class FakeGraph:
    """A runtime that computes what a network does, and then changes the results."""

    name, provider = RuntimeName.ONNXRUNTIME, "CPU"

    def __init__(self, metadata, network, change=lambda found: None, *, provider="CPU"):
        self.metadata, self._network, self._change, self.provider = metadata, network, change, provider
        self.seen: list[np.ndarray] = []

    def run(self, inputs):
        image = np.asarray(inputs[IMAGE])
        self.seen.append(image)
        if image.dtype == np.uint8:
            image = np.moveaxis((image / np.float32(255) - np.float32(MEAN)) / np.float32(STD), -1, -3)
        x = torch.from_numpy(np.ascontiguousarray(image, np.float32))
        with torch.inference_mode():
            out = self._network(x if self.metadata.has_views_axis else x[:, None])
        found = {one.value: out[KEYS[one]].numpy().copy() for one in self.metadata.outputs}
        if not self.metadata.has_views_axis:
            found = {name: value[:, 0] for name, value in found.items()}
        if FOCAL in inputs:
            found["depth"] *= inputs[FOCAL][..., None, None] / 300
        self._change(found)
        return found

    def close(self):
        pass


class FakeExport:
    """Writes the description of a network as a file, and opens it as a `FakeGraph` of the network."""

    def __init__(self, change=lambda found: None):
        self.change, self.network = change, None
        self.opened: list[FakeGraph] = []

    def write(self, network, card, specification, path, reference=""):
        self.network = network
        metadata = GraphMetadata(
            model=card.name,
            licence=card.licence,
            depth_unit="relative",
            weights_sha256=weights_hash(network),
            size_hw=specification.size_hw,
            dynamic=specification.dynamic,
            views=specification.views,
            dtype=specification.dtype,
            input=specification.input,
            outputs=specification.outputs or (Output.DEPTH, Output.SKY),
            reference=reference,
        )
        Path(path).write_text(metadata.to_json())
        Path(f"{path}.data").write_text("weights")
        return metadata

    def open(self, path, runtime=None, providers=None):
        try:
            metadata = GraphMetadata.from_json(Path(path).read_text())
        except json.JSONDecodeError:
            raise CheckpointFormatError(f"{path}: damaged") from None
        provider = "CPU" if providers is None else providers[0]
        self.opened.append(FakeGraph(metadata, self.network, self.change, provider=provider))
        return self.opened[-1]
