"""File work: the archives that a listing made due, read in memory, at most ten at once; what fails comes back by its own clock."""

import asyncio
import hashlib
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic
from urllib.parse import urlsplit

import psycopg
import structlog

from catalog import contents, store, tick
from catalog.contents import FileWork
from catalog.errors import CatalogError, SourceMalformed, SourceRefused, SourceUnavailable
from catalog.jobs import FetchFiles
from catalog.report import MOST_TEXT, Report
from catalog.tick import Stored
from worker.archive import MOST_PACKED, read_chart_files
from worker.credentials import credentials_for
from worker.http import Remote
from worker.process import Worker
from worker.sources.helm import archive_url

log = structlog.get_logger()
AT_ONCE = 10
BATCH = 40
LONGEST = 300.0  # seconds of one job; the rest is the next one's
SILENT = 5  # consecutive failures after which a host is left alone for this job
HOUR, DAY = 3_600.0, 86_400.0


@dataclass(frozen=True, slots=True)
class Fetched:
    """One archive's outcome: its files, or the error."""

    work: FileWork
    files: dict[str, tuple[bytes, bytes]]
    digest: str = ""
    error: CatalogError | None = None


async def fetch_files(worker: Worker, job: FetchFiles, stored: Stored, run: int, report: Report) -> None:
    """Read what is due, batch by batch, and record the run as done; what stops the whole job postpones all of it."""
    try:
        await _fetch_due(worker, job, stored, run, report)
    except Exception as error:
        if isinstance(getattr(error, "orig", error), psycopg.OperationalError):
            raise  # PostgreSQL's trouble says nothing of the archives
        reason, text = (error.reason, str(error)) if isinstance(error, CatalogError) else ("InternalError", type(error).__name__)
        async with worker.transaction() as connection:
            await contents.postpone_due(connection, stored.id, HOUR, reason, text[:MOST_TEXT])
        raise


async def _fetch_due(worker: Worker, job: FetchFiles, stored: Stored, run: int, report: Report) -> None:
    credentials = await credentials_for(job.repository, worker.settings)
    end, failures, done = monotonic() + LONGEST, Counter[str](), 0
    async with worker.http.remote(job.repository, credentials, report) as remote:
        while monotonic() < end and (batch := await _due(worker, stored)):
            fetched = await _fetch_batch(remote, batch, failures)
            await _record(worker, job, stored.id, fetched)
            done += sum(1 for each in fetched if each.error is None)
            async with worker.connection.transaction():
                await tick.set_phase(worker.connection, run, f"read {done:,} archives")
    report.result, report.added = "changed" if done else "unchanged", done
    async with worker.connection.transaction():
        await tick.finish_run(worker.connection, run, report)


async def _due(worker: Worker, stored: Stored) -> list[FileWork]:
    async with worker.transaction() as connection:
        return await contents.due_files(connection, stored.id, BATCH)


async def _fetch_batch(remote: Remote, batch: Sequence[FileWork], failures: Counter[str]) -> list[Fetched]:
    room = asyncio.Semaphore(AT_ONCE)

    async def one(work: FileWork) -> Fetched:
        async with room:
            return await _fetch(remote, work, failures)

    return await asyncio.gather(*(one(work) for work in batch))


async def _fetch(remote: Remote, work: FileWork, failures: Counter[str]) -> Fetched:
    host = ""
    try:
        if not work.urls:
            raise SourceMalformed("the index names no url for it")
        url = archive_url(remote.repository.url, work.urls[0])
        scheme, host = urlsplit(url).scheme, urlsplit(url).netloc.rpartition("@")[2]
        if failures[host] >= SILENT:
            raise SourceUnavailable(f"{host} did not answer {SILENT} times in a row; left alone for now")
        if scheme not in ("http", "https"):
            raise SourceRefused(f"{scheme}:// archives cannot be read yet")
        data = await remote.body(url, MOST_PACKED, "the archive")
        failures[host] = 0
        files = {name: (hashlib.sha256(content).digest(), content) for name, content in read_chart_files(data).items()}
        return Fetched(work, files, hashlib.sha256(data).hexdigest())
    except ValueError as error:
        return Fetched(work, {}, error=SourceMalformed(f"the listed url is none: {error}"))
    except CatalogError as error:
        failures[host] = failures[host] + 1 if isinstance(error, SourceUnavailable) else 0
        return Fetched(work, {}, error=error)
    except Exception as error:  # a defect of ours with this archive is no reason to leave the others
        log.exception("a defect", action="defect", chart=work.chart, version=work.version)
        return Fetched(
            work, {}, error=SourceMalformed(f"the archive cannot be read ({type(error).__name__}); the worker's log has the trace")
        )


async def _record(worker: Worker, job: FetchFiles, repository: int, fetched: Sequence[Fetched]) -> None:
    async with worker.transaction() as connection:
        await store.lock_repository(connection, repository)
        await contents.put_contents(connection, dict(content for each in fetched for content in each.files.values()))
        for each in fetched:
            if each.error is None:
                files = {name: sha256 for name, (sha256, _) in each.files.items()}
                await contents.put_files(connection, each.work, job.key.namespace, files, each.digest)
            else:
                wait = backoff(each.work.attempts, each.error, random.random())  # noqa: S311 - jitter, not a secret
                await contents.postpone_files(connection, [each.work.version_id], wait, each.error.reason, str(each.error)[:MOST_TEXT])


def backoff(attempts: int, error: CatalogError, chance: float) -> float:
    """Seconds until the next attempt, ± 20 %: a minute, doubled up to a day; at least what the remote asks; a day if a person must help."""
    wait = min(DAY, 60.0 * 2**attempts) if error.transient else DAY
    return max(wait * (0.8 + 0.4 * chance), getattr(error, "retry_after", None) or 0.0)
