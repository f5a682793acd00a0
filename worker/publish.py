"""From a received listing to published rows.

One transaction publishes a listing, so no reader sees half of it. A big first listing takes two: the newest versions, then the rest.
"""

import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import BinaryIO

from sqlalchemy.ext.asyncio import AsyncConnection

from catalog import contents, holding, icons, staging, store, tick
from catalog.errors import RemovalsHeld
from catalog.filtering import Filtered, apply_filter
from catalog.holding import Held
from catalog.jobs import SyncRepository, filter_hash
from catalog.report import Note, Report
from catalog.store import Applied, Publication, Shown
from catalog.tick import Stored
from worker.breaker import HELD_BACK, Age, accident, held_because
from worker.child import Part, Question, Restart, Rows
from worker.entries import timestamp
from worker.filters import judge_charts
from worker.frames import End, Known, Request
from worker.process import Worker, timed
from worker.sources.helm import Listing

EARLY = 16_000_000  # bytes of a first index from which on its newest versions are published first: below, all of it takes under 2 s


@dataclass(slots=True)
class Reading:
    """What a walk says: rows as they come, then notes and end. `spool` takes all rows of a listing that is published twice."""

    spool: BinaryIO | None = None
    notes: list[Note] = field(default_factory=list)
    end: End = field(default_factory=lambda: End(0, 0, [], 0))

    async def lines(self, parts: AsyncIterator[Part]) -> AsyncIterator[bytes]:
        """COPY lines; an empty piece voids those before it."""
        async for part in parts:
            match part:
                case Rows(lines, tail):
                    if self.spool:
                        self.spool.write(lines)
                    if not tail:
                        yield lines
                case Restart():
                    if self.spool:
                        self.spool.truncate(self.spool.seek(0))
                    yield b""
                case End():
                    self.end = part
                case Question():
                    raise AssertionError("a walk asks before it has rows")
                case notes:
                    self.notes = notes

    async def spooled(self) -> AsyncIterator[bytes]:
        """All lines again."""
        assert self.spool
        self.spool.seek(0)
        while piece := self.spool.read(1 << 20):
            yield piece


@dataclass(frozen=True, slots=True)
class Publishing:
    """One listing on its way: what asked for it, what stood before, what came."""

    worker: Worker
    job: SyncRepository
    stored: Stored
    run: int
    listing: Listing
    report: Report

    def what(self, end: End, *, held: bool = False, early: bool = False) -> Publication:
        gone = [] if held else end.gone
        return Publication(self.stored.id, self.job.key, self.run, gone, wanted_files(self.job), held, early)

    def applied(self, end: End | None = None) -> Applied:
        """What the next request goes by; `end` is None when the same bytes came."""
        return Applied(
            url=self.job.repository.url,
            etag=self.listing.etag,
            last_modified=self.listing.last_modified,
            sha256=self.listing.sha256,
            generated=timestamp(end.generated) if end else self.stored.generated,
            newest_created=timestamp(end.newest_created) if end else self.stored.newest_created,
        )


async def publish(worker: Worker, job: SyncRepository, stored: Stored, run: int, listing: Listing, report: Report) -> None:
    """Read the listing and publish it with the run's own record. Raises RemovalsHeld after its additions were published."""
    this = Publishing(worker, job, stored, run, listing, report)
    async with worker.connection.transaction():
        await tick.set_phase(worker.connection, run, f"reading an index of {listing.size:,} bytes")
    async with worker.transaction() as connection:
        known = {name: Known(*hashes) for name, hashes in (await staging.known_charts(connection, stored.id)).items()}
    early = not known and listing.size > EARLY
    with ExitStack() as files:
        reading = Reading(files.enter_context(tempfile.TemporaryFile(prefix="chartfleet-rows-")) if early else None)
        async with worker.transaction() as connection:
            most = worker.settings.limits_for(job.repository).max_versions
            await _read(this, connection, reading, Request(known, early, most))
            held = await _publish_staged(this, connection, reading.end, early=early)
        if early:
            async with worker.transaction() as connection:
                await staging.stage(connection, reading.spooled())
                await _publish_staged(this, connection, reading.end, tail=True)
    if held:
        raise RemovalsHeld(held)


