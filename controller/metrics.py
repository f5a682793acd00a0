"""What the controller counts, under the names of docs/controller.md. One registry a process, made at its start."""

from collections import Counter as Tally
from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from controller.seen import Seen
from controller.workqueue import WorkQueue


class Metrics:
    """Counters that are written as things happen."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.reconciles = Counter("chartfleet_reconciles", "Looks at a repository, by how they ended", ["result"], registry=self.registry)
        self.reconcile = Histogram("chartfleet_reconcile_seconds", "What a look takes", registry=self.registry)
        self.watched = Counter("chartfleet_watch_events", "What the watches said, by resource", ["resource"], registry=self.registry)


class Standings(Collector):
    """Gauges that are read when somebody asks: the queue, and how many repositories have which condition."""

    def __init__(self, seen: Seen, queue: WorkQueue) -> None:
        self._seen, self._queue = seen, queue

    def collect(self) -> Iterable[Metric]:
        yield GaugeMetricFamily("chartfleet_queue_depth", "Repositories that wait for a look", len(self._queue.ready))
        yield GaugeMetricFamily("chartfleet_queue_oldest_seconds", "How long the first of them has waited", self._queue.oldest())
        found = GaugeMetricFamily("chartfleet_repositories", "Resources by condition and its status", labels=["condition", "status"])
        for (condition, status), count in sorted(Tally(self._conditions()).items()):
            found.add_metric([condition, status], count)
        yield found

    def _conditions(self) -> Iterator[tuple[str, str]]:
        for resource in self._seen.repositories.objects.values():
            for each in (resource.get("status") or {}).get("conditions") or ():
                yield each["type"], each["status"]
