"""The statements of catalog.search, as the API's role, on real rows."""

from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from api.params import tsquery_text
from catalog import search
from catalog.engine import pooled_engine
from catalog.errors import StoreUnavailable
from catalog.paging import Slice
from catalog.search import ChartKey, ChartPosition, ChartQuery, InvalidQuery, VersionPosition
from tests.conftest import Database
from tests.integration.rows import Rows

ALL = ("*",)
FIRST: Slice[Any] = Slice(50)


async def names(connection: AsyncConnection, typed: str | None = None, **filters: str) -> list[str]:
    found = await search.search_charts(connection, ChartQuery(tsquery_text(typed), **filters), FIRST)
    assert found.total == len(found.rows)
    return [row["name"] for row in found.rows]


@pytest.mark.parametrize("typed", ["home-assistant", "home assist", "assistant", "HOME", "home-assistant:", "'home'"])
async def test_a_name_with_a_hyphen_is_found_by_each_way_to_type_it(rows: Rows, connection: AsyncConnection, typed: str) -> None:
    repository = rows.repository("k8s-at-home")
    rows.chart(repository, "home-assistant")
    rows.chart(repository, "plex")
    assert await names(connection, typed) == ["home-assistant"]


async def test_a_name_counts_more_than_a_keyword_and_a_keyword_more_than_a_description(rows: Rows, connection: AsyncConnection) -> None:
    repository = rows.repository("bitnami")
    rows.chart(repository, "a", description="a database such as postgresql")
    rows.chart(repository, "b", keywords=["postgresql"])
    rows.chart(repository, "postgresql", description="")
    assert await names(connection, "postgres") == ["postgresql", "b", "a"]


async def test_every_word_must_be_found(rows: Rows, connection: AsyncConnection) -> None:
    repository = rows.repository("bitnami")
    rows.chart(repository, "wordpress", description="with a database")
    rows.chart(repository, "drupal", description="with a database")
    assert await names(connection, "wordpress database") == ["wordpress"]


@pytest.mark.parametrize(
    "typed", ["'", ":*", "&|!", "\\", "🚀", "<->", "( ", "a' | 'b", "!x", "\0", "🚀 🚀", "%_", "x" * 10_000, "zzz " * 2_000, "'\\''"]
)
async def test_whatever_is_typed_is_a_search(rows: Rows, connection: AsyncConnection, typed: str) -> None:
    rows.chart(rows.repository("bitnami"), "wordpress")
    assert await names(connection, typed) == []


async def test_charts_are_filtered_by_namespace_and_repository(rows: Rows, connection: AsyncConnection) -> None:
    for namespace in ("default", "team"):
        for name in ("one", "two"):
            repository = rows.repository(name, namespace)
            rows.chart(repository, f"{namespace}-{name}", namespace=namespace)
    assert await names(connection) == ["default-one", "default-two", "team-one", "team-two"]
    assert await names(connection, namespace="team") == ["team-one", "team-two"]
    assert await names(connection, repository="one") == ["default-one", "team-one"]
    assert await names(connection, "team", namespace="team", repository="two") == ["team-two"]
    assert await names(connection, namespace="' or true --") == []


async def test_what_was_removed_is_nowhere(rows: Rows, connection: AsyncConnection) -> None:
    repository = rows.repository("bitnami")
    rows.chart(repository, "gone", removed_at="now")
    rows.chart(repository, "here", ["2.0.0", "1.0.0"])
    rows.connection.execute("update chartfleet.chart_versions set removed_at = now() where version = '1.0.0'")
    assert await names(connection) == ["here"]
    assert await names(connection, "gone") == []
    assert await search.chart(connection, ChartKey("default", "bitnami", "gone")) is None
    assert (await search.versions_of(connection, ChartKey("default", "bitnami", "here"), FIRST)).total == 1
    assert await search.chart_version(connection, ChartKey("default", "bitnami", "here"), "1.0.0") is None


