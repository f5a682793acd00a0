"""A worker as a process of the product has it, on a test's own database, and a repository that it may read."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from catalog import search
from catalog.engine import pooled_engine
from catalog.jobs import CleanUpRepository, FetchFiles, Job, SyncRepository
from catalog.model import Repository, RepositoryKey
from catalog.options import Limits
from tests.conftest import Database
from tests.fakes.helm_repo import HelmRepo, serving
from tests.integration.rows import Rows
from worker.process import Worker
from worker.run import Outcome, run
from worker.settings import Settings

KEY = RepositoryKey("default", "demo")


@pytest.fixture
def repo() -> Iterator[HelmRepo]:
    with serving(HelmRepo()) as served:
        yield served


@pytest.fixture
async def worker(database: Database) -> AsyncIterator[Worker]:
    opened = await Worker.open(Settings(database_url=database.writer, limits=Limits(max_index_bytes=20_000_000, timeout=5)))
    yield opened
    await opened.close()


class Syncer:
    """Runs jobs on one repository; `job` may be varied."""

    def __init__(self, worker: Worker, database: Database, repo: HelmRepo) -> None:
        self.worker, self.database, self.repo = worker, database, repo
        self.job = SyncRepository(Repository(KEY, "helm", repo.url))

    async def sync(self, index: bytes | None = None, **changes: object) -> Outcome:
        if index is not None:
            self.repo.index = index
        return await self.run(replace(self.job, **changes))  # pyright: ignore[reportArgumentType]

    async def files(self) -> Outcome:
        return await self.run(FetchFiles(self.job.repository))

    async def delete(self, incarnation: str = "") -> Outcome:
        return await self.run(CleanUpRepository(KEY, incarnation))

    async def run(self, job: Job) -> Outcome:
        return await run(self.worker, job)

    def visible(self) -> list[tuple[str, str, str | None]]:
        """(chart, version, digest) of what readers see."""
        return self.database.rows(  # pyright: ignore[reportReturnType]
            """
            select c.name, v.version, v.digest from chartfleet.charts c join chartfleet.chart_versions v on v.chart_id = c.id
            where c.removed_at is null and v.removed_at is null order by c.name, v.order_key desc, v.version desc"""
        )

    def last_run(self) -> dict[str, object]:
        [(row,)] = self.database.rows("select to_jsonb(r) from chartfleet.sync_runs r order by id desc limit 1")
        return row  # pyright: ignore[reportReturnType]


@pytest.fixture
def syncer(worker: Worker, database: Database, repo: HelmRepo) -> Syncer:
    return Syncer(worker, database, repo)


@pytest.fixture
def rows(database: Database) -> Iterator[Rows]:
    rows = Rows(database)
    yield rows
    rows.connection.close()


@pytest.fixture
async def engine(database: Database) -> AsyncIterator[AsyncEngine]:
    """The database as the API's role reaches it."""
    engine = pooled_engine(database.reader, "chartfleet_reader", "tests")
    yield engine
    await engine.dispose()


@pytest.fixture
async def writer(database: Database) -> AsyncIterator[AsyncConnection]:
    """A connection as the controller's role."""
    engine = pooled_engine(database.writer, "chartfleet_writer", "tests")
    async with engine.connect() as connection:
        yield connection
    await engine.dispose()


@pytest.fixture
async def connection(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """A transaction that sees every namespace."""
    async with search.seeing(engine, ("*",)) as connection:
        yield connection
