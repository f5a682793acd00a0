"""All revisions of a real index, one sync each: what they cost against what really changed, and whether the end equals a fresh sync."""

import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import yaml

from bench.figures import Figure, Measured, markdown
from bench.ground import DATA, Cost, Ground, Server, serving_directory
from bench.workers import Running, running
from catalog.jobs import SyncRepository
from catalog.model import Repository, RepositoryKey

HISTORY = DATA / "history/eks.tar.xz"
COLUMNS = ("revision", "listed", "added", "changed", "removed", "of charts", "rows written", "CPU ms", "PostgreSQL ms", "WAL kB", "")

# What readers see of a repository: `created` and first_seen may differ, numbers of rows and of runs do, pieces are a cache.
VISIBLE = """
    select (to_jsonb(c) - array['id', 'repository_id', 'created', 'piece_rollup', 'pieces'])::text,
           jsonb_agg(to_jsonb(v) - array['id', 'chart_id', 'created', 'first_seen'] order by v.order_key, v.version)::text
    from chartfleet.repositories r join chartfleet.charts c on c.repository_id = r.id
    join chartfleet.chart_versions v on v.chart_id = c.id
    where r.name = %s and c.removed_at is null and v.removed_at is null group by c.id order by c.name
"""

Listing = dict[tuple[str, str], Any]  # entries without `created` by chart and version


@dataclass(frozen=True)
class Changes:
    """What differs between two listings, by version; and how many charts that concerns."""

    added: int
    changed: int
    removed: int
    charts: int

    @property
    def total(self) -> int:
        return self.added + self.changed + self.removed


@dataclass(frozen=True)
class Step:
    """One revision: what it lists, what really changed since the last one that was applied, what its sync cost."""

    name: str
    listed: int
    changes: Changes
    cost: Cost

    @property
    def held(self) -> bool:
        return self.cost.outcomes[0]["state"] == "failed"

    @property
    def rows(self) -> int:
        return self.cost.rows.total()

    @property
    def rows_a_change(self) -> float:
        """Of those that a changed version may cost: itself, its line in the ledger, its chart. The rest comes once a listing or an icon."""
        return sum(self.cost.rows[table] for table in ("chart_versions", "ledger", "charts")) / self.changes.total

    def cells(self) -> tuple[str, ...]:
        numbers = (self.listed, self.changes.added, self.changes.changed, self.changes.removed, self.changes.charts, self.rows)
        costs = (f"{self.cost.cpu * 1000:.0f}", f"{self.cost.postgres * 1000:.0f}", f"{self.cost.wal / 1000:.0f}")
        return self.name, *map(str, numbers), *costs, "held" if self.held else ""


def replay(ground: Ground, revisions: int | None = None) -> Measured:
    """The first `revisions` (None: all)."""
    options = {"files": "none"}
    with serving_directory(ground, DATA / "eks", "--history", str(HISTORY)) as server, running(ground.database) as worker:
        sync = SyncRepository(Repository(RepositoryKey("history", "replayed"), "helm", server.url, options=options))
        steps = list(stepped(ground, worker, sync, server, revisions))
        fresh = SyncRepository(Repository(RepositoryKey("history", "fresh"), "helm", server.url, options=options))
        ground.measure(worker, fresh)
        differing = len(set(ground.query(VISIBLE, "replayed")) ^ set(ground.query(VISIBLE, "fresh")))
    return Measured(figures(steps, differing), {"replay.md": markdown(COLUMNS, [step.cells() for step in steps])})


def figures(steps: Sequence[Step], differing: int) -> list[Figure]:
    work = f"replay of {len(steps)} revisions of eks"
    busy, idle = ([step for step in steps if bool(step.changes.total) == real and not step.held] for real in (True, False))
    changed = sum(step.changes.total for step in busy)
    said = f"{sum(step.rows for step in busy):,} rows for {changed:,} changed versions in {len(busy)} revisions"
    cpu, postgres = (sum(getattr(step.cost, name) for step in steps) for name in ("cpu", "postgres"))
    return [
        Figure(work, "charts that differ from a fresh sync of the last", differing, 0),
        Figure(work, "rows a changed version, the most of any revision", max(step.rows_a_change for step in busy), 3, "×", said),
        Figure(work, f"rows of the {len(idle)} revisions without a change, the most", max((step.rows for step in idle), default=0), 1),
        Figure(work, "CPU, ours + PostgreSQL", cpu + postgres, None, "s", f"{cpu:.2f} + {postgres:.2f}"),
    ]


def stepped(ground: Ground, worker: Running, sync: SyncRepository, server: Server, revisions: int | None) -> Iterator[Step]:
    """A sync of each revision in order; a held one changes nothing, so the next is compared with the one before it."""
    applied: Listing = {}
    for number, (name, listing) in enumerate(islice(history(), revisions), 1):
        server.turn(number)
        step = Step(name, len(listing), changes(applied, listing), ground.measure(worker, sync))
        yield step
        applied = applied if step.held else listing


def history() -> Iterator[tuple[str, Listing]]:
    """Each revision's name and entries, read by other means than ours."""
    with tarfile.open(HISTORY) as archive:
        for member in archive:
            if member.name.endswith(".yaml"):
                file = archive.extractfile(member)
                assert file
                yield member.name.removesuffix(".yaml"), listing_of(yaml.load(file, Loader=yaml.CSafeLoader))


def listing_of(index: dict[str, Any]) -> Listing:
    """Of versions that stand twice, the one with the newest `created`, as in the product."""
    listing: Listing = {}
    for chart, versions in index["entries"].items():
        for version in sorted(versions, key=lambda version: str(version.get("created"))):
            listing[chart, str(version["version"])] = {name: value for name, value in version.items() if name != "created"}
    return listing


def changes(before: Listing, now: Listing) -> Changes:
    added, removed = now.keys() - before.keys(), before.keys() - now.keys()
    changed = {key for key in now.keys() & before.keys() if now[key] != before[key]}
    return Changes(len(added), len(changed), len(removed), len({chart for chart, _ in added | changed | removed}))
