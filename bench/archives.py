"""Real archives: the 449 of eks, a first sync with all of their files; and whether memory grows with their number."""

from pathlib import Path
from typing import Any

import yaml

from bench.figures import Figure, Measured
from bench.ground import DATA, Cost, Ground, serving_directory
from bench.workers import Doer, Fresh, running
from catalog.jobs import FetchFiles, SyncRepository
from catalog.model import Repository, RepositoryKey

EKS, OTHERS = DATA / "eks", DATA / "rancher-partner-2021"
FEW = 100


def archives(ground: Ground, few: int = FEW, most: int | None = None) -> Measured:
    """`few` of the archives beside `most` (None: all)."""
    listed = count_of(index_of(EKS / "index.yaml"))
    number = min(most or listed, listed)
    with running(ground.database) as worker:
        read(ground, worker, OTHERS, few)  # imports, and the fork server's start
        warm = read(ground, worker, EKS, number)
    fresh = Fresh(ground.database)
    ground.anew()
    small = read(ground, fresh, EKS, few)
    ground.anew()
    all_of_them = read(ground, fresh, EKS, number)
    work = f"{number} archives of eks"
    return Measured(
        [
            Figure(work, "CPU, ours + PostgreSQL, running worker", warm.total, 1.2, "s", split(warm)),
            Figure(work, "CPU, ours + PostgreSQL, fresh process", all_of_them.total, None, "s", split(all_of_them)),
            Figure(work, f"memory against that of {few}", all_of_them.memory / small.memory, 1.1, "×", memories(all_of_them, small)),
            Figure(work, "WAL", warm.wal / 1e6, None, "MB"),
        ]
    )


def read(ground: Ground, doer: Doer, directory: Path, number: int) -> Cost:
    """The first sync of so many archives of a directory, evenly from all of them, and their file work."""
    index = index_of(directory / "index.yaml")
    number = min(number, count_of(index))
    path = ground.directory / f"{directory.name}-{number}.yaml"
    path.write_text(yaml.dump(thinned(index, number), Dumper=yaml.CSafeDumper))
    with serving_directory(ground, directory, "--index", str(path)) as server:
        repository = Repository(RepositoryKey("archives", directory.name), "helm", server.url)
        cost = ground.measure(doer, SyncRepository(repository), *([] if isinstance(doer, Fresh) else [FetchFiles(repository)]))
    [(stored,)] = ground.query(
        "select count(*) from chartfleet.version_files f join chartfleet.chart_versions v on v.id = f.version_id "
        "join chartfleet.charts c on c.id = v.chart_id join chartfleet.repositories r on r.id = c.repository_id where r.name = %s",
        directory.name,
    )
    assert stored == number, f"{stored} of {number} archives were read"
    return cost


def index_of(path: Path) -> dict[str, Any]:
    return yaml.load(path.read_bytes(), Loader=yaml.CSafeLoader)


def count_of(index: dict[str, Any]) -> int:
    return sum(map(len, index["entries"].values()))


def thinned(index: dict[str, Any], number: int) -> dict[str, Any]:
    """So many of the versions, evenly; without icons, which lie elsewhere."""
    every = [(chart, version) for chart, versions in index["entries"].items() for version in versions]
    entries: dict[str, list[dict[str, Any]]] = {}
    for place in range(number):
        chart, version = every[place * len(every) // number]
        entries.setdefault(chart, []).append({name: value for name, value in version.items() if name != "icon"})
    return {**index, "entries": entries}


def split(cost: Cost) -> str:
    return f"{cost.cpu:.2f} + {cost.postgres:.2f}"


def memories(all_of_them: Cost, small: Cost) -> str:
    return f"{all_of_them.memory:.0f} MiB against {small.memory:.0f}"
