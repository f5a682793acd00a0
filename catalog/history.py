"""What became of a chart: the ledger's rows, also those of versions and charts that are withdrawn.

Functions of a connection that search.seeing opened.
"""

from typing import NamedTuple

from sqlalchemy import and_, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog.paging import Page, Slice, equal_if_given, given, listing, page
from catalog.search import ChartKey
from catalog.tables import chart_versions, charts, ledger, repositories


class ChangePosition(NamedTuple):
    seq: int


_later = ledger.alias("later")
_of_later_run = and_(  # one run may say two things of one change: another digest, another host
    *(_later.c[name] == ledger.c[name] for name in ("namespace", "repository", "chart", "version")),
    _later.c.seq > ledger.c.seq,
    _later.c.run_id != ledger.c.run_id,
)
_replaced_later = (
    select(_later.c.replaced).where(_of_later_run, _later.c.replaced.is_not(None)).order_by(_later.c.seq).limit(1).scalar_subquery()
)
_stands = (
    select(
        func.jsonb_build_object(
            *("digest", chart_versions.c.digest),
            *("urls", chart_versions.c.urls),
            *("app_version", chart_versions.c.app_version),
            *("metadata", chart_versions.c.metadata),
        )
    )
    .select_from(repositories.join(charts, charts.c.repository_id == repositories.c.id).join(chart_versions))
    .where(
        repositories.c.namespace == ledger.c.namespace,
        repositories.c.name == ledger.c.repository,
        charts.c.name == ledger.c.chart,
        chart_versions.c.version == ledger.c.version,
    )
    .scalar_subquery()
)
_CHANGES = listing(
    select(
        *(ledger.c[name] for name in ("seq", "at", "version", "change", "replaced")),
        ledger.c.run_id.label("run"),
        func.coalesce(_replaced_later, _stands).label("replacement"),
    ).where(
        ledger.c.namespace == given("namespace"),
        ledger.c.repository == given("repository"),
        ledger.c.chart == given("chart"),
        equal_if_given(ledger.c.version, "version"),
    ),
    ChangePosition,
    descending=True,
)


async def changes_of(connection: AsyncConnection, key: ChartKey, version: str | None, part: Slice[ChangePosition]) -> Page[ChangePosition]:
    """A chart's changes, or those of one version, newest first; `replacement` is the entry that came in the place of `replaced`."""
    values = {"namespace": key.namespace, "repository": key.repository, "chart": key.chart, "version": version}
    return await page(connection, _CHANGES, values, part)
