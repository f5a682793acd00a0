"""Every statement that changes the catalogue's charts and versions. Functions of a connection; they never commit: whoever opens the
transaction ends it.

What is written follows from `staged_changes` (catalog.staging) alone: a version that did not change is not touched.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import TextClause, delete, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog import tables as t
from catalog.database import LEDGER_LOCK
from catalog.errors import RepositoryGone
from catalog.model import RepositoryKey

# A new chart as its newest listed version has it. `partial`: more of it is still to come, so nothing may take it for known.
_ADD_CHARTS = text("""
    insert into chartfleet.charts (repository_id, namespace, name, rollup, piece_rollup, pieces, version, app_version, description, icon,
                                   home, keywords, deprecated, created, versions)
    select :repository, :namespace, s.chart,
           case when :partial then '' else l.rollup end, case when not :partial then l.piece_rollup end,
           case when not :partial then l.pieces end,
           s.version, s.app_version, s.metadata ->> 'description', s.metadata ->> 'icon', s.metadata ->> 'home',
           case jsonb_typeof(s.metadata -> 'keywords')
             when 'array' then array(select word from jsonb_array_elements_text(s.metadata -> 'keywords') word where word is not null)
             else '{}' end,
           s.deprecated, s.created, n.versions
    from pg_temp.staged s
    join pg_temp.staged l on l.chart = s.chart and l.version is null
    join (select chart, count(version) as versions from pg_temp.staged group by chart) n on n.chart = s.chart
    where s.newest and not exists (select from chartfleet.charts c where c.repository_id = :repository and c.name = s.chart)
""")

_ADD_VERSIONS = text("""
    insert into chartfleet.chart_versions (chart_id, namespace, version, order_key, fingerprint, app_version, digest, created,
                                           deprecated, urls, metadata)
    select c.id, :namespace, s.version, s.order_key, s.fingerprint, s.app_version, s.digest, s.created, s.deprecated, s.urls, s.metadata
    from pg_temp.staged_changes x
    join pg_temp.staged s on s.chart = x.chart and s.version = x.version
    join chartfleet.charts c on c.repository_id = :repository and c.name = s.chart
    where x.change = :change
""")

# `created` stays the first value that was seen.
_RENEW_VERSIONS = text("""
    update chartfleet.chart_versions v
    set order_key = s.order_key, fingerprint = s.fingerprint, app_version = s.app_version, digest = s.digest,
        created = coalesce(v.created, s.created), deprecated = s.deprecated, urls = s.urls, metadata = s.metadata, removed_at = null
    from pg_temp.staged_changes x
    join pg_temp.staged s on s.chart = x.chart and s.version = x.version
    join chartfleet.charts c on c.repository_id = :repository and c.name = s.chart
    where x.change = :change and v.chart_id = c.id and v.version = s.version
""")

_REMOVE_VERSIONS = text("""
    update chartfleet.chart_versions v set removed_at = now()
    from pg_temp.staged_changes x join chartfleet.charts c on c.repository_id = :repository and c.name = x.chart
    where x.change = :change and v.chart_id = c.id and v.version = x.version