@pytest.mark.parametrize("typed", [None, "same"])
async def test_paging_visits_every_chart_once_also_among_equal_ranks(rows: Rows, connection: AsyncConnection, typed: str | None) -> None:
    expected: set[tuple[str, str, str]] = set()
    for namespace in ("a", "b"):
        for repository in ("x", "y"):
            number = rows.repository(repository, namespace)
            for name in ("same", "same-too", "Same", "sämé same"):
                rows.chart(number, name, namespace=namespace, description="all the same")
                expected.add((namespace, repository, name))
    seen, after = list[tuple[str, str, str]](), None
    while True:
        page = await search.search_charts(connection, ChartQuery(tsquery_text(typed)), Slice(3, after))
        assert page.total == len(expected)
        seen += [(row["namespace"], row["repository"], row["name"]) for row in page.rows]
        if (after := page.next) is None:
            break
    assert len(seen) == len(expected)
    assert set(seen) == expected


async def test_a_page_goes_on_where_the_last_one_ended_while_rows_come_and_go(rows: Rows, connection: AsyncConnection) -> None:
    repository = rows.repository("bitnami")
    for name in "bdfh":
        rows.chart(repository, name)
    first = await search.search_charts(connection, ChartQuery(), Slice(2))
    rows.chart(repository, "a")
    rows.connection.execute("delete from chartfleet.charts where name = 'd'")
    second = await search.search_charts(connection, ChartQuery(), Slice(2, first.next))
    assert [row["name"] for row in (*first.rows, *second.rows)] == ["b", "d", "f", "h"]
    assert second.next is None


async def test_versions_come_in_helms_order_and_are_paged_in_it(rows: Rows, connection: AsyncConnection) -> None:
    versions = ["10.0.0", "9.0.0", "9.0.0-rc.10", "9.0.0-rc.2", "1.2.0+b", "1.2.0+a", "0.1.0"]
    rows.chart(rows.repository("bitnami"), "wordpress", versions)
    seen, after = list[str](), None
    while True:
        page = await search.versions_of(connection, ChartKey("default", "bitnami", "wordpress"), Slice[VersionPosition](2, after))
        seen += [row["version"] for row in page.rows]
        if (after := page.next) is None:
            break
    assert seen == versions


async def test_namespaces_are_kept_apart(rows: Rows, engine: AsyncEngine) -> None:
    for namespace in ("a", "b"):
        repository = rows.repository("repo", namespace)
        version = rows.chart(repository, "secret", namespace=namespace)
        rows.file(version, "README.md", f"of {namespace}".encode(), namespace)
        rows.work(repository, version, namespace)
    async with search.seeing(engine, ("a",)) as connection:
        assert [row["namespace"] for row in (await search.search_charts(connection, ChartQuery(), FIRST)).rows] == ["a"]
        assert [row["namespace"] for row in (await search.search_charts(connection, ChartQuery("secret:*"), FIRST)).rows] == ["a"]
        hidden = ChartKey("b", "repo", "secret")
        assert await search.chart(connection, hidden) is None
        assert await search.chart_version(connection, hidden, "1.0.0") is None
        assert await search.version_file(connection, hidden, "1.0.0", "README.md") is None
        assert (await search.versions_of(connection, hidden, FIRST)).total == 0
        for table in ("version_files", "file_work"):
            seen = await connection.exec_driver_sql(f"select namespace from chartfleet.{table}")
            assert seen.scalars().all() == ["a"]
        every = "select convert_from(content, 'UTF8') from generate_series(1, 99) v, chartfleet.version_file(v, 'README.md')"
        assert (await connection.exec_driver_sql(every)).scalars().all() == ["of a"]
        matches = await connection.exec_driver_sql("select count(*) from chartfleet.matching_charts('secret:*')")
        assert matches.scalar_one() == 1


async def mismatched(connection: AsyncConnection) -> list[int]:
    """Of all charts."""
    found = await search.search_charts(connection, ChartQuery(), FIRST)
    return list(await search.mismatched(connection, [row["id"] for row in found.rows]))


LISTED, OTHER = "ab" * 32, "cd" * 32
APP = ChartKey("default", "repo", "app")


async def archive(connection: AsyncConnection) -> tuple[object, object]:
    """(as_listed, stale) of the one version, equal for its chart."""
    found, of_chart = await search.chart_version(connection, APP, "1.0.0"), await search.chart(connection, APP)
    assert found is not None
    assert of_chart is not None
    assert (found["as_listed"], found["stale"]) == (of_chart["as_listed"], of_chart["stale"])
    return found["as_listed"], found["stale"]


