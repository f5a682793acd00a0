"""The one door for every backend: a command in, a recorded run and its outcome out."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import psycopg
import structlog

from catalog import tick
from catalog.database import FILES_LOCK, SYNC_LOCK, advisory_lock
from catalog.errors import CatalogError, RepositoryGone, StoreUnavailable
from catalog.jobs import CleanUpRepository, FetchFiles, Job, SyncRepository, to_argv
from catalog.report import Report
from catalog.tick import Stored
from worker.process import Worker
from worker.sync import sync

log = structlog.get_logger()
Work = Callable[[Stored, int, Report], Awaitable[None]]


class InternalError(CatalogError):
    """A defect of ours: said in the run, traced in the log."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended. `state` is done, failed or skipped (somebody else does it, or did)."""

    job: str
    repository: str
    state: str
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
        outcome = await _do(worker, job, run_id)
    except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
        raise StoreUnavailable("the database has no schema of ours yet: run `python -m migrations`") from None
    except psycopg.OperationalError as error:
        raise StoreUnavailable(f"PostgreSQL went away: {str(error).strip()}") from None
    finally:
        structlog.contextvars.unbind_contextvars("repository", "job", "run")
    return outcome


def verb(job: Job) -> str:
    return to_argv(job)[0]


async def _do(worker: Worker, job: Job, run_id: int | None) -> Outcome:
    match job:
        case SyncRepository():

            async def work(stored: Stored, number: int, report: Report) -> None:
                await sync(worker, job, stored, number, report)

            return await _on_repository(worker, job, run_id, SYNC_LOCK, work)
        case FetchFiles():
            from worker.files import fetch_files  # noqa: PLC0415 - brings SQLAlchemy, which an unchanged run does without

            async def work(stored: Stored, number: int, report: Report) -> None:
                await fetch_files(worker, job, stored, number, report)

            return await _on_repository(worker, job, run_id, FILES_LOCK, work)
        case CleanUpRepository():
            from worker.cleanup import clean_up  # noqa: PLC0415 - the same

            return await _clean_up(worker, job, run_id, clean_up)


async def _on_repository(worker: Worker, job: SyncRepository | FetchFiles, run_id: int | None, lock: int, work: Work) -> Outcome:
    asked = job.repository
    try:
        async with worker.connection.transaction():
            stored = await tick.open_repository(worker.connection, job.key, asked.type, asked.url, job.incarnation)
    except RepositoryGone as error:
        log.info("refused", action="refuse", reason=str(error))
        return Outcome(verb(job), str(job.key), "skipped", run_id, error=error)
    async with advisory_lock(worker.connection, lock, stored.id) as had:
        if not had:
            log.info("somebody else is at it", action="skip")
            return Outcome(verb(job), str(job.key), "skipped", run_id)
        return await _recorded(worker, job, run_id, stored, work)


async def _recorded(worker: Worker, job: SyncRepository | FetchFiles, run_id: int | None, stored: Stored, work: Work) -> Outcome:
    number = await _begin(worker, job, run_id, stored.id)
    if number is None:
        return Outcome(verb(job), str(job.key), "skipped", run_id)
    report = Report()
    async with failures(worker, number, stored.id, report) as failed:
        await work(stored, number, report)
    error = failed[0] if failed else None
    state = "failed" if error else "done"
    log.info(
        f"{verb(job)} {state}", action=state, run=number, result=report.result, charts=report.charts, versions=report.versions,
        added=report.added, changed=report.changed, removed=report.removed, notes=report.notes_total, requests=report.requests,
        bytes=report.bytes, phases=report.phases, **({"reason": error.reason, "error": str(error)} if error else {}),
    )  # fmt: skip
    return Outcome(verb(job), str(job.key), state, number, report, error)


async def _clean_up(
    worker: Worker, job: CleanUpRepository, run_id: int | None, clean_up: Callable[[Worker, CleanUpRepository], Awaitable[bool]]
) -> Outcome:
    number = await _begin(worker, job, run_id, None)
    if number is None:
        return Outcome("delete", str(job.key), "skipped", run_id)
    report = Report()
    async with failures(worker, number, None, report) as failed:
        report.result = "changed" if await clean_up(worker, job) else "unchanged"
        async with worker.connection.transaction():
            await tick.finish_run(worker.connection, number, report)
    state = "failed" if failed else "done"
    log.info(f"delete {state}", action=state, run=number, result=report.result)
    return Outcome("delete", str(job.key), state, number, report, failed[0] if failed else None)


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
    except psycopg.OperationalError:
        raise
    except CatalogError as error:
        failed.append(error)
    except Exception as error:
        if isinstance(cause := getattr(error, "orig", None), psycopg.OperationalError):  # as SQLAlchemy wraps it
            raise cause from None
        log.exception("a defect", action="defect")
        failed.append(InternalError(f"a defect in Chartfleet ({type(error).__name__}); the worker's log has the trace"))
    if failed and not isinstance(failed[0], StoreUnavailable):
        async with worker.connection.transaction():
            await tick.fail_run(worker.connection, number, repository, failed[0], report)
