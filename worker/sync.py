"""The story of a sync: ask whether anything changed; if so read the listing in a child and publish what differs, in one transaction."""

from catalog import tick
from catalog.errors import InvalidRepository, RemovalsHeld
from catalog.jobs import SyncRepository, filter_hash
from catalog.report import Report
from catalog.tick import HeldBefore, Stored
from worker.breaker import held_because
from worker.credentials import credentials_for
from worker.process import Worker, timed
from worker.sources import SOURCES
from worker.sources.helm import Validators


async def sync(worker: Worker, job: SyncRepository, stored: Stored, run: int, report: Report) -> None:
    """Bring the repository in step and record the run as done. Raises CatalogError; then nothing was published."""
    open_listing = SOURCES.get(job.repository.type)
    if open_listing is None:
        raise InvalidRepository(f"spec.type {job.repository.type!r} is not supported: one of {', '.join(SOURCES)}")
    credentials = await credentials_for(job.repository, worker.secrets)
    same = stored.was_asked_by(job)
    held = await _held(worker, stored)
    async with worker.http.remote(job.repository, credentials, report, look=stored.hosts_in_trouble) as remote, timed(report, "fetch"):
        listing = await open_listing(remote, _validators(stored, held) if same else None)
    if listing is None:
        await _not_modified(worker, await _adjusted(worker, job, stored, run, report), held, run, report)
        return
    from worker import publish  # noqa: PLC0415 - brings SQLAlchemy, which an unchanged run does without

    try:
        if held and not held.ripe and same and listing.sha256 == held.body_sha256:
            await _not_modified(worker, await _adjusted(worker, job, stored, run, report), held, run, report)
        elif same and listing.sha256 == stored.body_sha256 and not held:  # else what the held one added has to go
            await publish.keep(worker, job, await _adjusted(worker, job, stored, run, report), run, listing, report)
        else:
            await publish.publish(worker, job, stored, run, listing, report)
    finally:
        listing.close()


async def _adjusted(worker: Worker, job: SyncRepository, stored: Stored, run: int, report: Report) -> Stored:
    """The repository, once what the job says of filter and files was applied to the listing that stands."""
    wanted = filter_hash(job.repository.filter), job.repository.options.get("files", "all")
    if wanted == (stored.applied_filter, stored.applied_files):
        return stored
    from worker import publish  # noqa: PLC0415 - as above

    return await publish.adjust(worker, job, stored, run, report)


async def _held(worker: Worker, stored: Stored) -> HeldBefore | None:
    if not stored.is_held:
        return None
    async with worker.connection.transaction():
        return await tick.held_before(worker.connection, stored.id)


def _validators(stored: Stored, held: HeldBefore | None) -> Validators:
    """Those of what the remote offered last: the held listing's, if one is held; none when its removals may go through now."""
    if held:
        return Validators() if held.ripe else Validators(held.etag, held.last_modified)
    return Validators(stored.etag, stored.last_modified)


async def _not_modified(worker: Worker, stored: Stored, held: HeldBefore | None, run: int, report: Report) -> None:
    """What was read last still stands. Raises RemovalsHeld when that is a held listing."""
    report.charts, report.versions = stored.charts, stored.versions
    if held:
        async with worker.connection.transaction():
            reads = await tick.read_held_again(worker.connection, stored.id)
        raise RemovalsHeld(held_because(held.reason, held.removals, held.before, reads))
    if stored.purge_due:
        from worker import publish  # noqa: PLC0415 - as above

        await publish.purge(worker, stored, run, report)
        return
    async with worker.connection.transaction():
        await tick.finish_run(worker.connection, run, report)
