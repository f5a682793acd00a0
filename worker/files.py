"""File work: the icons and archives that a listing made due, at most ten requests at once; what fails comes back by its own clock.

Ten readers take from one queue and put what they find into one batch, which is stored in one transaction when it is full. So memory holds
a batch, ten small archives and one large one, however many are due.
"""

import asyncio
import random
from collections import Counter, deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from time import monotonic
from urllib.parse import urlsplit, urlunsplit

import psycopg
import structlog
from sqlalchemy.exc import SQLAlchemyError

from catalog import contents, icons, store, tick
from catalog.contents import FileWork, Postponed
from catalog.errors import CatalogError, InvalidRepository, LimitExceeded, SourceError, SourceMalformed, SourceRefused, SourceUnavailable
from catalog.jobs import FetchFiles
from catalog.model import Repository
from catalog.report import MOST_TEXT, Report
from catalog.tick import Stored
from worker.archive import MOST_PACKED
from worker.credentials import credentials_for
from worker.findings import Batch, HostSilent, backoff, found_in, most_hopeful, note_mismatch
from worker.http import Remote
from worker.icon_work import fetch_icons
from worker.process import Worker
from worker.sources.helm import archive_url

log = structlog.get_logger()
MODES = ("all", "latest", "none")
AT_ONCE = 10
PAGE = 2_000  # due archives known at once
SMALL = 1024 * 1024  # bytes of an archive beyond which it is received alone
MOST_PROVENANCE = 64 * 1024
LONGEST = 300.0  # seconds of one job; the rest is the next one's
LONGEST_ICONS = 60.0  # of these for icons, which come first: they are few
SILENT = 5  # consecutive failures after which a host's archives wait together
HOUR = 3_600.0


@dataclass(slots=True)
class FileRun:
    """One run: its queue, its batch and what it knows of hosts. `connection` guards the worker's one connection, `large` the memory."""

    worker: Worker
    job: FetchFiles
    repository: int
    number: int
    remote: Remote
    end: float
    batch: Batch
    chance: float  # for the jitter of all that is postponed: what fails together comes together, as one job
    total: int = 0
    done: int = 0
    said: float = 0.0
    queue: deque[FileWork] = field(default_factory=deque)
    last: FileWork | None = None  # that was put into the queue
    over: bool = False  # nothing is due behind it
    failures: Counter[str] = field(default_factory=Counter)
    silent: dict[str, float] = field(default_factory=dict)  # hosts that are left alone, and the seconds that their archives wait
    connection: asyncio.Lock = field(default_factory=asyncio.Lock)
    large: asyncio.Lock = field(default_factory=asyncio.Lock)


async def fetch_files(worker: Worker, job: FetchFiles, stored: Stored, run: int, report: Report) -> None:
    """Read what is due and record the run as done; what stops the whole job postpones all of it."""
    try:
        await _fetch_due(worker, job, stored, run, report)
    except Exception as error:
        if isinstance(getattr(error, "orig", error), psycopg.OperationalError):
            raise  # PostgreSQL's trouble says nothing of the archives
        reason, text = (error.reason, str(error)) if isinstance(error, CatalogError) else ("InternalError", type(error).__name__)
        async with worker.transaction() as connection:
            await contents.postpone_due(connection, stored.id, HOUR, reason, text[:MOST_TEXT])
            await icons.postpone_due(connection, stored.id, HOUR, reason, text[:MOST_TEXT])
        raise


async def _fetch_due(worker: Worker, job: FetchFiles, stored: Stored, number: int, report: Report) -> None:
    mode, start, chance = files_mode(job.repository), monotonic(), random.random()  # noqa: S311 - jitter, not a secret
    credentials = await credentials_for(job.repository, worker.secrets)
    async with worker.http.remote(job.repository, credentials, report, look=stored.hosts_in_trouble) as remote:
        run = FileRun(worker, job, stored.id, number, remote, start + min(LONGEST, remote.limits.max_seconds), Batch(start), chance)
        async with worker.transaction() as connection:
            if mode != "all":  # what a listing made due, whatever is wanted
                await store.lock_repository(connection, stored.id)
                await contents.want_files(connection, stored.id, job.key.namespace, mode)
            run.total = await contents.count_due(connection, stored.id)
        came = await fetch_icons(worker, remote, stored, report, start + LONGEST_ICONS)
        await _read_all(run)
    report.result = "changed" if report.added or came else "unchanged"
    async with worker.transaction() as connection:
        if await contents.tidy(connection):
            await icons.sweep_icons(connection)
    async with worker.connection.transaction():
        await tick.finish_run(worker.connection, number, report)


async def _read_all(run: FileRun) -> None:
    """Ten readers on one queue; the first error ends all of them."""
    try:
        await _say(run)
        async with asyncio.TaskGroup() as readers:
            for _ in range(min(AT_ONCE, run.total)):
                readers.create_task(_read_on(run))
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    await _store(run)


async def _read_on(run: FileRun) -> None:
    while work := await _next(run):
        await _read(run, work)
        run.done += 1
        await _say(run)


async def _next(run: FileRun) -> FileWork | None:
    """The next archive to read, or None at the end of the work or the time."""
    async with run.connection:
        if monotonic() > run.end:
            return None
        if not run.queue and not run.over:
            async with run.worker.transaction() as connection:
                run.queue.extend(await contents.due_files(connection, run.repository, run.last, PAGE))
            run.over = len(run.queue) < PAGE
            run.last = run.queue[-1] if run.queue else None
        return run.queue.popleft() if run.queue else None


