"""What every backend owes the plan: applying twice is applying once, a request is one run, a removal drops before it cleans up."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from catalog.engine import pooled_engine
from catalog.jobs import CleanUpRepository
from catalog.model import Repository, RepositoryKey
from catalog.schedule import Every
from controller.backends.celery import CeleryBackend
from controller.desired import Desired
from controller.plan import EnsureSchedule, Remove, RunNow, plan
from tests.conftest import Database

KEY = RepositoryKey("default", "a")
WANTED = Desired(Repository(KEY, "helm", "http://x"), Every(timedelta(hours=1)), "f1", "l1", "test")


@pytest.fixture
async def engine(database: Database) -> AsyncIterator[AsyncEngine]:
    engine = pooled_engine(database.writer, "chartfleet_writer", "test")
    yield engine
    await engine.dispose()


async def test_what_was_applied_needs_nothing_more(engine: AsyncEngine) -> None:
    backend = CeleryBackend(engine)
    await backend.apply(plan(WANTED, None, backend.mark(WANTED), "i"))
    applied = await backend.applied("test")
    assert plan(WANTED, applied[KEY], backend.mark(WANTED), "other") == ()
    assert await backend.owner(KEY) == "test"
    assert await backend.applied("another source") == {}


async def test_applying_twice_is_applying_once(engine: AsyncEngine, database: Database) -> None:
    backend = CeleryBackend(engine)
    for _ in range(2):
        await backend.apply((EnsureSchedule(WANTED, "i"), RunNow(WANTED)))
    assert database.rows("select count(*), count(requested_at) from chartfleet.schedules") == [(1, 1)]


async def test_a_removal_drops_the_schedule_and_queues_one_clean_up(engine: AsyncEngine, database: Database) -> None:
    backend = CeleryBackend(engine)
    await backend.apply(plan(WANTED, None, backend.mark(WANTED), "i"))
    await backend.apply((Remove(CleanUpRepository(KEY, "i")),))
    assert await backend.applied("test") == {}
    assert database.rows("select job, state, argv from chartfleet.sync_runs") == [
        ("delete", "queued", ["delete", "a", "--namespace=default", "--option=incarnation=i"])
    ]
