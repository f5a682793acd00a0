"""What a repository's rows say, as tests compare them."""

from tests.conftest import Database

Row = tuple[object, ...]

_CHARTS = """
    select c.name, to_jsonb(c) - '{id,repository_id,namespace,created,words,pieces,piece_rollup}'::text[]
    from chartfleet.charts c join chartfleet.repositories r on r.id = c.repository_id
    where r.name = %s and c.removed_at is null order by 1"""

_VERSIONS = """
    select c.name, v.version, to_jsonb(v) - '{id,chart_id,namespace,created,first_seen}'::text[]
    from chartfleet.charts c join chartfleet.repositories r on r.id = c.repository_id
    join chartfleet.chart_versions v on v.chart_id = c.id and v.removed_at is null
    where r.name = %s and c.removed_at is null order by 1, 2"""

# Where each row lies and which transaction wrote it: a row that is written again, with whatever, differs.
_PLACES = """
    select 'chart', c.ctid::text, c.xmin::text from chartfleet.charts c join chartfleet.repositories r on r.id = c.repository_id
    where r.name = %s
    union all
    select 'version', v.ctid::text, v.xmin::text from chartfleet.charts c join chartfleet.repositories r on r.id = c.repository_id
    join chartfleet.chart_versions v on v.chart_id = c.id where r.name = %s
    union all
    select 'ledger', l.ctid::text, l.xmin::text from chartfleet.ledger l where l.repository = %s
    order by 1, 2"""


def content(database: Database, name: str) -> list[Row]:
    """Every visible chart and version with all that a fresh sync would write: without `created`, history and what is out of sight."""
    return [*database.rows(_CHARTS, name), *database.rows(_VERSIONS, name)]


def listed(database: Database, name: str = "demo") -> set[tuple[str, str]]:
    """(chart, version) of every visible version."""
    return {(str(chart), str(version)) for chart, version, _ in database.rows(_VERSIONS, name)}


def places(database: Database, name: str) -> list[Row]:
    """Equal before and after a sync that wrote no chart, no version and no history."""
    return database.rows(_PLACES, name, name, name)
