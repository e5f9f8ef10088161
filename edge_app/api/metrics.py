"""What Prometheus is told: times of each stage, verdicts, room, drift, the stores."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from edge_app.api.service import Places
from edge_app.line import Inspected, Line
from runtime.errors import StoreError

MEDIA_TYPE = CONTENT_TYPE_LATEST
_STAGES = ("decode", "resize", "infer", "judge")
_METHODS = frozenset({"GET", "POST"})
# Seconds: from a resize to a large model on a small box.
_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """Counts what lines and requests do; an :class:`edge_app.line.Observer`. Safe in threads."""

    def __init__(self) -> None:
        # Of its own: a process may serve several stations.
        self.registry = CollectorRegistry()
        self._stages = Histogram(
            "lineside_stage_seconds",
            "What each stage of an inspection took; wait is for the line to be free.",
            ["bundle", "stage"],
            registry=self.registry,
            buckets=_BUCKETS,
        )
        self._verdicts = Counter(
            "lineside_inspections",
            "Parts by verdict.",
            ["bundle", "verdict"],
            registry=self.registry,
        )
        self._refused = Counter(
            "lineside_refused_pictures",
            "Pictures that cannot be judged at all.",
            ["bundle"],
            registry=self.registry,
        )
        self._requests = Histogram(
            "lineside_http_request_seconds",
            "Requests to the API, from the first byte to the last.",
            ["method", "route", "status"],
            registry=self.registry,
            buckets=_BUCKETS,
        )

    def judged(self, line: str, part: Inspected) -> None:
        """As of the protocol."""
        self._verdicts.labels(line, part.prediction.verdict).inc()
        times = part.prediction.times
        self._stages.labels(line, "wait").observe(part.waited_ms / 1000.0)
        for stage in _STAGES:
            self._stages.labels(line, stage).observe(getattr(times, stage) / 1000.0)

    def refused(self, line: str) -> None:
        """As of the protocol."""
        self._refused.labels(line).inc()

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """A request has been answered."""
        known = method if method in _METHODS else "other"
        self._requests.labels(known, route, str(status)).observe(seconds)

    def watch(self, lines: Iterable[Line], places: Places) -> None:
        """Count what these lines do, and tell the state of them and of the places when asked."""
        for line in lines:
            line.observer = self
        self.registry.register(_State(list(lines), places))

    def text(self) -> bytes:
        """All of it in Prometheus's text format; asks the stores."""
        return generate_latest(self.registry)


class _State(Collector):
    """What is looked up when somebody asks."""

    def __init__(self, lines: list[Line], places: Places) -> None:
        self._lines, self._places = lines, places

    def describe(self) -> list[Metric]:
        """Nothing: being registered must not ask the stores."""
        return []

    def collect(self) -> Iterator[Metric]:
        """The figures of now."""
        places = self._places
        yield _gauge("lineside_queue_requests", "Requests in work or waiting.", places.taken)
        yield _gauge("lineside_queue_capacity", "Most requests in work or waiting.", places.most)
        yield _gauge("lineside_queue_bytes", "Bytes of pictures that they hold.", places.size)
        yield CounterMetricFamily(
            "lineside_overloads", "Requests refused for lack of room.", value=places.overloads
        )
        drift = _by_bundle("lineside_drift_alarm", "1 while a drift alarm is in force.")
        up = _by_bundle("lineside_store_up", "1 while the store answers.")
        lag = _by_bundle("lineside_store_lag_writes", "Writes that the search index lacks.")
        for line in self._lines:
            drift.add_metric([line.name], line.alarm is not None)
            try:
                behind = line.store.lag()
            except StoreError:
                up.add_metric([line.name], 0)
                continue
            up.add_metric([line.name], 1)
            lag.add_metric([line.name], behind)
        yield from (drift, up, lag)


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, value=value)


def _by_bundle(name: str, text: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, labels=["bundle"])
