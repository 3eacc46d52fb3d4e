"""What Prometheus is told: of the intake, and how fresh the controller is. Names of streams are declared ones, so there are
never more series than streams."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

#: Seconds from a request to its answer.
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class Metrics:
    """Counted in the loop's thread; gauges ask when they are read."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self._messages = Counter(
            "reconcile_intake_messages", "Messages accepted.", ("stream", "lane"), registry=registry
        )
        self._bytes = Counter(
            "reconcile_intake_bytes", "Bytes of accepted bodies.", ("stream", "lane"), registry=registry
        )
        self._requests = Counter(
            "reconcile_intake_requests", "Requests answered.", ("endpoint", "status"), registry=registry
        )
        self._seconds = Histogram(
            "reconcile_intake_seconds", "Time to an answer.", ("endpoint",), registry=registry, buckets=BUCKETS
        )

        # Finding a series by its labels costs more than counting: each is found once.
        self._series = cache(
            lambda stream, lane: tuple(one.labels(stream, lane) for one in (self._messages, self._bytes))
        )
        self._answers = cache(lambda endpoint, status: self._requests.labels(endpoint, str(status)))
        self._times = cache(self._seconds.labels)

    def accepted(self, stream: str, lane: str, messages: int, size: int) -> None:
        counted, weighed = self._series(stream, lane)
        counted.inc(messages)
        weighed.inc(size)

    def answered(self, endpoint: str, status: int, seconds: float) -> None:
        self._answers(endpoint, status).inc()
        self._times(endpoint).observe(seconds)

    def gauge(self, name: str, what: str, value: Callable[[], float]) -> None:
        """A number that is asked for when metrics are read."""
        Gauge(name, what, registry=self._registry).set_function(value)

    def text(self) -> bytes:
        """In Prometheus' text format."""
        return generate_latest(self._registry)
