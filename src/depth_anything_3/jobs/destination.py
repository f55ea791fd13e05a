"""Describe the output folder and formats of a job, and check them against the model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from depth_anything_3.export import AvailableFields, ExportOptions, check_formats, parse_formats
from depth_anything_3.export.registry import ExportFormat, Formats
from depth_anything_3.inference.options import NetworkOptions
from depth_anything_3.inputs.choices import Strategy
from depth_anything_3.inputs.options import PreprocessOptions
from depth_anything_3.inputs.routing.capabilities import find_capabilities
from depth_anything_3.inputs.routing.strategy import Capabilities, Request, check_strategy
from depth_anything_3.model.catalog import ModelCard
from depth_anything_3.prediction.metric import MetricConversion

__all__ = ["Destination", "check_device"]


@dataclass(frozen=True, kw_only=True)
class Destination:
    """Output folder, formats and their options.

    Attributes:
        folder: created if missing.
        formats: names joined with '-', or a sequence of names, see docs/exports.md; stored parsed.
        options: options of the writers.
        metric: conversion to metric depth; an image whose focal length is unknown fails.
    """

    folder: Path
    formats: Formats
    options: ExportOptions | None = None
    metric: MetricConversion | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "formats", parse_formats(self.formats))

    @property
    def parsed_formats(self) -> tuple[ExportFormat, ...]:
        """The formats as rows of the registry."""
        return parse_formats(self.formats)

    def check(
        self,
        card: ModelCard,
        preprocess: PreprocessOptions,
        network: NetworkOptions,
        *,
        views: int = 1,
        has_intrinsics: bool = False,
    ) -> None:
        """Check that a model predicts what the formats and metric depth need, before any image is read.

        Args:
            card: the model.
            preprocess, network: options of the run.
            views: number of views per prediction.
            has_intrinsics: whether the caller provides intrinsics.

        Raises:
            InvalidInputError: a format or an option is unknown.
            UnsupportedError: the model does not predict what a format or metric depth needs.
        """
        available = AvailableFields.expected(
            card,
            views=views,
            intrinsics=self.metric is not None or has_intrinsics,
            gaussians=network.infer_gs,
            features=bool(network.export_feat_layers),
            cropped=preprocess.process_res_method.crops,
            metric=self.metric is not None,
        )
        check_formats(self.formats, available, self.options)
        if self.metric is not None:
            self.metric.check(card)


def check_device(device: torch.device, preprocess: PreprocessOptions) -> None:
    """Check that a device supports the strategy, before weights are loaded.

    Raises:
        InvalidInputError: the environment variable names an unknown strategy.
        UnsupportedError: there is no GPU, or no GPU decoder of the required fidelity.
    """
    request = Request.of(preprocess.strategy, preprocess.fidelity)
    if request.strategy not in (Strategy.AUTO, Strategy.CPU):
        check_strategy(Capabilities() if device.type == "cpu" else find_capabilities(device), request)