async def _make_room(run: FileRun) -> None:
    """Store the batch if it is full. What follows without an `await` finds room in it."""
    while run.batch.is_full(monotonic()):
        async with run.connection:
            if run.batch.is_full(monotonic()):  # nobody was faster
                await _store(run)


async def _store(run: FileRun) -> None:
    """Store the batch in one transaction; readers go on into a new one."""
    batch, run.batch = run.batch, Batch(monotonic())
    async with run.worker.transaction() as connection:
        await store.lock_repository(connection, run.repository)
        if batch.read:
            await contents.put_contents(connection, batch.contents)
            run.remote.report.added += await contents.put_files(connection, run.job.key.namespace, batch.read)
        if batch.failed:
            await contents.postpone_files(connection, batch.failed)


async def _say(run: FileRun) -> None:
    """The run's progress, at most once a second."""
    if monotonic() - run.said < 1.0 or not run.total:
        return
    run.said = monotonic()
    async with run.connection, run.worker.connection.transaction():
        await tick.set_phase(run.worker.connection, run.number, f"enriching {run.done:,}/{max(run.done, run.total):,}")


async def _read(run: FileRun, work: FileWork) -> None:
    """Read one archive, from the first of its urls that offers it, into the batch; or postpone it."""
    errors: list[CatalogError] = []
    try:
        for url in work.urls:
            try:
                await _read_from(run, work, resolved(run.job.repository, url))
            except (SourceError, LimitExceeded) as error:
                errors.append(error)
            else:
                return
        error = most_hopeful(errors)
    except (CatalogError, psycopg.Error, SQLAlchemyError):
        raise  # of the repository, or of a batch that was stored on the way
    except Exception as defect:  # a defect of ours with this archive is no reason to leave the others
        log.exception("a defect", action="defect", chart=work.chart, version=work.version)
        error = SourceMalformed(f"the archive cannot be read ({type(defect).__name__}); the worker's log has the trace")
    await _make_room(run)
    wait = backoff(work.attempts, error, run.chance)
    run.batch.add(Postponed(work, wait, error.reason, str(error)[:MOST_TEXT], getattr(error, "asked", True)))


async def _read_from(run: FileRun, work: FileWork, url: str) -> None:
    host = host_of(url)
    if host in run.silent:
        raise HostSilent(f"{host} did not answer {SILENT} times in a row; its archives wait together", run.silent[host], asked=False)
    try:
        async with _received(run, url) as packed:
            run.failures[host] = 0
            run.silent.pop(host, None)
            signed = await _signed(run, url) if work.newest else None
            await _make_room(run)
            found = found_in(work, packed, signed)
            run.batch.add(found)
    except SourceUnavailable as error:
        run.failures[host] += 1
        if run.failures[host] == SILENT:
            run.silent[host] = backoff(work.attempts, error, run.chance)
        raise
    note_mismatch(run.remote.report, found.archive)


@asynccontextmanager
async def _received(run: FileRun, url: str) -> AsyncGenerator[bytes]:
    """An archive's bytes. Large ones are received and worked on one at a time, lest ten of them be in memory together."""
    pieces: list[bytes] = []
    size, alone = 0, False
    try:
        async with run.remote.get(url, {"Accept-Encoding": "identity"}) as answer:  # a .tgz is packed as it is
            async for piece in answer.pieces(MOST_PACKED, "the archive"):
                pieces.append(piece)
                size += len(piece)
                if size > SMALL and not alone:
                    alone = await run.large.acquire()
        yield b"".join(pieces)
    finally:
        if alone:
            run.large.release()


async def _signed(run: FileRun, url: str) -> bool | None:
    """Whether a provenance file stands beside an archive; None when that cannot be said now. Asked once, whatever the answer."""
    try:
        body = await run.remote.body(provenance_url(url), MOST_PROVENANCE, "the provenance file")
    except SourceRefused:  # 404, and the 403 of object stores that tell nobody what they lack
        return False
    except CatalogError:
        return None
    return b"-----BEGIN PGP SIGNED MESSAGE-----" in body


def files_mode(repository: Repository) -> str:
    """Whose archives are wanted: `all` versions', each chart's `latest`, or `none`. Raises InvalidRepository."""
    mode = repository.options.get("files", "all")
    if mode not in MODES:
        raise InvalidRepository(f"files is one of {', '.join(MODES)}, not {mode!r}")
    return mode


def resolved(repository: Repository, url: str) -> str:
    """Where an archive is. Raises SourceMalformed or SourceRefused."""
    try:
        target = archive_url(repository.url, url)
        scheme = urlsplit(target).scheme
    except ValueError as error:
        raise SourceMalformed(f"the listed url is none: {error}") from None
    if scheme not in ("http", "https"):
        raise SourceRefused(f"{scheme}:// archives cannot be read yet")
    return target


def host_of(url: str) -> str:
    """`host:port`, as far as the url says it."""
    return urlsplit(url).netloc.rpartition("@")[2].lower()


def provenance_url(url: str) -> str:
    """Helm's rule: beside the archive, with .prov at the end of its path."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=f"{parts.path}.prov"))
