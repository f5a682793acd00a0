"""What archives hold, and the work of reading them. Functions of a connection; they never commit.

A version's files are one row that names contents by their hash. Contents nobody names any more are swept, never while somebody names one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import delete, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog import tables as t
from catalog.database import CONTENTS_LOCK


@dataclass(frozen=True, slots=True)
class FileWork:
    """An archive to read: where it may be had, what the index says of it and how often it was tried."""

    version_id: int
    chart: str
    version: str
    urls: Sequence[str]
    digest: str | None
    attempts: int


async def due_files(connection: AsyncConnection, repository: int, most: int) -> list[FileWork]:
    """Archives whose time has come, those tried least first, of these each chart's newest."""
    w, v, c = t.file_work.c, t.chart_versions.c, t.charts.c
    query = (
        select(w.version_id, c.name, v.version, v.urls, v.digest, w.attempts)
        .select_from(t.file_work.join(t.chart_versions, v.id == w.version_id).join(t.charts, c.id == v.chart_id))
        .where(w.repository_id == repository, w.next_attempt_at <= func.now(), v.removed_at.is_(None), c.removed_at.is_(None))
        .order_by(w.attempts, w.newest.desc(), w.next_attempt_at, w.version_id)
        .limit(most)
    )
    return [FileWork(*row) for row in await connection.execute(query)]


async def put_contents(connection: AsyncConnection, contents: Mapping[bytes, bytes]) -> None:
    """Store contents by SHA-256, in one order for everybody: two jobs with the same ones would lock each other out."""
    await connection.execute(select(func.pg_advisory_xact_lock_shared(CONTENTS_LOCK, 0)))
    blobs = [{"sha256": sha256, "size": len(content), "content": content} for sha256, content in sorted(contents.items())]
    if blobs:
        await connection.execute(insert(t.blobs).on_conflict_do_nothing(), blobs)


async def put_files(connection: AsyncConnection, work: FileWork, namespace: str, files: Mapping[str, bytes], digest: str) -> bool:
    """Name a version's files (name → SHA-256), whose contents are stored, and close its work.

    False when a newer listing wants another archive meanwhile. `digest` is the archive's own.
    """
    w, v = t.file_work.c, t.chart_versions.c
    wanted = select(w.version_id).join(t.chart_versions, v.id == w.version_id)
    wanted = wanted.where(w.version_id == work.version_id, v.digest.is_not_distinct_from(work.digest)).with_for_update(of=t.file_work)
    if (await connection.execute(wanted)).first() is None:
        return False
    listed = work.digest and work.digest.lower().removeprefix("sha256:")
    row = {
        "namespace": namespace,
        "names": list(files),
        "contents": list(files.values()),
        "digest": digest,
        "as_listed": None if listed is None else listed == digest,
    }
    put = insert(t.version_files).values(version_id=work.version_id, **row)
    await connection.execute(put.on_conflict_do_update(index_elements=["version_id"], set_={**row, "read_at": func.now()}))
    await connection.execute(delete(t.file_work).where(w.version_id == work.version_id))
    return True


async def postpone_files(connection: AsyncConnection, versions: Sequence[int], seconds: float, reason: str, error: str) -> None:
    """Come back to archives that could not be read, after `seconds`."""
    await connection.execute(
        update(t.file_work)
        .where(t.file_work.c.version_id.in_(versions))
        .values(
            attempts=t.file_work.c.attempts + 1,
            next_attempt_at=func.now() + text("make_interval(secs => :seconds)").bindparams(seconds=seconds),
            error_class=reason,
            error=error,
        )
    )


async def postpone_due(connection: AsyncConnection, repository: int, seconds: float, reason: str, error: str) -> None:
    """Postpone everything that is due in a repository."""
    w = t.file_work.c
    query = select(w.version_id).where(w.repository_id == repository, w.next_attempt_at <= func.now())
    await postpone_files(connection, [version for (version,) in await connection.execute(query)], seconds, reason, error)


async def sweep_contents(connection: AsyncConnection) -> None:
    """Remove the contents that no version names any more. Waits for those who are naming some, so that none is taken from under them."""
    await connection.execute(select(func.pg_advisory_xact_lock(CONTENTS_LOCK, 0)))
    await connection.execute(
        text("""
            delete from chartfleet.blobs b
            where not exists (select from chartfleet.version_files f cross join unnest(f.contents) as named(sha256)
                              where named.sha256 = b.sha256)
        """)
    )