""")

# The charts that stood before, as their newest version has them now. Of a held listing a chart is not known by its hash: it has more.
_RENEW_CHARTS = text("""
    update chartfleet.charts c
    set rollup = n.rollup, piece_rollup = n.piece_rollup, pieces = n.pieces,
        version = n.version, app_version = n.app_version, description = n.description, icon = n.icon, home = n.home, keywords = n.keywords,
        deprecated = n.deprecated, created = n.created, versions = n.versions, removed_at = n.removed_at,
        excluded = c.excluded and n.versions > 0
    from (
      select c.id,
             case when l.held then '' else coalesce(l.rollup, '') end as rollup,
             case when not l.held then l.piece_rollup end as piece_rollup, case when not l.held then l.pieces end as pieces,
             coalesce(v.version, c.version) as version,
             case when v.id is null then c.app_version else v.app_version end as app_version,
             case when v.id is null then c.description else v.metadata ->> 'description' end as description,
             case when v.id is null then c.icon else v.metadata ->> 'icon' end as icon,
             case when v.id is null then c.home else v.metadata ->> 'home' end as home,
             case when v.id is null then c.keywords
                  when jsonb_typeof(v.metadata -> 'keywords') = 'array'
                  then array(select word from jsonb_array_elements_text(v.metadata -> 'keywords') word where word is not null)
                  else '{}' end as keywords,
             coalesce(v.deprecated, c.deprecated) as deprecated,
             case when v.id is null then c.created else v.created end as created,
             (select count(*) from chartfleet.chart_versions e where e.chart_id = c.id and e.removed_at is null)::integer as versions,
             case when v.id is null or c.excluded then coalesce(c.removed_at, now()) end as removed_at
      from (select chart, rollup, piece_rollup, pieces, cast(:held as boolean) as held from pg_temp.staged where version is null
            union all
            select gone, null, null, null, false from unnest(cast(:gone as text[])) gone) l
      join chartfleet.charts c on c.repository_id = :repository and c.name = l.chart
      left join lateral (
        select e.* from chartfleet.chart_versions e where e.chart_id = c.id and e.removed_at is null
        order by e.order_key desc, e.version desc limit 1
      ) v on true
    ) n
    where c.id = n.id
      and (c.rollup, c.piece_rollup, c.versions, c.version, c.removed_at is null)
          is distinct from (n.rollup, n.piece_rollup, n.versions, n.version, n.removed_at is null)
""")

# An archive is read when its version appears …
_ADD_WORK = text("""
    insert into chartfleet.file_work (version_id, namespace, repository_id, newest)
    select v.id, :namespace, :repository, v.version = c.version
    from pg_temp.staged_changes x
    join chartfleet.charts c on c.repository_id = :repository and c.name = x.chart
    join chartfleet.chart_versions v on v.chart_id = c.id and v.version = x.version
    where x.change = :change and v.urls <> '{}' and (:files = 'all' or :files = 'latest' and v.version = c.version)
""")

# … and again when its entry changes, unless it was read under the digest that is still listed.
_RENEW_WORK = text("""
    insert into chartfleet.file_work as w (version_id, namespace, repository_id, newest)
    select v.id, :namespace, :repository, v.version = c.version
    from pg_temp.staged_changes x
    join chartfleet.charts c on c.repository_id = :repository and c.name = x.chart
    join chartfleet.chart_versions v on v.chart_id = c.id and v.version = x.version
    left join chartfleet.version_files f on f.version_id = v.id
    where x.change = :change and v.urls <> '{}' and (:files = 'all' or :files = 'latest' and v.version = c.version)
      and (f.version_id is null or x.replaced is not null and f.digest is distinct from replace(lower(v.digest), 'sha256:', ''))
    on conflict (version_id) do update
    set newest = excluded.newest, attempts = 0, next_attempt_at = now(), error_class = null, error = null
""")

# Where only the newest are read, another may have become it by what went.
_PUT_WORK_OF_NEWEST = text("""
    insert into chartfleet.file_work (version_id, namespace, repository_id, newest)
    select v.id, :namespace, :repository, true
    from (select distinct chart from pg_temp.staged_changes where change = 'removed') x
    join chartfleet.charts c on c.repository_id = :repository and c.name = x.chart and (c.removed_at is null or c.excluded)
    join chartfleet.chart_versions v on v.chart_id = c.id and v.version = c.version
    where v.urls <> '{}' and not exists (select from chartfleet.version_files f where f.version_id = v.id)
    on conflict (version_id) do nothing
""")

_PUT_LEDGER = text("""
    insert into chartfleet.ledger (run_id, namespace, repository, chart, version, change, replaced)
    select :run, :namespace, :name, x.chart, x.version, kind, x.replaced
    from pg_temp.staged_changes x cross join unnest(x.kinds) kind
    order by x.chart, x.version, kind
