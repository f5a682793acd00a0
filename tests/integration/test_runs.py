"""Schedules become runs, runs become messages, and what a dead worker left comes back: the SQL of the fleet."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from catalog import runs
from catalog.database import SYNC_LOCK
from catalog.engine import pooled_engine
from catalog.model import RepositoryKey
from catalog.schedule import Every
from tests.conftest import Database

NOW = datetime.now(UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
async def engine(database: Database) -> AsyncIterator[AsyncEngine]:
    engine = pooled_engine(database.writer, "chartfleet_writer", "test")
    yield engine
    await engine.dispose()


async def put(engine: AsyncEngine, name: str, **changes: object) -> RepositoryKey:
    key = RepositoryKey("default", name)
    values = {"type": "helm", "url": "http://x", "source": "test", "incarnation": "i", "argv": ["sync", name], "fingerprint": "f"}
    planned = runs.Planned(key, schedule=Every(HOUR), **{**values, **changes})  # pyright: ignore[reportArgumentType]
    async with engine.begin() as connection:
        await runs.put_schedule(connection, planned, NOW)
    return key


async def claim(engine: AsyncEngine, now: datetime) -> int:
    async with engine.begin() as connection:
        return await runs.claim_due(connection, now, 100)


async def take(engine: AsyncEngine, most: int = 100) -> list[runs.Run]:
    async with engine.begin() as connection:
        return await runs.take_queued(connection, most)


async def test_a_due_schedule_becomes_one_run_and_its_next_tick_is_later(engine: AsyncEngine, database: Database) -> None:
    await put(engine, "a")
    assert await claim(engine, NOW) == 0
    assert await claim(engine, NOW + HOUR) == 1
    assert await claim(engine, NOW + HOUR) == 0
    [(due,)] = database.rows("select next_due_at from chartfleet.schedules")
    assert isinstance(due, datetime)
    assert NOW + HOUR < due <= NOW + 2 * HOUR


async def test_missed_ticks_collapse_into_one(engine: AsyncEngine, database: Database) -> None:
    await put(engine, "a")
    assert await claim(engine, NOW + 24 * HOUR) == 1
    assert database.rows("select count(*) from chartfleet.sync_runs") == [(1,)]


async def test_a_request_is_claimed_at_once_and_sent_before_scheduled_runs(engine: AsyncEngine) -> None:
    await put(engine, "a")
    await claim(engine, NOW + HOUR)
    key = await put(engine, "b")
    async with engine.begin() as connection:
        await runs.request_sync(connection, key)
    assert await claim(engine, NOW) == 1
    assert [(run.cause, run.repository) for run in await take(engine)] == [("request", "default/b"), ("schedule", "default/a")]


async def test_a_request_during_a_run_waits_for_its_end_and_is_not_lost(engine: AsyncEngine, database: Database) -> None:
    key = await put(engine, "a")
    await claim(engine, NOW + HOUR)
    async with engine.begin() as connection:
        await runs.request_sync(connection, key)
    assert await claim(engine, NOW) == 0
    database.rows("update chartfleet.sync_runs set state = 'done'")
    assert await claim(engine, NOW) == 1


async def test_two_schedulers_claim_each_tick_once(engine: AsyncEngine, database: Database) -> None:
    for n in range(20):
        await put(engine, f"r{n}")
    async with engine.begin() as one, engine.begin() as other:
        counts = await runs.claim_due(one, NOW + HOUR, 15), await runs.claim_due(other, NOW + HOUR, 15)
    assert counts == (15, 5)
    assert database.rows("select count(*), count(distinct repository_id) from chartfleet.sync_runs") == [(20, 20)]


async def test_only_what_workers_have_room_for_is_sent(engine: AsyncEngine) -> None:
    for n in range(10):
        await put(engine, f"r{n}")
    await claim(engine, NOW + HOUR)
    assert len(await take(engine, 6)) == 6
    assert await take(engine, 6) == []


async def test_a_suspended_repository_is_never_due_nor_asked_for(engine: AsyncEngine, database: Database) -> None:
    await put(engine, "a")
    await put(engine, "a", runnable=False)
    database.rows("update chartfleet.schedules set requested_at = now()")
    assert await claim(engine, NOW + 99 * HOUR) == 0


async def test_a_run_whose_lock_is_free_is_queued_again_and_one_that_holds_it_is_not(engine: AsyncEngine, database: Database) -> None:
    await put(engine, "dead")
    await put(engine, "alive")
    await claim(engine, NOW + HOUR)
    database.rows("update chartfleet.sync_runs set state = 'running', started_at = now() - interval '11 seconds', attempt = 1")
    [(alive,)] = database.rows("select id from chartfleet.repositories where name = 'alive'")
    with psycopg.connect(database.writer) as worker:
        worker.execute("select pg_advisory_lock(%s, %s)", (SYNC_LOCK, alive))
        async with engine.begin() as connection:
            assert await runs.recover(connection) == 1
    assert database.rows("select name, state from chartfleet.sync_runs order by name") == [("alive", "running"), ("dead", "queued")]


async def test_a_run_that_keeps_killing_its_worker_is_parked_with_its_reason(engine: AsyncEngine, database: Database) -> None:
    await put(engine, "poison")
    await claim(engine, NOW + HOUR)
    database.rows("update chartfleet.sync_runs set state = 'running', started_at = now() - interval '11 seconds', attempt = 5")
    async with engine.begin() as connection:
        await runs.recover(connection)
    assert database.rows("select state, error_class from chartfleet.sync_runs") == [("parked", "WorkerLost")]


async def test_what_was_sent_and_never_started_is_sent_again(engine: AsyncEngine, database: Database) -> None:
    await put(engine, "a")
    await claim(engine, NOW + HOUR)
    await take(engine)
    database.rows("update chartfleet.sync_runs set sent_at = now() - interval '3 minutes'")
    async with engine.begin() as connection:
        assert await runs.recover(connection) == 1
    assert len(await take(engine)) == 1


async def test_old_runs_are_forgotten_but_never_the_last_success(engine: AsyncEngine, database: Database) -> None:
    await put(engine, "a")
    database.rows("""
        insert into chartfleet.sync_runs (repository_id, namespace, name, job, cause, argv, state)
        select id, namespace, name, 'sync', 'command', '{}', case n when 1 then 'done' else 'failed' end
        from chartfleet.repositories, generate_series(1, 30) n""")
    async with engine.begin() as connection:
        await runs.forget_old_runs(connection, 10)
    assert database.rows("select state, count(*) from chartfleet.sync_runs group by state order by state") == [("done", 1), ("failed", 10)]


async def test_the_last_reading_keeps_its_notes_however_many_syncs_found_nothing_new(engine: AsyncEngine, database: Database) -> None:
    await put(engine, "a")
    database.rows("""
        insert into chartfleet.sync_runs (repository_id, namespace, name, job, cause, argv, state, notes)
        select id, namespace, name, 'sync', 'command', '{}', 'done', case n when 1 then '[]'::jsonb end
        from chartfleet.repositories, generate_series(1, 30) n""")
    async with engine.begin() as connection:
        await runs.forget_old_runs(connection, 10)
    assert database.rows("select count(*), count(notes) from chartfleet.sync_runs") == [(11, 1)]
