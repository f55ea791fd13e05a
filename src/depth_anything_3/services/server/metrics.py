"""Metrics of the server, in Prometheus' text format."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.process_collector import ProcessCollector

from depth_anything_3.prediction import Prediction

__all__ = ["CONTENT_TYPE", "ServerMetrics"]

_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)
_BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64)

CONTENT_TYPE = CONTENT_TYPE_LATEST
"""Media type of `ServerMetrics.text`."""


class ServerMetrics:
    """Counts requests, images and the time of each stage; one registry a server."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        one = self._registry
        self._requests = Counter("da3_requests", "Answered requests.", ["route", "status"], registry=one)
        self._seconds = Histogram(
            "da3_stage_seconds", "Seconds of each stage of an image.", ["stage"], buckets=_SECONDS, registry=one
        )
        self._batches = Histogram(
            "da3_batch_images", "Images computed together.", buckets=_BATCH_SIZES, registry=self._registry
        )
        self._images = Counter("da3_images", "Computed images.", ["strategy"], registry=self._registry)

    def watch(self, name: str, help: str, value: Callable[[], float]) -> None:
        """Add a gauge whose value is asked for when the metrics are read."""
        Gauge(name, help, registry=self._registry).set_function(value)

    def request(self, route: str, status: int) -> None:
        """Count an answer."""
        self._requests.labels(route, str(status)).inc()

    def stage(self, name: str, seconds: float) -> None:
        """Record the time of a stage: queue, decode, resample, network, encode or total."""
        self._seconds.labels(name).observe(seconds)

    def batch(self, count: int) -> None:
        """Record the size of a batch."""
        self._batches.observe(count)

    def predicted(self, prediction: Prediction) -> None:
        """Record the stages of a computed image."""
        for name, seconds in prediction.seconds.items():
            self.stage(name, seconds)
        for choice in prediction.choices:
            self._images.labels(choice.strategy.value).inc()

    def text(self) -> bytes:
        """Return all metrics."""
        return bytes(generate_latest(self._registry))
