"""What Prometheus is told, under the names that TensorFlow Serving uses where it has any."""

from __future__ import annotations

import threading
from collections.abc import Callable

import prometheus_client
from prometheus_client import core

REQUEST_COUNT = ":tensorflow:serving:request_count"
_LATENCY_BUCKETS = [10_000 * 1.8**i for i in range(16)]  # microseconds, 10 ms to 67 s


class _RequestCount:
    """A counter without the suffix `_total`, which TensorFlow Serving's does not have."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str], int] = {}
        self._lock = threading.Lock()

    def add(self, model: str, status: str) -> None:
        with self._lock:
            self._counts[model, status] = self._counts.get((model, status), 0) + 1

    def collect(self) -> list[core.Metric]:
        metric = core.Metric(REQUEST_COUNT, "Requests, answered or refused.", "unknown")
        with self._lock:
            counts = dict(self._counts)
        for (model, status), count in counts.items():
            metric.add_sample(REQUEST_COUNT, {"model_name": model, "status": status}, count)
        return [metric]


class Metrics:
    """The metrics of one server; several may live in one process.

    Args:
      pending: function that returns how many requests are worked on or wait.
      held: function that returns what those that are worked on may take of memory, bytes.
      waiting: function that returns how many wait for memory.
    """

    def __init__(
        self,
        pending: Callable[[], int],
        held: Callable[[], float],
        waiting: Callable[[], int],
    ) -> None:
        self._registry = registry = prometheus_client.CollectorRegistry()
        self._count = _RequestCount()
        registry.register(self._count)
        self._latency = prometheus_client.Histogram(
            ":tensorflow:serving:request_latency",
            "Microseconds from a request's arrival to its answer, good ones alone.",
            ["model_name", "API", "entrypoint"],
            buckets=_LATENCY_BUCKETS,
            registry=registry,
        )
        self._versions = prometheus_client.Gauge(
            "tfclic_serving_available", "Versions that are served.", ["model_name", "version"],
            registry=registry,
        )  # fmt: skip
        self._load = prometheus_client.Gauge(
            "tfclic_serving_load_seconds", "Loading and warm-up.", ["model_name", "version"],
            registry=registry,
        )  # fmt: skip
        for name, text, function in (
            ("pending", "Requests that are worked on or wait.", pending),
            ("memory_held_bytes", "What requests that are worked on may take.", held),
            ("memory_waiting", "Requests that wait for memory.", waiting),
        ):
            gauge = prometheus_client.Gauge(f"tfclic_serving_{name}", text, registry=registry)
            gauge.set_function(function)
        prometheus_client.ProcessCollector(registry=registry)

    def answered(self, model: str, entrypoint: str, seconds: float) -> None:
        """Counts an answer; `entrypoint` is "GRPC" or "REST"."""
        self._count.add(model, "OK")
        self._latency.labels(model, "Predict", entrypoint).observe(1e6 * seconds)

    def refused(self, model: str, status: str) -> None:
        """Counts a refusal, by its grpc.StatusCode's name; `model` is "" if there is no such."""
        self._count.add(model, status)

    def loaded(self, model: str, version: int, seconds: float) -> None:
        self._versions.labels(model, version).set(1)
        self._load.labels(model, version).set(seconds)

    def unloaded(self, model: str, version: int) -> None:
        self._versions.remove(model, version)
        self._load.remove(model, version)

    def text(self) -> tuple[bytes, str]:
        """Returns (bytes, their content type) as Prometheus reads them."""
        return prometheus_client.generate_latest(self._registry), (
            prometheus_client.CONTENT_TYPE_LATEST
        )
