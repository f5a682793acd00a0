"""A listing on its way in: what is known of it, its changed charts in temporary tables, and the difference to what is stored.

The tables belong to the connection, are made once in its life and emptied by each commit: rows in them write no WAL, making them does.
A chart has one line without a version and one for each version that came. A `complete` chart's versions are all that is listed; another's
come on top of what is stored, without those in `dropped`.
"""

from collections.abc import AsyncIterable, Mapping, Sequence

from sqlalchemy import or_, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog import tables as t
from catalog.engine import driver

MANY = 1_000  # lines from which on each statement is planned for what is there

# A plan made for a few rows would be kept for many; and of a repository that statistics do not know yet PostgreSQL expects a single chart,
# and would compare each line with each chart.
_FOR_MANY = """
    select set_config('plan_cache_mode', 'force_custom_plan', true), set_config('enable_nestloop', 'off', true),
           set_config('jit', 'off', true)
"""

_STAGED = text("""
    create temporary table if not exists staged (
      chart text, version text, newest boolean, order_key bytea, fingerprint bytea, app_version text, digest text, created timestamptz,
      deprecated boolean, urls text[], metadata jsonb,
      rollup bytea, complete boolean, piece_rollup bytea, pieces bytea, dropped text[]
    ) on commit delete rows
""")

_STAGED_CHANGES = text("""
    create temporary table if not exists staged_changes (change text, kinds text[], chart text, version text, replaced jsonb)
    on commit delete rows
""")

# What came: new, back again, or another content under the same version. One word says what is to be done, `kinds` what history says.
_CAME = text(r"""
    insert into pg_temp.staged_changes (change, kinds, chart, version, replaced)
    select d.change,
           case when d.change = 'added' or d.change = 'changed' and not (d.digest or d.host) then array[d.change]
                else array_remove(array[case when d.change = 'reappeared' then d.change end,
                                        case when d.digest then 'digest-changed' end, case when d.host then 'host-changed' end], null) end,
           d.chart, d.version, d.replaced
    from (
      select case when v.id is null then 'added' when v.removed_at is not null then 'reappeared' else 'changed' end as change,
             s.chart, s.version,
             replace(lower(v.digest), 'sha256:', '') is distinct from replace(lower(s.digest), 'sha256:', '') as digest,
             substring(v.urls[1] from '^[A-Za-z][A-Za-z0-9+.-]*://([^/?#]*)')
               is distinct from substring(s.urls[1] from '^[A-Za-z][A-Za-z0-9+.-]*://([^/?#]*)') as host,
             case when v.fingerprint <> s.fingerprint
                  then jsonb_build_object('digest', v.digest, 'urls', to_jsonb(v.urls), 'app_version', v.app_version,
                                          'metadata', v.metadata) end as replaced
      from pg_temp.staged s
      left join chartfleet.charts c on c.repository_id = :repository and c.name = s.chart
      left join chartfleet.chart_versions v on v.chart_id = c.id and v.version = s.version
      where s.version is not null and (v.id is null or v.removed_at is not null or v.fingerprint <> s.fingerprint)
    ) d
""")

_WENT = text("""
    insert into pg_temp.staged_changes (change, kinds, chart, version)
    select 'removed', array['removed'], l.chart, v.version
    from (select chart, complete, dropped from pg_temp.staged where version is null
          union all
          select gone, true, null from unnest(cast(:gone as text[])) gone) l
    join chartfleet.charts c on c.repository_id = :repository and c.name = l.chart
    join chartfleet.chart_versions v on v.chart_id = c.id and v.removed_at is null
    where (l.complete or v.version = any (l.dropped))
      and not exists (select from pg_temp.staged s where s.chart = l.chart and s.version = v.version)
""")


async def known_charts(connection: AsyncConnection, repository: int) -> dict[str, tuple[bytes, bytes | None]]:
    """Each listed chart, visible or excluded: the hash over its versions and the one over its pieces."""
    c = t.charts.c
    query = select(c.name, c.rollup, c.piece_rollup).where(c.repository_id == repository, or_(c.removed_at.is_(None), c.excluded))
    return {name: (rollup, pieces) for name, rollup, pieces in await connection.execute(query)}


async def pieces_of(connection: AsyncConnection, repository: int, charts: Sequence[str]) -> Mapping[str, bytes]:
    """The stored pieces of those charts that have some."""
    c = t.charts.c
    query = select(c.name, c.pieces).where(c.repository_id == repository, c.name.in_(charts), c.pieces.is_not(None))
    return {name: bytes(pieces) for name, pieces in await connection.execute(query)}


async def stage(connection: AsyncConnection, lines: AsyncIterable[bytes]) -> None:
    """Load COPY lines into this transaction's staging table; an empty piece voids what came before."""
    await connection.execute(_STAGED)
    await connection.execute(_STAGED_CHANGES)
    raw = await driver(connection)
    async with raw.cursor() as cursor:
        pieces = aiter(lines)
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
                await cursor.execute("delete from pg_temp.staged")
        if cursor.rowcount > MANY:
            await cursor.execute(_FOR_MANY)
            await cursor.execute("analyze pg_temp.staged (chart, version)")


async def find_changes(connection: AsyncConnection, repository: int, gone: Sequence[str]) -> dict[str, int]:
    """Compare the staged listing with the stored one; `gone` are stored charts that it has no more. Returns how many versions were
    added, reappeared, changed, removed."""
    await connection.execute(_CAME, {"repository": repository})
    await connection.execute(_WENT, {"repository": repository, "gone": list(gone)})
    rows = await connection.execute(text("select change, count(*) from pg_temp.staged_changes group by change"))
    return {str(change): int(count) for change, count in rows}


async def staged_charts(connection: AsyncConnection) -> list[str]:
    """The names of the charts that changed."""
    return [chart for (chart,) in await connection.execute(text("select chart from pg_temp.staged where version is null"))]


async def leave_out(connection: AsyncConnection, changes: Sequence[str]) -> None:
    """Of a listing that is held, these changes are not published."""
    await connection.execute(text("delete from pg_temp.staged_changes where change = any (:changes)"), {"changes": list(changes)})
