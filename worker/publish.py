"""From a received listing to published rows."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from catalog import store, tick
from catalog.errors import RemovalsHeld
from catalog.jobs import SyncRepository
from catalog.report import Note, Report
from catalog.tick import Stored
from worker.child import Restart, walk
from worker.process import Worker, timed
from worker.sources.helm import Listing
from worker.walk import End


@dataclass(slots=True)
class Reading:
    """What a walk says besides rows."""

    notes: list[Note] = field(default_factory=list)
    end: End = field(default_factory=lambda: End(0, 0, [], 0))

    async def rows(self, listing: Listing, known: dict[str, bytes]) -> AsyncIterator[bytes]:
        """COPY lines; an empty piece voids those before it."""
        async for part in walk(listing.body, known):
            match part:
                case bytes():
                    yield part
                case Restart():
                    yield b""
                case End():
                    self.end = part
                case notes:
                    self.notes = notes


async def publish(worker: Worker, job: SyncRepository, stored: Stored, run: int, listing: Listing, report: Report) -> None:
    """Read the listing and publish it, all in one transaction with the run's own record."""
    reading = Reading()
    async with worker.connection.transaction():
        await tick.set_phase(worker.connection, run, f"reading an index of {listing.size:,} bytes")
    async with worker.transaction() as connection:
        known = await store.known_rollups(connection, stored.id)
        async with timed(report, "read"):
            await store.stage(connection, reading.rows(listing, known))
        report.notes, report.notes_total = reading.notes, reading.end.notes_total
        if known and not reading.end.charts:
            raise RemovalsHeld(f"the listing is empty: the {len(known):,} charts known before are kept")
        async with timed(report, "publish"):
            await store.lock_repository(connection, stored.id)
            await store.update_specification(connection, stored.id, job.repository.type, job.repository.url)
            counts = await store.publish(connection, publication(job, stored, run, listing, reading.end))
        _conclude(report, reading.end, counts)
        await tick.finish_run(worker.connection, run, report)


async def keep(worker: Worker, job: SyncRepository, stored: Stored, run: int, listing: Listing, report: Report) -> None:
    """The same bytes came: nothing is read; new validators are kept, so that next time nothing comes at all."""
    report.charts, report.versions = stored.charts, stored.versions
    async with worker.transaction() as connection:
        if (listing.etag, listing.last_modified) != (stored.etag, stored.last_modified):
            await store.lock_repository(connection, stored.id)
            await store.record_listing(connection, publication(job, stored, run, listing, End(stored.charts, stored.versions, [], 0)))
        await tick.finish_run(worker.connection, run, report)


def publication(job: SyncRepository, stored: Stored, run: int, listing: Listing, end: End) -> store.Publication:
    return store.Publication(
        repository=stored.id,
        key=job.key,
        run=run,
        fingerprint=job.fingerprint,
        etag=listing.etag,
        last_modified=listing.last_modified,
        sha256=listing.sha256,
        charts=end.charts,
        versions=end.versions,
        gone=end.gone,
    )


def _conclude(report: Report, end: End, counts: store.Counts) -> None:
    report.charts, report.versions = end.charts, end.versions
    report.added, report.changed, report.removed = counts.added, counts.changed, counts.removed
    report.result = "changed" if counts.added or counts.changed or counts.removed else "unchanged"
