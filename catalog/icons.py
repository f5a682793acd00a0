"""Charts' icons: where they come from, when to ask, what is stored of them. Functions of a connection; they never commit.

A source is a repository and a listed address, however many charts name it; what was made of it is stored once for all sources with the same
content. `next_attempt_at` of a source that holds an icon is when it is old; null is never.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import cast

from sqlalchemy import func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog import tables as t
from catalog.database import CONTENTS_LOCK
from catalog.paging import Row
from catalog.search import ChartKey

# A source's key has to be made alike wherever one is looked for.
_WANT = text("""
    insert into chartfleet.icon_sources (repository_id, namespace, url_sha256, url)
    select distinct c.repository_id, :namespace, sha256(convert_to(c.icon, 'UTF8')), c.icon
    from chartfleet.charts c
    where c.repository_id = :repository and c.removed_at is null and btrim(c.icon) <> ''
      and (cast(:charts as text[]) is null or c.name = any(cast(:charts as text[])))
    on conflict (repository_id, url_sha256) do nothing
""")

# A withdrawn chart may come back within days of grace: an icon that is here stays as long, one that is not is not asked for.
_FORGET = text("""
    delete from chartfleet.icon_sources s
    where s.repository_id = :repository
      and not exists (select from chartfleet.charts c
                      where c.repository_id = s.repository_id and c.icon = s.url and (c.removed_at is null or s.sha256 is not null))
""")

# An old icon is asked for again when a chart that names it has just got a version; this alone is no reason for a job.
_DUE = text("""
    select s.url_sha256, s.url, s.sha256 is not null as stored, s.etag, s.last_modified, s.attempts
    from chartfleet.icon_sources s
    where s.repository_id = :repository and s.next_attempt_at <= now()
      and (s.sha256 is null or s.url in (
             select c.icon from chartfleet.charts c join chartfleet.chart_versions v on v.chart_id = c.id and v.version = c.version
             where c.repository_id = :repository and c.removed_at is null and v.first_seen > now() - interval '1 day'))
    order by s.attempts, s.next_attempt_at, s.url_sha256
    limit :most
""")

_RETRY_NOW = text("""
    update chartfleet.icon_sources set next_attempt_at = now(), attempts = 0
    where repository_id = :repository and sha256 is null and next_attempt_at > now()
""")

_SETTLE = text("""
    update chartfleet.icon_sources
    set sha256 = coalesce(:sha256, sha256), etag = :etag, last_modified = :last_modified, attempts = 0, error_class = null, error = null,
        next_attempt_at = now() + make_interval(secs => :seconds)
    where repository_id = :repository and url_sha256 = :url_sha256
""")

_POSTPONE = text("""
    update chartfleet.icon_sources
    set attempts = attempts + 1, next_attempt_at = now() + make_interval(secs => :seconds), error_class = :reason, error = :error
    where repository_id = :repository and url_sha256 = :url_sha256
""")

_POSTPONE_DUE = text("""
    update chartfleet.icon_sources
    set attempts = attempts + 1, next_attempt_at = now() + make_interval(secs => :seconds), error_class = :reason, error = :error
    where repository_id = :repository and sha256 is null and next_attempt_at <= now()
""")

_SWEEP = text("delete from chartfleet.icons i where not exists (select from chartfleet.icon_sources s where s.sha256 = i.sha256)")

_ICON_OF = text("""
    select btrim(c.icon) <> '' as named, i.sha256, i.content_type, i.content, s.error_class, s.error
    from chartfleet.charts c
    join chartfleet.repositories r on r.id = c.repository_id
    left join chartfleet.icon_sources s on s.repository_id = c.repository_id and s.url_sha256 = sha256(convert_to(c.icon, 'UTF8'))
    left join chartfleet.icons i on i.sha256 = s.sha256
    where r.namespace = :namespace and r.name = :name and c.name = :chart and c.removed_at is null
""")

_WITH_ICONS = text("""
    select c.id
    from chartfleet.charts c
    join chartfleet.icon_sources s on s.repository_id = c.repository_id and s.url_sha256 = sha256(convert_to(c.icon, 'UTF8'))
    where c.id = any(:charts) and s.sha256 is not null