@pytest.mark.parametrize(
    ("digest", "listed", "as_listed"),
    [(LISTED, f"sha256:{LISTED.upper()}", True), (LISTED, LISTED, True), (OTHER, LISTED, False), (OTHER, None, None), (OTHER, "", None)],
)
async def test_an_archive_is_as_listed_by_its_digest(
    rows: Rows, connection: AsyncConnection, digest: str, listed: str | None, as_listed: bool | None
) -> None:
    rows.archive(rows.chart(rows.repository("repo"), "app"), digest, listed, as_listed=True)
    assert await archive(connection) == (as_listed, False)
    assert bool(await mismatched(connection)) is (as_listed is False)


async def test_an_archive_is_stale_until_the_one_that_is_listed_since_is_read(rows: Rows, connection: AsyncConnection) -> None:
    repository = rows.repository("repo")
    version = rows.chart(repository, "app")
    rows.archive(version, OTHER, LISTED, as_listed=True)
    rows.work(repository, version)
    assert await archive(connection) == (False, True)
    assert await mismatched(connection) == []
    rows.connection.execute("update chartfleet.chart_versions set digest = %s", (OTHER,))
    assert await archive(connection) == (True, False)


@pytest.mark.parametrize("namespaces", [(), ("",), ("c",)])
async def test_who_may_see_nothing_sees_nothing(rows: Rows, engine: AsyncEngine, namespaces: tuple[str, ...]) -> None:
    rows.chart(rows.repository("repo"), "chart")
    async with search.seeing(engine, namespaces) as connection:
        assert await names(connection) == []
        assert await names(connection, "chart") == []


async def test_the_next_transaction_of_a_connection_begins_blind(rows: Rows, engine: AsyncEngine) -> None:
    rows.chart(rows.repository("repo"), "chart")
    async with search.seeing(engine, ALL) as connection:
        assert await names(connection) == ["chart"]
    async with engine.begin() as connection:
        assert await names(connection) == []


async def test_the_search_goes_by_the_index_of_words(rows: Rows, database: Database) -> None:
    rows.repository("big")
    rows.connection.execute(
        "insert into chartfleet.charts (repository_id, namespace, name, rollup, version, description, versions)"
        " select id, namespace, 'chart-' || n, '', '1.0.0', 'number ' || n, 1 from chartfleet.repositories, generate_series(1, 10000) n"
    )
    plans = list[str]()
    with psycopg.connect(database.admin, autocommit=True) as connection:
        connection.execute("vacuum analyze chartfleet.charts")
        connection.add_notice_handler(lambda notice: plans.append(notice.message_primary or ""))
        connection.execute("load 'auto_explain'")
        for name, value in (
            ("auto_explain.log_min_duration", "0"),
            ("auto_explain.log_nested_statements", "on"),
            ("client_min_messages", "log"),
        ):
            connection.execute("select set_config(%s, %s, false)", (name, value))
        connection.execute("set role chartfleet_reader")
        connection.execute("select set_config('chartfleet.namespaces', 'default', false)")
        assert connection.execute("select count(*) from chartfleet.matching_charts('4711:*')").fetchone() == (1,)
    assert any("Bitmap Index Scan on charts_words" in plan for plan in plans), plans


async def test_what_postgresql_cannot_hold_is_an_invalid_query(engine: AsyncEngine) -> None:
    with pytest.raises(InvalidQuery, match="NUL"):
        async with search.seeing(engine, ALL) as connection:
            await search.search_charts(connection, ChartQuery(namespace="a\0b"), FIRST)
    with pytest.raises(InvalidQuery):
        async with search.seeing(engine, ALL) as connection:
            await search.search_charts(connection, ChartQuery(), Slice(50, ChartPosition(0, "", "", "", 2**70)))


async def test_a_database_that_is_away_is_named(new_database: Callable[[], Database]) -> None:
    database = new_database()
    engine = pooled_engine(f"postgresql://chartfleet_reader@/absent?host={database.sockets}", "chartfleet_reader", "tests")
    with pytest.raises(StoreUnavailable):
        async with search.seeing(engine, ALL):
            pass


async def test_a_connection_that_was_cut_between_requests_is_replaced(rows: Rows, database: Database, engine: AsyncEngine) -> None:
    rows.chart(rows.repository("repo"), "chart")
    for _ in range(2):
        async with search.seeing(engine, ALL) as connection:
            assert await names(connection) == ["chart"]
        database.rows("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'chartfleet tests'")
