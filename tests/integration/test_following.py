"""What a controller sees of the fleet's runs."""

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog import following
from catalog.following import Watched
from catalog.model import RepositoryKey
from tests.conftest import Database
from tests.integration.conftest import Syncer
from tests.integration.rows import Rows

DEMO, SLOW = RepositoryKey("default", "demo"), RepositoryKey("default", "slow")


@pytest.fixture
def fleet(rows: Rows) -> Rows:
    for name in ("demo", "slow"):
        rows.repository(name)
    return rows


def end(rows: Rows, run: int, state: str = "done") -> None:
    rows.connection.execute("update chartfleet.sync_runs set state = %s, finished_at = now() where id = %s", (state, run))


async def look(connection: AsyncConnection, before: Watched | None) -> tuple[set[RepositoryKey], Watched]:
    found = await following.ended_since(connection, before)
    await connection.commit()
    return found


async def test_each_run_that_ends_is_told_once(fleet: Rows, writer: AsyncConnection) -> None:
    fleet.run(1, "done", "demo")
    told, watched = await look(writer, None)
    assert told == set()  # what ended before the first look is seen by looking at everything
    run = fleet.run(1, "running", "demo")
    told, watched = await look(writer, watched)
    assert told == set()
    end(fleet, run)
    told, watched = await look(writer, watched)
    assert told == {DEMO}
    told, watched = await look(writer, watched)
    assert told == set()


async def test_a_run_that_begins_and_ends_between_two_looks_is_told(fleet: Rows, writer: AsyncConnection) -> None:
    _, watched = await look(writer, None)
    fleet.run(1, "failed", "demo")
    fleet.run(1, "done", "demo", job="files")
    fleet.run(2, "done", "slow", job="files")
    assert (await look(writer, watched))[0] == {DEMO}


async def test_a_run_is_told_after_any_number_of_others(fleet: Rows, writer: AsyncConnection) -> None:
    slow = fleet.run(2, "queued", "slow")
    _, watched = await look(writer, None)
    for _ in range(3):
        fleet.run(1, "done", "demo")
        told, watched = await look(writer, watched)
        assert told == {DEMO}
    fleet.connection.execute(
        """insert into chartfleet.sync_runs (repository_id, namespace, name, job, cause, argv, state, finished_at)
           select 1, 'default', 'demo', 'sync', 'schedule', '{}', 'done', now() from generate_series(1, 2000)"""
    )
    _, watched = await look(writer, watched)
    end(fleet, slow, "failed")
    assert (await look(writer, watched))[0] == {SLOW}


async def test_a_followed_sync_says_what_its_termination_message_would(syncer: Syncer, writer: AsyncConnection, database: Database) -> None:
    outcome = await syncer.sync(b"entries:\n  app:\n  - {version: 1.0.0, urls: [u]}\n  odd:\n  - {version: one}\n")
    newest = (await following.syncs(writer, DEMO)).newest
    assert newest
    assert (newest.run, newest.state, newest.result, newest.charts, newest.versions, newest.notes) == (
        outcome.run,
        "done",
        "changed",
        1,
        1,
        1,
    )
    [(revision,)] = database.rows("select 'sha256:' || encode(body_sha256, 'hex') from chartfleet.repositories")
    assert newest.revision == revision
