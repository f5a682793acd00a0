"""Every statement that changes the catalogue. Functions of a connection; they never commit: whoever opens the transaction ends it.

Publishing compares sets in SQL: the rows of changed charts come by COPY into a temporary table, which writes no WAL, and only what
differs from the stored rows touches them.
"""

from collections.abc import AsyncIterable, Sequence
from dataclasses import dataclass

from sqlalchemy import delete, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog import tables as t
from catalog.database import LEDGER_LOCK
from catalog.engine import driver
from catalog.errors import RepositoryGone
from catalog.model import RepositoryKey

_STAGE = text("""
    create temporary table staged (
      chart text, rollup bytea, newest boolean, version text, order_key bytea, fingerprint bytea, app_version text, digest text,
      created timestamptz, deprecated boolean, urls text[], metadata jsonb
    ) on commit drop
""")

_STAGE_CHANGES = text("create temporary table staged_changes (change text, chart text, version text, replaced jsonb) on commit drop")

_FIND_CHANGES = text("""
    with known as (
      select c.name as chart, v.version, v.fingerprint, v.removed_at, v.digest, v.metadata
      from chartfleet.charts c join chartfleet.chart_versions v on v.chart_id = c.id
      where c.repository_id = :repository and (c.name = any(:gone) or c.name in (select chart from staged))
    )
    insert into staged_changes
    select case when k.version is null then 'added' when k.removed_at is not null then 'reappeared' else 'changed' end,
           s.chart, s.version,
           case when k.removed_at is null and k.version is not null then jsonb_build_object('digest', k.digest, 'metadata', k.metadata) end
    from staged s left join known k using (chart, version)
    where k.version is null or k.removed_at is not null or k.fingerprint <> s.fingerprint
    union all
    select 'removed', k.chart, k.version, null
    from known k left join staged s using (chart, version)
    where k.removed_at is null and s.version is null
""")

_PUT_CHARTS = text("""
    insert into chartfleet.charts as c (repository_id, namespace, name, rollup, version, app_version, description, icon, home, keywords,
                                        deprecated, created, versions)
    select :repository, :namespace, s.chart, s.rollup, s.version, s.app_version, s.metadata ->> 'description', s.metadata ->> 'icon',
           s.metadata ->> 'home',
           case jsonb_typeof(s.metadata -> 'keywords')
             when 'array' then array(select word from jsonb_array_elements_text(s.metadata -> 'keywords') word where word is not null)
             else '{}' end,
           s.deprecated,
           coalesce((select v.created from chartfleet.charts o join chartfleet.chart_versions v on v.chart_id = o.id
                     where o.repository_id = :repository and o.name = s.chart and v.version = s.version), s.created),
           n.versions
    from staged s join (select chart, count(*) as versions from staged group by chart) n using (chart)
    where s.newest
    on conflict (repository_id, name) do update
    set rollup = excluded.rollup, version = excluded.version, app_version = excluded.app_version, description = excluded.description,
        icon = excluded.icon, home = excluded.home, keywords = excluded.keywords, deprecated = excluded.deprecated,
        created = excluded.created, versions = excluded.versions, removed_at = null
    where c.rollup <> excluded.rollup or c.removed_at is not null
""")

# `created` stays the first value that was seen.
_PUT_VERSIONS = text("""
    insert into chartfleet.chart_versions as v (chart_id, namespace, version, order_key, fingerprint, app_version, digest, created,
                                                deprecated, urls, metadata)
    select c.id, :namespace, s.version, s.order_key, s.fingerprint, s.app_version, s.digest, s.created, s.deprecated, s.urls, s.metadata
    from staged s
    join staged_changes x on x.chart = s.chart and x.version = s.version and x.change <> 'removed'
    join chartfleet.charts c on c.repository_id = :repository and c.name = s.chart
    on conflict (chart_id, version) do update
    set order_key = excluded.order_key, fingerprint = excluded.fingerprint, app_version = excluded.app_version, digest = excluded.digest,
        created = coalesce(v.created, excluded.created), deprecated = excluded.deprecated, urls = excluded.urls,
        metadata = excluded.metadata, removed_at = null
""")

_REMOVE_VERSIONS = text("""
    update chartfleet.chart_versions v set removed_at = now()
    from staged_changes x join chartfleet.charts c on c.repository_id = :repository and c.name = x.chart
    where x.change = 'removed' and v.chart_id = c.id and v.version = x.version
""")

_REMOVE_CHARTS = text("""
    update chartfleet.charts set removed_at = now() where repository_id = :repository and name = any(:gone) and removed_at is null
""")

