"""k8s-at-home, a real index of 4 MB: the first sync with files, the unchanged ones, one added version."""

from collections import Counter
from pathlib import Path

from bench.figures import Figure, Measured
from bench.ground import DATA, Cost, Ground, Server, mean, serving
from bench.inputs import Growing, localized
from bench.workers import Fresh, Running, running
from catalog.jobs import FetchFiles, SyncRepository
from catalog.model import Repository, RepositoryKey

FIRST, UNCHANGED, HASHED, ADDED = (
    "first sync with files, k8s-at-home", "unchanged, ETag honoured", "unchanged, no validators", "one added version, running worker"
)  # fmt: skip
KEY = RepositoryKey("default", "k8s-at-home")


def k8s_at_home(ground: Ground, source: Path = DATA / "k8s-at-home/index.yaml", chart: str = "plex", times: int = 5) -> Measured:
    """`times`: runs of the short jobs, whose mean is told."""
    with serving(ground) as server:
        index = localized(source, ground.directory / "k8s.yaml", server.url)
        server.use(index)
        repository = Repository(KEY, "helm", server.url)
        figures = first(ground, server, repository)
        ground.settle()
        figures += unchanged_fresh(ground, server, repository, times)
        with running(ground.database) as worker:
            figures += unchanged_running(ground, server, repository, worker, 4 * times)
            figures += hashed(ground, index, worker, times)
            figures += added(ground, server, repository, worker, Growing(index, chart), times)
    return Measured(figures)


def first(ground: Ground, server: Server, repository: Repository) -> list[Figure]:
    server.reset()
    cost = ground.measure(Fresh(ground.database), SyncRepository(repository))
    status = server.status()
    return [
        Figure(FIRST, "CPU, ours + PostgreSQL", cost.total, 6.5, "s", f"{cost.cpu:.2f} + {cost.postgres:.2f}", "6.9 + 9.0 s"),
        Figure(FIRST, "WAL", cost.wal / 1e6, 12, "MB", kubeapps="34 MB"),
        Figure(FIRST, "requests for each distinct URL", *once(status), "×", requests_of(status), "356 for 178 icons"),
        Figure(FIRST, "memory", cost.memory, None, "MiB", kubeapps="138 MiB"),
        Figure(FIRST, "wall", cost.wall, None, "s", kubeapps="11.4 s"),
    ]


def unchanged_fresh(ground: Ground, server: Server, repository: Repository, times: int) -> list[Figure]:
    server.reset()
    cost = mean([ground.measure(Fresh(ground.database), SyncRepository(repository)) for _ in range(times)])
    return [
        Figure(UNCHANGED, "body bytes", sum(server.status()["bytes"].values()), 0, kubeapps="4.1 MB"),
        Figure(UNCHANGED, "CPU, fresh process", cost.cpu, 0.25, "s", with_postgres(cost), "0.04 + 0.01 s"),
        Figure(UNCHANGED, "memory, fresh process", cost.memory, 50, "MiB", kubeapps="54 MiB"),
    ]


def unchanged_running(ground: Ground, server: Server, repository: Repository, worker: Running, times: int) -> list[Figure]:
    job = SyncRepository(repository)
    ground.measure(worker, job)  # imports and connections
    cost = ground.measure(worker, *[job] * times)
    cpu, postgres = cost.cpu / times * 1000, cost.postgres / times * 1000
    return [
        Figure(UNCHANGED, "CPU, running worker", cpu, 3, "ms", f"and {postgres:.1f} in PostgreSQL"),
        Figure(UNCHANGED, "catalogue rows written", cost.rows.total(), 0),
    ]


def hashed(ground: Ground, index: Path, worker: Running, times: int) -> list[Figure]:
    """The same index from a server that offers neither ETag nor Last-Modified."""
    with serving(ground, "--no-validators") as server:
        server.use(index)
        job = SyncRepository(Repository(RepositoryKey("default", "without"), "helm", server.url, options={"files": "none"}))
        ground.measure(worker, job)
        server.reset()
        cost = mean([ground.measure(worker, job) for _ in range(times)])
        requests = server.status()["counts"]["requests"] / times
    return [
        Figure(HASHED, "requests", requests, 1, kubeapps="1"),
        Figure(HASHED, "catalogue rows written", cost.rows.total(), 0),
        Figure(HASHED, "CPU, running worker", cost.cpu * 1000, None, "ms", with_postgres(cost)),
    ]


def added(ground: Ground, server: Server, repository: Repository, worker: Running, index: Growing, times: int) -> list[Figure]:
    """The listing alone, by either reader; then all that one version brings: its archive, its provenance, a new icon."""
    sync, files = SyncRepository(repository), FetchFiles(repository)

    def listed(odd: bool) -> Cost:
        server.use(index.grow(odd=odd))
        cost = ground.measure(worker, sync)
        ground.measure(worker, files)
        return cost

    listed(odd=False)
    recognised, walked = (mean([listed(odd) for _ in range(times)]) for odd in (False, True))
    server.use(index.grow(icon=f"{server.url}/new"))
    server.reset()
    whole = ground.measure(worker, sync, files)
    status = server.status()
    return [
        Figure(ADDED, "CPU, recognised layout", recognised.cpu, 0.06, "s", with_postgres(recognised), "2.1 + 1.7 s"),
        Figure(ADDED, "CPU, full walk", walked.cpu, 0.3, "s", with_postgres(walked)),
        Figure(ADDED, "CPU in PostgreSQL", recognised.postgres * 1000, 8, "ms", kubeapps="1,700 ms"),
        Figure(ADDED, "requests", status["counts"]["requests"], 4, said=requests_of(status), kubeapps="180"),
        Figure(ADDED, "catalogue rows written", recognised.rows.total(), 8, said=told(recognised.rows)),
        Figure(ADDED, "the same with archive and icon", whole.rows.total(), None, said=told(whole.rows)),
        Figure(ADDED, "WAL", recognised.wal / 1e6, 0.3, "MB", f"{whole.wal / 1e6:.2f} with archive and icon", "8.3 MB"),
        Figure(ADDED, "CPU with archive and icon", whole.cpu, None, "s", with_postgres(whole)),
        Figure(ADDED, "memory of all of it", whole.memory, None, "MiB", kubeapps="133 MiB"),
    ]


def with_postgres(cost: Cost) -> str:
    return f"and {cost.postgres * 1000:.1f} ms in PostgreSQL"


def once(status: dict[str, dict[str, int]]) -> tuple[float, float]:
    """Requests for each distinct URL, and the bar."""
    return status["counts"]["requests"] / float(str(status["distinct"])), 1.0


def requests_of(status: dict[str, dict[str, int]]) -> str:
    counts = status["counts"]
    return " + ".join(f"{counts[kind]:,} {kind}" for kind in ("index", "archive", "prov", "icon") if counts.get(kind))


def told(rows: Counter[str]) -> str:
    return ", ".join(f"{table} {count:,}" for table, count in sorted(rows.items()))