""")

_PURGE = text("""
    with old as (
      delete from chartfleet.chart_versions v using chartfleet.charts c
      where c.id = v.chart_id and c.repository_id = :repository and v.removed_at < now() - cast(:grace as interval)
      returning v.chart_id, v.id
    )
    select count(*) from old
""")

_PURGE_CHARTS = text("""
    delete from chartfleet.charts c
    where c.repository_id = :repository and c.removed_at < now() - cast(:grace as interval)
      and not exists (select from chartfleet.chart_versions v where v.chart_id = c.id)
""")

_NEXT_PURGE = text("""
    update chartfleet.repositories r
    set purge_at = (select min(v.removed_at) + cast(:grace as interval)
                    from chartfleet.charts c join chartfleet.chart_versions v on v.chart_id = c.id where c.repository_id = r.id)
    where r.id = :repository
""")


_VERSIONS = (("added", _ADD_VERSIONS), ("changed", _RENEW_VERSIONS), ("reappeared", _RENEW_VERSIONS), ("removed", _REMOVE_VERSIONS))
_WORK = (("added", _ADD_WORK), ("changed", _RENEW_WORK), ("reappeared", _RENEW_WORK))


@dataclass(frozen=True, slots=True)
class Publication:
    """A staged listing and whose it is. `files`: whose archives are wanted (all, latest, none); `held`: only its additions are published;
    `partial`: its tail is still to come."""

    repository: int
    key: RepositoryKey
    run: int
    gone: Sequence[str]
    files: str = "all"
    held: bool = False
    partial: bool = False


@dataclass(frozen=True, slots=True)
class Shown:
    """How many charts and versions readers see, by which terms they were asked for, by which filter rule (its hash), and whose archives
    are wanted."""

    terms: str
    filter: str
    files: str
    charts: int
    versions: int


@dataclass(frozen=True, slots=True)
class Applied:
    """What the published listing was made of: where it came from; validators and hash for the next request."""

    url: str
    etag: str | None
    last_modified: str | None
    sha256: bytes
    generated: datetime | None
    newest_created: datetime | None


async def lock_repository(connection: AsyncConnection, repository: int) -> None:
    """Hold the repository's row for this transaction. Raises RepositoryGone when a deletion was first."""
    query = select(t.repositories.c.id).where(t.repositories.c.id == repository).with_for_update(key_share=True)
    if (await connection.execute(query)).first() is None:
        raise RepositoryGone("the repository was deleted while it was read")


async def listed_versions(connection: AsyncConnection, repository: int) -> int:
    """How many versions are listed, visible or excluded."""
    c = t.charts.c
    query = select(func.coalesce(func.sum(c.versions), 0)).where(c.repository_id == repository, c.removed_at.is_(None) | c.excluded)
    return int((await connection.execute(query)).scalar_one())


async def publish(connection: AsyncConnection, what: Publication, changes: Mapping[str, int]) -> None:
    """Bring the rows in line with the staged changes, of which there are so many; everything else stays untouched."""
    values: dict[str, Any] = {"repository": what.repository, "namespace": what.key.namespace, "gone": list(what.gone), "files": what.files}
    await connection.execute(_ADD_CHARTS, {**values, "partial": what.partial})
    await _each(connection, _VERSIONS, values, changes)
    await connection.execute(_RENEW_CHARTS, {**values, "held": what.held or what.partial})
    await _each(connection, _WORK, values, changes)
    if what.files == "latest":
        await connection.execute(_PUT_WORK_OF_NEWEST, values)


async def _each(
    connection: AsyncConnection, statements: Iterable[tuple[str, TextClause]], values: Mapping[str, Any], changes: Mapping[str, int]
) -> None:
    for change, statement in statements:
        if changes.get(change):
            await connection.execute(statement, {**values, "change": change})