async def _read(this: Publishing, connection: AsyncConnection, reading: Reading, request: Request) -> None:
    async with timed(this.report, "read"), this.worker.walks.child(this.listing.body) as child:
        parts = child.parts(request)
        if isinstance(first := await anext(parts), Question):  # before COPY begins, for it shares the connection
            child.answer(await staging.pieces_of(connection, this.stored.id, first.charts))
            first = await anext(parts)
        await staging.stage(connection, reading.lines(_after(first, parts)))
    this.report.notes, this.report.notes_total = reading.notes, reading.end.notes_total


async def _after(first: Part, parts: AsyncIterator[Part]) -> AsyncIterator[Part]:
    yield first
    async for part in parts:
        yield part


async def _publish_staged(
    this: Publishing, connection: AsyncConnection, end: End, *, early: bool = False, tail: bool = False
) -> str | None:
    """Publish what is staged; what to say when its removals are held. `tail`: what a rule goes by was published before."""
    async with timed(this.report, "publish"):
        await store.lock_repository(connection, this.stored.id)
        changes = await staging.find_changes(connection, this.stored.id, end.gone)
        held = await _judge(this, connection, end, changes)
        if held is None:
            await store.update_specification(connection, this.stored.id, this.job.repository.type, this.job.repository.url)
        what = this.what(end, held=held is not None, early=early)
        await store.publish(connection, what, changes)
        verdicts = {} if tail else await _verdicts(this, connection)
        await store.record_history(connection, what)
        filtered = await apply_filter(connection, this.run, this.job.key, verdicts) if verdicts else Filtered()
        await _want_contents(connection, this.job, this.stored, None if verdicts else await staging.staged_charts(connection))
        shown = await _shown(connection, this.job, this.stored, this.report)
        if early or held:
            await store.record_shown(connection, this.stored.id, shown)
        else:
            if this.stored.is_held:
                await holding.let_go(connection, this.stored.id)
            grace = this.worker.settings.grace if changes.get("removed") else None
            await store.record_listing(connection, this.stored.id, shown, this.applied(end), grace)
    _count(this.report, changes, filtered)
    if not early and held is None:
        await _purge_if_due(this.worker, connection, this.stored)
        await tick.finish_run(this.worker.connection, this.run, this.report)
    return held


async def _verdicts(this: Publishing, connection: AsyncConnection) -> Mapping[int, bool]:
    """What the rule says of the charts that came; of all when the rule is another, or the URL, which a rule may look at."""
    job, stored = this.job, this.stored
    applies = filter_hash(job.repository.filter), job.repository.url
    if applies[0] == stored.applied_filter == "":
        return {}
    names = await staging.staged_charts(connection) if applies == (stored.applied_filter, stored.applied_url) else None
    return (await judge_charts(connection, job, stored.id, names, this.report)).verdicts


async def adjust(worker: Worker, job: SyncRepository, stored: Stored, run: int, report: Report) -> Stored:
    """Apply another rule or file mode to the listing that stands, by its stored rows; returns the repository as it stands then."""
    filtered = Filtered()
    async with worker.transaction() as connection:
        await store.lock_repository(connection, stored.id)
        if filter_hash(job.repository.filter) != stored.applied_filter:
            judgement = await judge_charts(connection, job, stored.id, None, report)
            filtered = await apply_filter(connection, run, job.key, judgement.verdicts)
        await _want_contents(connection, job, stored, None)
        shown = await _shown(connection, job, stored, report)
        await store.record_shown(connection, stored.id, shown)
    _count(report, {}, filtered)
    return replace(stored, applied_filter=shown.filter, applied_files=shown.files, charts=shown.charts, versions=shown.versions)


