"""Metrics for Prometheus.

Requests are counted by each web process for itself: every one is a target of its own. All that
concerns jobs and workers is read from redis when Prometheus asks, so it is the same from every web
process, and right with any number of them.
"""

from collections.abc import Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from backend.deliveries import pending_deliveries
from backend.errors import QueueUnavailableError
from backend.job_history import RUN_SECONDS_BOUNDS, job_totals
from backend.queue import JobQueue
from backend.worker_board import WORKER_STATES, read_workers

METRICS_CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4

_REQUEST_SECONDS_BOUNDS = (0.005, 0.025, 0.1, 0.5, 1.0, 3.0, 10.0, 30.0, 60.0)


class Metrics:
    """What one web process tells Prometheus. Threads may share it."""

    def __init__(self, queue: JobQueue) -> None:
        """Args: queue: asked when Prometheus asks; it need not be reachable yet."""
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "self1e_http_requests",
            "Requests to this web process.",
            ["route", "status"],
            registry=self._registry,
        )
        self._request_seconds = Histogram(
            "self1e_http_request_seconds",
            "Time from a request to the end of its reply.",
            ["route"],
            buckets=_REQUEST_SECONDS_BOUNDS,
            registry=self._registry,
        )
        ProcessCollector(registry=self._registry)
        self._registry.register(_QueueCollector(queue))

    def observe_request(self, route: str, status: int, seconds: float) -> None:
        """Counts a request; `route` is the route's template, of which there are few."""
        self._requests.labels(route, str(status)).inc()
        self._request_seconds.labels(route).observe(seconds)

    def exposition(self) -> bytes:
        """All metrics in Prometheus' text format; asks redis."""
        return generate_latest(self._registry)


class _QueueCollector(Collector):
    """Reads from redis what all web processes share."""

    def __init__(self, queue: JobQueue) -> None:
        self._queue = queue

    def describe(self) -> list[Metric]:
        """Nothing: the registry need not ask redis for the names when it is made."""
        return []

    def collect(self) -> Iterator[Metric]:
        """All metrics, or the one that says that redis is away."""
        try:
            metrics = [*self._jobs(), *self._workers()]
        except QueueUnavailableError:
            metrics = []
        yield GaugeMetricFamily("self1e_redis_up", "Whether redis answers.", value=bool(metrics))
        yield from metrics

    def _jobs(self) -> Iterator[Metric]:
        waiting = GaugeMetricFamily("self1e_jobs_waiting", "Jobs in the queue.", labels=["queue"])
        for name, count in self._queue.waiting().items():
            waiting.add_metric([name], count)
        yield waiting
        yield GaugeMetricFamily(
            "self1e_jobs_running", "Jobs that workers have.", value=len(self._queue.running())
        )
        yield GaugeMetricFamily(
            "self1e_deliveries_pending",
            "Predictions that Label Studio still has to get.",
            value=pending_deliveries(self._queue),
        )
        ended = CounterMetricFamily("self1e_jobs", "Jobs that ended.", labels=["queue", "status"])
        seconds = HistogramMetricFamily(
            "self1e_job_seconds", "Time that a worker took for a job.", labels=["queue"]
        )
        bounds = [*map(str, RUN_SECONDS_BOUNDS), "+Inf"]
        for name, totals in job_totals(self._queue).items():
            ended.add_metric([name, "finished"], totals.finished)
            ended.add_metric([name, "failed"], totals.failed)
            counts = accumulate(totals.ran_within)
            seconds.add_metric([name], list(zip(bounds, counts, strict=True)), totals.ran_seconds)
        yield ended
        yield seconds

    def _workers(self) -> Iterator[Metric]:
        states = [worker.state for worker in read_workers(self._queue)]
        workers = GaugeMetricFamily("self1e_workers", "Workers by state.", labels=["state"])
        for state in WORKER_STATES:
            workers.add_metric([state], states.count(state))
        yield workers
