"""The story of a sync: ask whether anything changed; if so read the listing in a child and publish what differs, in one transaction."""

from catalog import tick
from catalog.errors import InvalidRepository
from catalog.jobs import SyncRepository
from catalog.report import Report
from catalog.tick import Stored
from worker.credentials import credentials_for
from worker.process import Worker, timed
from worker.sources import SOURCES


async def sync(worker: Worker, job: SyncRepository, stored: Stored, run: int, report: Report) -> None:
    """Bring the repository in step and record the run as done. Raises CatalogError; then nothing was published."""
    open_listing = SOURCES.get(job.repository.type)
    if open_listing is None:
        raise InvalidRepository(f"spec.type {job.repository.type!r} is not supported: one of {', '.join(SOURCES)}")
    if job.repository.filter:
        raise InvalidRepository(
            "spec.filterRule is not supported yet; without it charts would be shown that it excludes, so nothing is synced"
        )
    credentials = await credentials_for(job.repository, worker.settings)
    asked = job.repository
    same = (stored.applied_fingerprint or "", stored.type, stored.url) == (job.fingerprint, asked.type, asked.url)  # else read afresh
    async with worker.http.remote(job.repository, credentials, report) as remote, timed(report, "fetch"):
        listing = await open_listing(remote, worker.settings, stored if same else None)
    if listing is None:
        await _unchanged(worker, stored, run, report)
        return
    from worker import publish  # noqa: PLC0415 - brings SQLAlchemy, which an unchanged run does without

    try:
        if same and listing.sha256 == stored.body_sha256:
            await publish.keep(worker, job, stored, run, listing, report)
        else:
            await publish.publish(worker, job, stored, run, listing, report)
    finally:
        listing.close()


async def _unchanged(worker: Worker, stored: Stored, run: int, report: Report) -> None:
    report.charts, report.versions = stored.charts, stored.versions
    async with worker.connection.transaction():
        await tick.finish_run(worker.connection, run, report)
