"""What Prometheus is told: of the intake, and how fresh the controller is. Names of streams are declared ones, so there are
never more series than streams."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.core import HistogramMetricFamily

from reconciler.clock import Clock

#: Seconds from a request to its answer.
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class Metrics:
    """Counted in the loop's thread, in plain numbers, which the registry is given when it is asked for them (`settle`): its own
    are counted under a lock each. Gauges ask when they are read."""

    def __init__(self, clock: Clock) -> None:
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
        self._times = _Times(clock)
        registry.register(self._times)
        self._taken: defaultdict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
        self._answered: defaultdict[tuple[str, int], int] = defaultdict(int)

    def accepted(self, stream: str, lane: str, messages: int, size: int) -> None:
        taken = self._taken[stream, lane]
        taken[0] += messages
        taken[1] += size

    def answered(self, endpoint: str, status: int, seconds: float) -> None:
        self._answered[endpoint, status] += 1
        self._times.observe(endpoint, seconds)

    def settle(self) -> None:
        """Gives the registry what was counted. In the loop's thread, before `text`."""
        for (stream, lane), (messages, size) in self._taken.items():
            self._messages.labels(stream, lane).inc(messages)
            self._bytes.labels(stream, lane).inc(size)
        for (endpoint, status), count in self._answered.items():
            self._requests.labels(endpoint, str(status)).inc(count)
        self._taken.clear()
        self._answered.clear()

    def gauge(self, name: str, what: str, value: Callable[[], float]) -> None:
        """A number that is asked for when metrics are read."""
        Gauge(name, what, registry=self._registry).set_function(value)

    def text(self) -> bytes:
        """In Prometheus' text format."""
        return generate_latest(self._registry)


class _Times:
    """How long answers took, by endpoint."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._found: dict[str, tuple[float, list[int], list[float]]] = {}  # when it began, counts by bucket, the sum

    def observe(self, endpoint: str, seconds: float) -> None:
        found = self._found.get(endpoint)
        if found is None:
            began_s = self._clock.now().wall_ms / 1000
            found = self._found[endpoint] = (began_s, [0] * (len(BUCKETS) + 1), [0.0])
        found[1][bisect_left(BUCKETS, seconds)] += 1
        found[2][0] += seconds

    def collect(self) -> Iterator[HistogramMetricFamily]:
        family = HistogramMetricFamily("reconcile_intake_seconds", "Time to an answer.", labels=("endpoint",))
        for endpoint, (began_s, counts, total) in list(self._found.items()):
            so_far, buckets = 0, []
            for bound, count in zip((*map(str, BUCKETS), "+Inf"), counts, strict=True):
                so_far += count
                buckets.append((bound, so_far))
            family.add_metric([endpoint], buckets, total[0])
            family.add_sample("reconcile_intake_seconds_created", {"endpoint": endpoint}, began_s)
        yield family
