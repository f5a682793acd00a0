"""Prometheus metrics: requests as they happen, the catalogue as it is when somebody asks."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from catalog.paging import Row


class Requests:
    """Requests of this process, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.total = Counter("chartfleet_http_requests", "Requests answered.", ("route", "status"), registry=self.registry)
        self.seconds = Histogram("chartfleet_http_request_seconds", "Time until the answer was sent.", ("route",), registry=self.registry)

    def observe(self, route: str, status: int, seconds: float) -> None:
        """Count one answered request."""
        self.total.labels(route, str(status)).inc()
        self.seconds.labels(route).observe(seconds)


def catalogue(totals: Row | None) -> bytes:
    """Gauges of what catalog.standing.totals found, or of PostgreSQL being away (None), as text."""
    registry = CollectorRegistry()
    Gauge("chartfleet_store_up", "1 while PostgreSQL answers.", registry=registry).set(totals is not None)
    if totals is not None:
        ready = Gauge("chartfleet_repositories", "Repositories by whether their newest sync succeeded.", ("ready",), registry=registry)
        ready.labels("true").set(totals["ready"])
        ready.labels("false").set(totals["repositories"] - totals["ready"])
        Gauge("chartfleet_charts", "Charts listed.", registry=registry).set(totals["charts"])
        Gauge("chartfleet_chart_versions", "Versions listed.", registry=registry).set(totals["versions"])
        Gauge("chartfleet_files_pending", "Archives still to be read.", registry=registry).set(totals["files_pending"])
        if totals["oldest_success"] is not None:
            age = "Time since the last success of the repository that has waited longest."
            Gauge("chartfleet_oldest_success_age_seconds", age, registry=registry).set(totals["oldest_success"])
    return generate_latest(registry)


def requests(measured: Requests) -> bytes:
    return generate_latest(measured.registry)
