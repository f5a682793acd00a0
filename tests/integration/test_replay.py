"""A real repository's past, revision by revision: the end is a fresh sync's, and what is written is what changed."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import yaml
from yaml.cyaml import CSafeLoader

from tests.conftest import LONG, missing
from tests.integration.catalogue import content
from tests.integration.conftest import KEY, Syncer
from tests.integration.history import HISTORY, revisions

Entries = Mapping[tuple[str, str], object]

# Of a bounded sample: the first, with the empty listing among them; some that only stamp anew; the last.
SAMPLE = {*range(12), *range(198, 204), *range(241, 247)}


@dataclass(frozen=True)
class Change:
    """What differs between two revisions but for `created`: how many versions, in how many charts; and how often `created` does."""

    versions: int
    charts: int
    stamps: int


def read(index: bytes) -> tuple[Entries, Mapping[tuple[str, str], object]]:
    """(chart, version) → its fields without `created`, and → `created`; of a version listed twice the newer, as Helm's tools write them."""
    entries: dict[tuple[str, str], object] = {}
    stamps: dict[tuple[str, str], object] = {}
    for chart, versions in yaml.load(index, CSafeLoader)["entries"].items():
        for entry in sorted(versions, key=lambda entry: str(entry.get("created"))):
            key = chart, str(entry["version"])
            stamps[key] = entry.pop("created", None)
            entries[key] = entry
    return entries, stamps


def change(before: bytes | None, after: bytes) -> Change:
    old, old_stamps = read(before) if before else ({}, {})
    new, new_stamps = read(after)
    differ = {key for key in old.keys() | new.keys() if old.get(key) != new.get(key)}
    stamps = sum(1 for key in old.keys() & new.keys() if old_stamps[key] != new_stamps[key])
    return Change(len(differ), len({chart for chart, _ in differ}), stamps)


async def test_a_replay_ends_as_a_fresh_sync_and_writes_what_changed(syncer: Syncer) -> None:
    if not HISTORY.exists():
        missing("the history of a real repository", "put its revisions beside the project, or sync one from day to day")
    before: bytes | None = None
    stamped = 0
    print(f"\n{'revision':>8} {'bytes':>8} {'versions':>8} {'created':>8} | {'rows':>5} {'charts':>6} {'ledger':>6}")
    for number, index in enumerate(revisions()):
        if number not in SAMPLE and not LONG:
            continue
        expected, rows = change(before, index), await written(syncer)
        await publish(syncer, index)
        after = await written(syncer)
        versions, charts, ledger = (after[table] - rows[table] for table in ("chart_versions", "charts", "ledger"))
        print(f"{number + 1:8} {len(index):8,} {expected.versions:8} {expected.stamps:8} | {versions:5} {charts:6} {ledger:6}")
        assert (versions, charts, ledger) == (expected.versions, expected.charts, expected.versions)
        stamped += expected.versions == 0 < expected.stamps
        before = index
    assert before
    assert stamped, "among them are revisions that only stamp anew"
    fresh = replace(syncer.job.repository, key=replace(KEY, name="fresh"))
    await syncer.sync(before, repository=fresh)
    assert content(syncer.database, "demo") == content(syncer.database, "fresh")


async def publish(syncer: Syncer, index: bytes) -> None:
    """A sync whose removals a person releases, should they be held, as those of the one empty revision are."""
    outcome = await syncer.sync(index)
    if outcome.error and outcome.error.reason == "RemovalsHeld":
        syncer.database.rows("update chartfleet.held_listings set released_at = now()")
        outcome = await syncer.sync()
    assert outcome.state == "done"


async def written(syncer: Syncer) -> dict[str, int]:
    """Rows inserted, updated and deleted so far, by table, with what the worker's connection has not yet told."""
    async with syncer.worker.connection.transaction():
        await syncer.worker.connection.execute("select pg_stat_force_next_flush()")
    rows = syncer.database.rows("""
        select relname, n_tup_ins + n_tup_upd + n_tup_del from pg_stat_user_tables where schemaname = 'chartfleet'""")
    return dict(rows)  # pyright: ignore[reportArgumentType]