# An archive is read when its version appears or its entry changes, unless it was read under the digest that is still listed.
_PUT_WORK = text("""
    insert into chartfleet.file_work as w (version_id, namespace, repository_id, newest)
    select v.id, :namespace, :repository, v.version = c.version
    from staged_changes x
    join chartfleet.charts c on c.repository_id = :repository and c.name = x.chart and c.removed_at is null
    join chartfleet.chart_versions v on v.chart_id = c.id and v.version = x.version
    left join chartfleet.version_files f on f.version_id = v.id
    where x.change <> 'removed' and v.urls <> '{}'
      and (f.version_id is null or x.change <> 'reappeared' and f.digest is distinct from replace(lower(v.digest), 'sha256:', ''))
    on conflict (version_id) do update
    set newest = excluded.newest, attempts = 0, next_attempt_at = now(), error_class = null, error = null
""")

_PUT_LEDGER = text("""
    insert into chartfleet.ledger (run_id, namespace, repository, chart, version, change, replaced)
    select :run, :namespace, :name, chart, version, change, replaced from staged_changes order by chart, version
""")


@dataclass(frozen=True, slots=True)
class Publication:
    """What goes into the repository's row with a listing."""

    repository: int
    key: RepositoryKey
    run: int
    fingerprint: str
    etag: str | None
    last_modified: str | None
    sha256: bytes
    charts: int
    versions: int
    gone: Sequence[str]


@dataclass(frozen=True, slots=True)
class Counts:
    added: int = 0
    changed: int = 0
    removed: int = 0


async def known_rollups(connection: AsyncConnection, repository: int) -> dict[str, bytes]:
    """Each listed chart's name and hash."""
    query = select(t.charts.c.name, t.charts.c.rollup).where(t.charts.c.repository_id == repository, t.charts.c.removed_at.is_(None))
    return {name: bytes(rollup) for name, rollup in await connection.execute(query)}


async def lock_repository(connection: AsyncConnection, repository: int) -> None:
    """Hold the repository's row for this transaction. Raises RepositoryGone when a deletion was first."""
    query = select(t.repositories.c.id).where(t.repositories.c.id == repository).with_for_update(key_share=True)
    if (await connection.execute(query)).first() is None:
        raise RepositoryGone("the repository was deleted while it was read")


async def stage(connection: AsyncConnection, rows: AsyncIterable[bytes]) -> None:
    """Load COPY lines into this transaction's staging table; an empty piece voids what came before."""
    await connection.execute(_STAGE)
    raw = await driver(connection)
    async with raw.cursor() as cursor:
        pieces = aiter(rows)
        again = True
        while again:
            again = False
            async with cursor.copy("copy pg_temp.staged from stdin") as copy:
                async for piece in pieces:
                    if not piece:
                        again = True
                        break
                    await copy.write(piece)
            if again:
                await cursor.execute("truncate pg_temp.staged")


async def publish(connection: AsyncConnection, what: Publication) -> Counts:
    """Bring the rows in line with the staged charts; everything else stays untouched."""
    values = {"repository": what.repository, "namespace": what.key.namespace, "gone": list(what.gone)}
    await connection.execute(_STAGE_CHANGES)
    await connection.execute(_FIND_CHANGES, values)
    counts = await _count_changes(connection)
    await connection.execute(_PUT_CHARTS, values)
    await connection.execute(_PUT_VERSIONS, values)
    if counts.removed:
        await connection.execute(_REMOVE_VERSIONS, values)
        await connection.execute(_REMOVE_CHARTS, values)
    await connection.execute(_PUT_WORK, values)
    await record_listing(connection, what)
    await connection.execute(select(func.pg_advisory_xact_lock(LEDGER_LOCK, 0)))
    await connection.execute(_PUT_LEDGER, {**values, "run": what.run, "name": what.key.name})
    return counts


async def record_listing(connection: AsyncConnection, what: Publication) -> None:
    """The validators and hash of what is published now, and the counts."""
    await connection.execute(
        update(t.repositories)
        .where(t.repositories.c.id == what.repository)
        .values(
            applied_fingerprint=what.fingerprint or None,
            etag=what.etag,
            last_modified=what.last_modified,
            body_sha256=what.sha256,
            charts=what.charts,
            versions=what.versions,
        )
    )


async def update_specification(connection: AsyncConnection, repository: int, type_: str, url: str) -> None:
    """What a job's argv says of the repository, when it differs."""
    row = t.repositories.c
    await connection.execute(
        update(t.repositories).where(row.id == repository, (row.type != type_) | (row.url != url)).values(type=type_, url=url)
    )


async def delete_repository(connection: AsyncConnection, key: RepositoryKey, incarnation: str) -> bool:
    """Fence the incarnation and remove the repository's rows with everything that only they used; False when there were none."""
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


async def _count_changes(connection: AsyncConnection) -> Counts:
    rows = await connection.execute(text("select change, count(*) from staged_changes group by change"))
    by_change = {str(change): int(count) for change, count in rows}
    return Counts(
        added=by_change.get("added", 0) + by_change.get("reappeared", 0),
        changed=by_change.get("changed", 0),
        removed=by_change.get("removed", 0),
    )
