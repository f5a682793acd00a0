"""The one door for every backend: a command in, a recorded run and its outcome out."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

import psycopg
import structlog

from catalog import tick
from catalog.database import FILES_LOCK, SYNC_LOCK, release_locks
from catalog.errors import CatalogError, Interrupted, LimitExceeded, RepositoryGone, SchemaMissing, StoreRefused, StoreUnavailable
from catalog.jobs import CleanUpRepository, FetchFiles, Job, SyncRepository, to_argv
from catalog.options import setting
from catalog.report import Report, State
from catalog.tick import Stored
from worker.process import Worker
from worker.sync import sync

log = structlog.get_logger()
Recorded = Callable[[int, Report], Awaitable[None]]
OnStored = Callable[[Stored, int, Report], Awaitable[None]]


class InternalError(CatalogError):
    """A defect of ours: said in the run, traced in the log."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended. `state` is done, failed or skipped (somebody else does it, or did)."""

    job: str
    repository: str
    state: State
    run: int | None = None
    report: Report = field(default_factory=Report)
    error: CatalogError | None = None

    def document(self) -> dict[str, object]:
        """The run's JSON (docs/reference.md)."""
        error = self.error
        said = {"error_class": error.reason, "error": str(error), "transient": error.transient} if error else {}
        return {"run": self.run, "job": self.job, "repository": self.repository, "state": self.state, **self.report.document(), **said}


async def run(worker: Worker, job: Job, run_id: int | None = None) -> Outcome:
    """Do a job; its errors are in the outcome and in `sync_runs`. Raises StoreUnavailable when PostgreSQL goes away."""
    structlog.contextvars.bind_contextvars(repository=str(job.key), job=verb(job), run=run_id)
    try:
        async with answering():
            return await _do(worker, job, run_id)
    finally:
        structlog.contextvars.unbind_contextvars("repository", "job", "run")


@asynccontextmanager
async def answering() -> AsyncGenerator[None]:
    """What goes wrong between us and PostgreSQL, in our words. Raises StoreUnavailable."""
    try:
        yield
    except Exception as error:
        cause = getattr(error, "orig", error)  # below SQLAlchemy's own
        if isinstance(cause, psycopg.errors.UndefinedTable | psycopg.errors.InvalidSchemaName):
            raise SchemaMissing("the database has no schema of ours yet: run `python -m migrations`") from None
        if isinstance(cause, psycopg.OperationalError):
            raise StoreUnavailable(f"PostgreSQL went away: {str(cause).strip()}") from None
        raise


def verb(job: Job) -> str:
    return to_argv(job)[0]


async def _do(worker: Worker, job: Job, run_id: int | None) -> Outcome:
    match job:
        case SyncRepository():
            seconds = worker.settings.limits_for(job.repository).max_seconds
            return await _on_repository(worker, job, run_id, SYNC_LOCK, within(seconds, partial(sync, worker, job)))
        case FetchFiles():
            from worker.files import fetch_files  # noqa: PLC0415 - brings SQLAlchemy, which an unchanged run does without

            return await _on_repository(worker, job, run_id, FILES_LOCK, partial(fetch_files, worker, job))
        case CleanUpRepository():
            from worker.cleanup import clean_up  # noqa: PLC0415 - the same

            return await _recorded(worker, job, run_id, None, partial(clean_up, worker, job))


async def _on_repository(worker: Worker, job: SyncRepository | FetchFiles, run_id: int | None, lock: int, work: OnStored) -> Outcome:
    """Work on a repository's row, alone."""
    try:
        async with _locked(worker, job, lock) as stored:
            if stored:
                return await _recorded(worker, job, run_id, stored.id, partial(work, stored))
    except RepositoryGone as error:
        log.info("refused", action="refuse", reason=str(error))
        return Outcome(verb(job), str(job.key), "skipped", run_id, error=error)
    log.info("somebody else is at it", action="skip")
    return Outcome(verb(job), str(job.key), "skipped", run_id)


@asynccontextmanager
async def _locked(worker: Worker, job: SyncRepository | FetchFiles, kind: int) -> AsyncGenerator[Stored | None]:
    """The repository as it stands under its lock, made when absent; None when somebody else has the lock. Raises RepositoryGone."""
    connection, asked, had = worker.connection, job.repository, None
    try:
        async with connection.transaction():
            had = await tick.try_lock(connection, job.key, kind)  # first: what is read after it is what the last one left
            stored = await tick.open_repository(connection, job.key, asked.type, asked.url, job.incarnation)
            if had is None:
                had = await tick.try_lock(connection, job.key, kind)
        yield stored if had else None
    finally:
        if had and not connection.closed:
            await release_locks(connection)


def within(seconds: float, work: OnStored) -> OnStored:
    """The same work; it raises LimitExceeded when it takes longer, and its transaction is rolled back."""

    async def limited(stored: Stored, run: int, report: Report) -> None:
        limit = asyncio.timeout(seconds)
        try:
            async with limit:
                await work(stored, run, report)
        except TimeoutError:
            if not limit.expired():
                raise
            raise LimitExceeded(f"the sync was not done after {seconds:g} s ({setting('max_seconds')})") from None

    return limited


async def _recorded(worker: Worker, job: Job, run_id: int | None, repository: int | None, work: Recorded) -> Outcome:
    """Work under a run's number. The work records its own success, with what it writes; its failure is recorded here."""
    number = await _begin(worker, job, run_id, repository)
    if number is None:
        return Outcome(verb(job), str(job.key), "skipped", run_id)
    report = Report()
    async with failures(worker, number, repository, report) as failed:
        await work(number, report)
    outcome = Outcome(verb(job), str(job.key), "failed" if failed else "done", number, report, failed[0] if failed else None)
    said = {name: value for name, value in outcome.document().items() if name not in ("run", "job", "repository", "state", "notes")}
    log.info(f"{outcome.job} {outcome.state}", action=outcome.state, run=number, **said)
    return outcome


async def _begin(worker: Worker, job: Job, run_id: int | None, repository: int | None) -> int | None:
    """The run's number, or None when it is over already."""
    async with worker.connection.transaction():
        if run_id is None:
            return await tick.begin_run(worker.connection, repository, job.key, verb(job), to_argv(job), worker.name)
        if await tick.resume_run(worker.connection, run_id, worker.name):
            return run_id
    log.info("this run is over", action="skip")
    return None


@asynccontextmanager
async def failures(worker: Worker, number: int, repository: int | None, report: Report) -> AsyncGenerator[list[CatalogError]]:
    """Record what goes wrong inside as the run's failure; PostgreSQL's going away is the caller's."""
    failed: list[CatalogError] = []
    try:
        yield failed
    except CatalogError as error:
        failed.append(error)
    except asyncio.CancelledError:
        if task := asyncio.current_task():
            task.uncancel()
        failed.append(Interrupted("the job was told to stop before it was done; what it had published stays"))
    except Exception as error:
        cause = getattr(error, "orig", error)  # below SQLAlchemy's own
        if isinstance(cause, psycopg.OperationalError):
            if worker.connection.broken:
                raise cause from None
            failed.append(StoreRefused(str(cause).splitlines()[0], cause.sqlstate or ""))
        else:
            log.exception("a defect", action="defect")
            failed.append(InternalError(f"a defect in Chartfleet ({type(error).__name__}); the worker's log has the trace"))
    if failed and not isinstance(failed[0], StoreUnavailable):
        connection = await worker.connected()
        async with connection.transaction():
            await tick.fail_run(connection, number, repository, failed[0], report)
