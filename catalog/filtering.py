"""What a filter rule sees of a repository's charts, and what its verdicts do to them. Functions of a connection; they never commit.

A chart is visible when `removed_at` is null. An excluded one keeps its rows, in step with the listing: another rule needs no download.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog.database import LEDGER_LOCK
from catalog.model import RepositoryKey
from catalog.report import Note

FAILED = "FilterError"  # a note's reason: the rule said neither true nor false of a chart, so it is excluded

# Kubeapps' models.Chart with the newest version alone ("only the latest version of the chart is evaluated"). As there, `repo.type` is
# empty, a `/` in a name is %2F, and what an index lacks is "", null or, of maintainers, []. The URL's query may be secret: it is left out.
_JUDGED = text(r"""
    select c.id, c.name, jsonb_build_object(
      'ID', r.name || '/' || replace(c.name, '/', '%2F'),
      'name', replace(c.name, '/', '%2F'),
      'repo', jsonb_build_object('namespace', r.namespace, 'name', r.name, 'url', regexp_replace(r.url, '\?.*', ''), 'type', ''),
      'description', coalesce(v.metadata ->> 'description', ''),
      'home', coalesce(v.metadata ->> 'home', ''),
      'keywords', case jsonb_typeof(v.metadata -> 'keywords') when 'array' then v.metadata -> 'keywords' end,
      'maintainers',
        case jsonb_typeof(v.metadata -> 'maintainers') when 'array' then jsonb_strip_nulls(v.metadata -> 'maintainers') else '[]' end,
      'sources', case jsonb_typeof(v.metadata -> 'sources') when 'array' then v.metadata -> 'sources' end,
      'icon', coalesce(v.metadata ->> 'icon', ''),
      'raw_icon', null,
      'icon_content_type', '',
      'category', coalesce(v.metadata #>> '{annotations,category}', ''),
      'chartVersions', jsonb_build_array(jsonb_build_object(
        'version', v.version,
        'app_version', coalesce(v.app_version, ''),
        'created', coalesce(to_char(v.created at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'), '0001-01-01T00:00:00Z'),
        'digest', coalesce(v.digest, ''),
        'urls', nullif(v.urls, '{}'),
        'readme', '', 'values', '', 'additional_values', null, 'schema', ''))
    )::text
    from chartfleet.repositories r
    join chartfleet.charts c on c.repository_id = r.id and (c.removed_at is null or c.excluded)
    cross join lateral (  -- one look by its key a chart: a first sync's tables have no statistics yet, and a join may come out quadratic
      select * from chartfleet.chart_versions v where v.chart_id = c.id and v.version = c.version and v.removed_at is null limit 1
    ) v
    where r.id = :repository and (cast(:names as text[]) is null or c.name = any(:names))
    order by c.name
""")

# A chart that is withdrawn upstream is none of the rule's business.
_APPLY = text("""
    with turned as (
      update chartfleet.charts c
      set excluded = not j.kept, removed_at = case when not j.kept then now() end
      from unnest(cast(:charts as bigint[]), cast(:kept as boolean[])) as j(id, kept)
      where c.id = j.id and c.excluded = j.kept and (c.removed_at is null or c.excluded)
      returning c.name, c.version, case when c.excluded then 'excluded' else 'included' end as change
    ), written as (
      insert into chartfleet.ledger (run_id, namespace, repository, chart, version, change)
      select :run, :namespace, :name, name, version, change from turned order by name
    )
    select count(*) filter (where change = 'excluded'), count(*) filter (where change = 'included') from turned
""")

_LAST_NOTES = text("""
    select n ->> 'chart', n ->> 'version', n ->> 'reason', n ->> 'message'
    from (
      select notes from chartfleet.sync_runs
      where repository_id = :repository and job = 'sync' and (state = 'done' or error_class = 'RemovalsHeld') and notes is not null
      order by id desc limit 1
    ) last cross join jsonb_array_elements(last.notes) with ordinality as of_run(n, place)
    order by place
""")


@dataclass(frozen=True, slots=True)
class Filtered:
    """How many charts a rule turned out, and how many it let in again."""

    excluded: int = 0
    included: int = 0


async def judged_charts(connection: AsyncConnection, repository: int, names: Sequence[str] | None) -> AsyncIterator[tuple[int, str, str]]:
    """The id, name and document (JSON, in one line) of each listed chart among `names`, by name; None: of all."""
    async for id_, name, document in await connection.stream(_JUDGED, {"repository": repository, "names": names}):
        yield id_, name, document


async def apply_filter(connection: AsyncConnection, run: int, key: RepositoryKey, verdicts: Mapping[int, bool]) -> Filtered:
    """Show the charts (by id) that are kept and hide the others; what is so already stays untouched. Takes the ledger's lock.

    Comes after the ledger's rows of the listing, for a chart is added before it is excluded.
    """
    await connection.execute(select(func.pg_advisory_xact_lock(LEDGER_LOCK, 0)))
    values = {"run": run, "namespace": key.namespace, "name": key.name, "charts": list(verdicts), "kept": list(verdicts.values())}
    return Filtered(*(await connection.execute(_APPLY, values)).one())


async def last_notes(connection: AsyncConnection, repository: int) -> list[Note]:
    """The notes of the last run that had any to say."""
    return [Note(*row) for row in await connection.execute(_LAST_NOTES, {"repository": repository})]