async def _want_contents(connection: AsyncConnection, job: SyncRepository, stored: Stored, charts: Sequence[str] | None) -> None:
    """Work for the icons of the charts that came (None: of all), and for the archives that another file mode wants."""
    await icons.want_icons(connection, stored.id, job.key.namespace, charts)
    if wanted_files(job) != stored.applied_files:
        await contents.want_files(connection, stored.id, job.key.namespace, wanted_files(job))
    if stored.body_sha256 and not stored.was_asked_by(job):
        await contents.retry_now(connection, stored.id)
        await icons.retry_now(connection, stored.id)


async def _shown(connection: AsyncConnection, job: SyncRepository, stored: Stored, report: Report) -> Shown:
    report.charts, report.versions = await store.visible(connection, stored.id)
    return Shown(job.terms, filter_hash(job.repository.filter), wanted_files(job), report.charts, report.versions)


async def _judge(this: Publishing, connection: AsyncConnection, end: End, changes: dict[str, int]) -> str | None:
    """Whether the listing is held now; then its additions are all that is left of the changes, and its words are returned."""
    if this.listing.sha256 == this.stored.body_sha256 or (not changes.keys() - {"added"} and end.versions):
        return None  # the applied one is no accident, whatever a held one added meanwhile
    if end.versions and this.job.repository.url != this.stored.applied_url:
        return None  # a person asked for another repository
    before = await store.listed_versions(connection, this.stored.id)
    age, applied = Age(timestamp(end.generated), timestamp(end.newest_created)), Age(this.stored.generated, this.stored.newest_created)
    reason = accident(changes, before, end.versions, age, applied)
    last = await tick.held_before(this.worker.connection, this.stored.id) if this.stored.is_held else None
    content = bytes.fromhex(end.content)
    if last and last.content == content:  # not judged anew: beside what it has added, its removals are a smaller share
        reason = None if last.ripe else last.reason
    if reason is None:
        return None
    listing, removals = this.listing, changes.get("removed", 0)
    for change in HELD_BACK[reason]:
        changes.pop(change, None)
    await staging.leave_out(connection, HELD_BACK[reason])
    held = Held(listing.etag, listing.last_modified, listing.sha256, content, reason, removals, end.versions)
    reads = await holding.hold(connection, this.stored.id, this.job.key.namespace, held)
    return held_because(reason, removals, before, reads)


async def keep(worker: Worker, job: SyncRepository, stored: Stored, run: int, listing: Listing, report: Report) -> None:
    """The same bytes came: nothing is read; new validators are kept, so that next time nothing comes at all."""
    report.charts, report.versions = stored.charts, stored.versions
    this = Publishing(worker, job, stored, run, listing, report)
    async with worker.transaction() as connection:
        if (stored.etag, stored.last_modified) != (listing.etag, listing.last_modified):
            shown = Shown(job.terms, stored.applied_filter, stored.applied_files, stored.charts, stored.versions)
            await store.record_listing(connection, stored.id, shown, this.applied(), None)
        await _purge_if_due(worker, connection, stored)
        await tick.finish_run(worker.connection, run, report)


async def purge(worker: Worker, stored: Stored, run: int, report: Report) -> None:
    """Nothing changed upstream, but days of grace are over here."""
    async with worker.transaction() as connection:
        await _purge_if_due(worker, connection, stored)
        await tick.finish_run(worker.connection, run, report)


async def _purge_if_due(worker: Worker, connection: AsyncConnection, stored: Stored) -> None:
    if stored.purge_due:
        await store.purge(connection, stored.id, worker.settings.grace)


def wanted_files(job: SyncRepository) -> str:
    """Whose archives are wanted: all, latest or none."""
    return job.repository.options.get("files", "all")


def _count(report: Report, changes: Mapping[str, int], filtered: Filtered) -> None:
    report.added += changes.get("added", 0) + changes.get("reappeared", 0)
    report.changed += changes.get("changed", 0)
    report.removed += changes.get("removed", 0)
    changed = report.added or report.changed or report.removed or filtered.excluded or filtered.included
    report.result = "changed" if changed else "unchanged"