""")


@dataclass(frozen=True, slots=True)
class Icon:
    """What is stored and served: a small PNG or a sanitised SVG."""

    sha256: bytes
    content_type: str
    content: bytes


@dataclass(frozen=True, slots=True)
class IconSource:
    """An icon to fetch. `stored`: there is one, with these validators, that may still be current."""

    url_sha256: bytes
    url: str
    stored: bool
    etag: str | None
    last_modified: str | None
    attempts: int


async def want_icons(connection: AsyncConnection, repository_id: int, namespace: str, charts: Sequence[str] | None = None) -> None:
    """Make a source of each icon that the visible charts (of these names; None: all) list and that is none yet."""
    values = {"repository": repository_id, "namespace": namespace, "charts": None if charts is None else list(charts)}
    await connection.execute(_WANT, values)


async def forget_icons(connection: AsyncConnection, repository_id: int) -> None:
    """Remove the sources that no chart of the repository names any more."""
    await connection.execute(_FORGET, {"repository": repository_id})


async def due_icons(connection: AsyncConnection, repository_id: int, most: int) -> list[IconSource]:
    """Sources whose time has come, those tried least first."""
    return [IconSource(*row) for row in await connection.execute(_DUE, {"repository": repository_id, "most": most})]


async def retry_now(connection: AsyncConnection, repository_id: int) -> None:
    """What failed is tried again at once: the repository is asked for in another way now."""
    await connection.execute(_RETRY_NOW, {"repository": repository_id})


async def put_icons(connection: AsyncConnection, icons: Collection[Icon]) -> None:
    """Store icons by SHA-256, in one order for everybody, and keep the sweeper away until they are named."""
    await connection.execute(select(func.pg_advisory_xact_lock_shared(CONTENTS_LOCK, 0)))
    rows = {icon.sha256: {"sha256": icon.sha256, "content_type": icon.content_type, "content": icon.content} for icon in icons}
    if rows:
        await connection.execute(insert(t.icons).on_conflict_do_nothing(), [rows[sha256] for sha256 in sorted(rows)])


async def settle_icon(
    connection: AsyncConnection,
    repository_id: int,
    source: IconSource,
    icon: Icon | None,
    validators: tuple[str | None, str | None],
    seconds: float | None,
) -> None:
    """A source holds this icon (None: still the one it held) with its ETag and Last-Modified; it is old after `seconds` (None: never)."""
    etag, last_modified = validators
    values = {"sha256": icon and icon.sha256, "etag": etag, "last_modified": last_modified, "seconds": seconds}
    await connection.execute(_SETTLE, {"repository": repository_id, "url_sha256": source.url_sha256, **values})


async def postpone_icon(
    connection: AsyncConnection, repository_id: int, source: IconSource, seconds: float, reason: str, error: str
) -> None:
    """Come back to a source that gave no icon, after `seconds`; the one it held stays."""
    values = {"seconds": seconds, "reason": reason, "error": error}
    await connection.execute(_POSTPONE, {"repository": repository_id, "url_sha256": source.url_sha256, **values})


async def postpone_due(connection: AsyncConnection, repository_id: int, seconds: float, reason: str, error: str) -> None:
    """Postpone every icon that is due and not here."""
    await connection.execute(_POSTPONE_DUE, {"repository": repository_id, "seconds": seconds, "reason": reason, "error": error})


async def sweep_icons(connection: AsyncConnection) -> None:
    """Remove the icons that no source names any more, after whoever is naming some."""
    await connection.execute(select(func.pg_advisory_xact_lock(CONTENTS_LOCK, 0)))
    await connection.execute(_SWEEP)


async def icon_of(connection: AsyncConnection, key: ChartKey) -> Row | None:
    """A visible chart's icon: `named` (the chart lists one), its content or None, and why there is none; None: no such chart."""
    values = {"namespace": key.namespace, "name": key.repository, "chart": key.chart}
    return cast("Row | None", (await connection.execute(_ICON_OF, values)).mappings().first())


async def charts_with_icons(connection: AsyncConnection, charts: Collection[int]) -> set[int]:
    """Which of the charts have an icon to show."""
    return {chart for (chart,) in await connection.execute(_WITH_ICONS, {"charts": list(charts)})}