async def record_history(connection: AsyncConnection, what: Publication) -> None:
    """The staged changes in the ledger, late in the transaction: whoever holds the lock numbers next, so numbers follow commits."""
    await connection.execute(select(func.pg_advisory_xact_lock(LEDGER_LOCK, 0)))
    await connection.execute(_PUT_LEDGER, {"run": what.run, "namespace": what.key.namespace, "name": what.key.name})


async def visible(connection: AsyncConnection, repository: int) -> tuple[int, int]:
    """How many charts and versions readers see."""
    c = t.charts.c
    query = select(func.count(), func.coalesce(func.sum(c.versions), 0)).where(c.repository_id == repository, c.removed_at.is_(None))
    charts, versions = (await connection.execute(query)).one()
    return charts, int(versions)


async def record_shown(connection: AsyncConnection, repository: int, shown: Shown) -> None:
    """What readers see, where no listing was wholly applied."""
    await connection.execute(update(t.repositories).where(t.repositories.c.id == repository).values(_shown(shown)))


async def record_listing(connection: AsyncConnection, repository: int, shown: Shown, what: Applied, grace: timedelta | None) -> None:
    """What readers see and what the next request goes by. `grace`: something was withdrawn and stays that long."""
    row = t.repositories.c
    values: dict[str, Any] = {
        **_shown(shown),
        "applied_url": what.url,
        "etag": what.etag,
        "last_modified": what.last_modified,
        "body_sha256": what.sha256,
        "generated": what.generated,
        "newest_created": what.newest_created,
    }
    if grace is not None:
        values["purge_at"] = func.coalesce(row.purge_at, func.now() + grace)
    await connection.execute(update(t.repositories).where(row.id == repository).values(values))


def _shown(shown: Shown) -> dict[str, Any]:
    return {
        "applied_fingerprint": shown.terms or None,
        "applied_filter": shown.filter,
        "applied_files": shown.files,
        "charts": shown.charts,
        "versions": shown.versions,
    }


async def update_specification(connection: AsyncConnection, repository: int, type_: str, url: str) -> None:
    """What a job's argv says of the repository, when it differs."""
    row = t.repositories.c
    await connection.execute(
        update(t.repositories).where(row.id == repository, (row.type != type_) | (row.url != url)).values(type=type_, url=url)
    )


async def purge(connection: AsyncConnection, repository: int, grace: timedelta) -> int:
    """Delete what was withdrawn longer than `grace` ago; the ledger keeps its history. Returns how many versions went."""
    values = {"repository": repository, "grace": grace}
    purged = (await connection.execute(_PURGE, values)).scalar_one()
    await connection.execute(_PURGE_CHARTS, values)
    await connection.execute(_NEXT_PURGE, values)
    if purged:
        await connection.execute(update(t.housekeeping).where(t.housekeeping.c.task == "contents").values(wanted=True))
    return purged


async def forget_listings(connection: AsyncConnection) -> int:
    """Let each repository's next sync read all of its listing, whatever its server says; what is published stays. Returns how many."""
    unknown = {"etag": None, "last_modified": None}
    forgotten = await connection.execute(update(t.repositories).values(body_sha256=None, **unknown))  # first: as a sync that publishes
    await connection.execute(update(t.held_listings).values(unknown))
    await connection.execute(update(t.charts).where(t.charts.c.piece_rollup.is_not(None)).values(piece_rollup=None, pieces=None))
    return forgotten.rowcount


async def delete_repository(connection: AsyncConnection, key: RepositoryKey, incarnation: str) -> bool:
    """Fence the incarnation and remove the repository's rows; False when there were none."""
    fence = {"namespace": key.namespace, "name": key.name, "incarnation": incarnation}
    await connection.execute(insert(t.fences).values(fence).on_conflict_do_nothing())
    row = t.repositories.c
    found = select(row.id).where(row.namespace == key.namespace, row.name == key.name).with_for_update()
    if incarnation:
        found = found.where((row.incarnation == incarnation) | row.incarnation.is_(None))
    repository = (await connection.execute(found)).scalar()
    if repository is None:
        return False
    await connection.execute(delete(t.repositories).where(row.id == repository))
    return True
