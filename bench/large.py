"""The synthetic index of 69 MB: 10,000 charts with ten versions each; no archives are wanted."""

from dataclasses import replace

from bench.at_home import with_postgres
from bench.figures import Figure, Measured
from bench.ground import Cost, Ground, mean, serving
from bench.inputs import Growing, synthetic
from bench.workers import running
from catalog.jobs import SyncRepository
from catalog.model import Repository, RepositoryKey

WORK = "synthetic 69 MB, files off"


def large(ground: Ground, charts: int = 10_000, times: int = 3) -> Measured:
    """`times`: runs with one added version, by each reader, whose mean is told."""
    with serving(ground) as server, running(ground.database) as worker:
        index = Growing(synthetic(ground.directory / "large.yaml", charts, server.url), "chart-00007")
        sync = SyncRepository(Repository(RepositoryKey("default", "large"), "helm", server.url, options={"files": "none"}))
        ground.measure(worker, sync)  # of nothing: imports, and the fork server's start
        server.use(index.path)
        first = ground.measure(worker, sync)
        ground.settle()
        unchanged = ground.measure(worker, sync)
        costs = {False: [], True: []}
        for odd in (False, True) * times:
            server.use(index.grow(odd=odd))
            costs[odd].append(ground.measure(worker, sync))
        recognised, walked = mean(costs[False]), mean(costs[True])
        ground.settle()
        server.use(synthetic(ground.directory / "beside.yaml", charts // 3, server.url))
        beside = ground.measure(worker, SyncRepository(replace(sync.repository, key=RepositoryKey("default", "beside"))))
    most = max(cost.memory for cost in (first, unchanged, recognised, walked))
    return Measured(
        [
            Figure(WORK, "first: CPU", first.cpu, 7.5, "s", f"and {first.postgres:.2f} s in PostgreSQL", "72 + 72 s"),
            Figure(WORK, "first: WAL", first.wal / 1e6, None, "MB", kubeapps="32 MB"),
            Figure(WORK, "unchanged: CPU", unchanged.cpu, None, "s", with_postgres(unchanged), "0.22 + 0.03 s"),
            Figure(WORK, "one added: CPU, recognised layout", recognised.cpu, 1.0, "s", with_postgres(recognised), "33 + 38 s"),
            Figure(WORK, "one added: CPU, full walk", walked.cpu, 5.5, "s", with_postgres(walked)),
            Figure(WORK, "one added: WAL", recognised.wal / 1e6, None, "MB", kubeapps="28 MB"),
            Figure(WORK, "one added: catalogue rows written", recognised.rows.total()),
            Figure(
                WORK, "first of a third as many beside it: CPU in PostgreSQL a chart, against that of the first", *a_chart(beside, first)
            ),
            Figure(WORK, "memory, the most of all of these", most, 120, "MiB", kubeapps="1,749 MiB"),
        ]
    )


def a_chart(beside: Cost, first: Cost) -> tuple[float, float, str, str]:
    """How the second first sync's share compares with the first's: figure, bar, unit, and the seconds.

    The planner's statistics know the first repository and nothing of the second, which is when a plan may turn out quadratic.
    """
    return 3 * beside.postgres / first.postgres, 2, "×", f"{beside.postgres:.2f} s against {first.postgres:.2f}"
