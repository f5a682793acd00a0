"""What became of a chart, from the ledger's rows, as the API's role."""

from psycopg import AsyncConnection as DriverConnection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from api.charts import replaced_of
from catalog import history, search
from catalog.engine import engine_over
from catalog.history import ChangePosition
from catalog.paging import Slice
from catalog.search import ChartKey
from tests.conftest import Database
from tests.fakes.helm_repo import index
from tests.integration.conftest import Syncer
from tests.integration.rows import Rows

KEY = ChartKey("default", "repo", "app")


async def changes(connection: AsyncConnection, version: str | None = None, key: ChartKey = KEY) -> list[tuple[str, str]]:
    """(version, change), read two at a time."""
    seen, after = list[tuple[str, str]](), None
    while True:
        page = await history.changes_of(connection, key, version, Slice[ChangePosition](2, after))
        seen += [(row["version"], row["change"]) for row in page.rows]
        if (after := page.next) is None:
            assert page.total == len(seen)
            return seen


async def test_the_newest_change_comes_first_and_one_version_has_a_history_of_its_own(rows: Rows, connection: AsyncConnection) -> None:
    for version, change in (
        ("1.0.0", "added"),
        ("1.1.0", "added"),
        ("1.0.0", "digest-changed"),
        ("1.0.0", "removed"),
        ("1.1.0", "excluded"),
    ):
        rows.change(change, version)
    rows.change("added", chart="other")
    rows.change("added", repository="other")
    assert await changes(connection) == [
        ("1.1.0", "excluded"),
        ("1.0.0", "removed"),
        ("1.0.0", "digest-changed"),
        ("1.1.0", "added"),
        ("1.0.0", "added"),
    ]
    assert await changes(connection, "1.1.0") == [("1.1.0", "excluded"), ("1.1.0", "added")]
    assert await changes(connection, "9.9.9") == []


async def test_what_is_withdrawn_or_deleted_keeps_its_history(rows: Rows, connection: AsyncConnection) -> None:
    rows.chart(rows.repository("repo"), "app", removed_at="now")
    rows.change("removed")
    assert await changes(connection) == [("1.0.0", "removed")]
    rows.connection.execute("delete from chartfleet.repositories")
    assert await changes(connection) == [("1.0.0", "removed")]


async def test_what_came_in_a_replaced_entrys_place_is_the_next_replaced_one_or_what_stands(
    rows: Rows, connection: AsyncConnection
) -> None:
    rows.chart(rows.repository("repo"), "app")
    rows.change("changed", replaced={"digest": "first"}, run_id=1)
    rows.change("changed", "2.0.0", replaced={"digest": "of another version"}, run_id=2)
    rows.change("removed", run_id=3)
    rows.change("digest-changed", replaced={"digest": "second"}, run_id=4)
    page = await history.changes_of(connection, KEY, "1.0.0", Slice(50))
    newest, removed, oldest = page.rows
    assert (newest["replacement"]["digest"], newest["replacement"]["metadata"]) == (None, {"description": "Release 1.0.0"})
    assert removed["replaced"] is None
    assert oldest["replacement"] == {"digest": "second"}


async def test_a_history_tells_what_syncs_did(syncer: Syncer, connection: AsyncConnection) -> None:
    key = ChartKey("default", "demo", "app")
    before = {"version": "1.0.0", "digest": "d1", "urls": ["https://old.example.org/app.tgz"], "icon": "i", "home": "h"}
    await syncer.sync(index({"app": [before]}))
    after = {**before, "digest": "d2", "urls": ["https://new.example.org/app.tgz"], "home": "other"}
    await syncer.sync(index({"app": [after], "other": [{"version": "1.0.0"}]}))
    await syncer.sync(index({"other": [{"version": "1.0.0"}]}))
    page = await history.changes_of(connection, key, None, Slice(50))
    assert [row["change"] for row in page.rows] == ["removed", "host-changed", "digest-changed", "added"]
    expected = {"urls": before["urls"], "home": "h"}
    for row in page.rows[1:3]:
        replaced = replaced_of(row)
        assert replaced is not None
        assert (replaced.digest, replaced.hosts, replaced.fields) == ("d1", ["old.example.org"], expected)


async def test_a_version_that_comes_back_as_another_archive_says_both(syncer: Syncer) -> None:
    stays = {"version": "2.0.0"}
    for listed in ([{"version": "1.0.0", "digest": "d1"}, stays], [stays], [{"version": "1.0.0", "digest": "d2"}, stays]):
        await syncer.sync(index({"app": listed}))
    query = "select change, replaced ->> 'digest' from chartfleet.ledger where version = '1.0.0' order by seq"
    assert syncer.database.rows(query) == [("added", None), ("removed", None), ("digest-changed", "d1"), ("reappeared", "d1")]


async def test_another_namespaces_history_is_not_seen(rows: Rows, engine: AsyncEngine) -> None:
    for namespace in ("a", "b"):
        rows.change("added", namespace=namespace)
    async with search.seeing(engine, ("a",)) as connection:
        assert await changes(connection, key=ChartKey("a", "repo", "app")) == [("1.0.0", "added")]
        assert await changes(connection, key=ChartKey("b", "repo", "app")) == []
        assert (await connection.exec_driver_sql("select count(*) from chartfleet.ledger")).scalar_one() == 1


async def test_a_history_goes_by_the_index_of_charts(rows: Rows, database: Database) -> None:
    rows.connection.execute("""
        insert into chartfleet.ledger (run_id, namespace, repository, chart, version, change)
        select 1, 'default', 'repo', 'chart-' || n % 500, n || '.0.0', 'added' from generate_series(1, 20000) n""")
    database.rows("vacuum analyze chartfleet.ledger")
    plans = list[str]()
    async with await DriverConnection.connect(database.admin) as driver:
        driver.add_notice_handler(lambda notice: plans.append(notice.message_primary or ""))
        for statement in ("load 'auto_explain'", "set auto_explain.log_min_duration = 0", "set client_min_messages = log"):
            await driver.execute(statement.encode())
        await driver.execute("set role chartfleet_reader")
        await driver.commit()
        async with search.seeing(engine_over(driver), ("default",)) as connection:
            page = await history.changes_of(connection, ChartKey("default", "repo", "chart-7"), None, Slice(5))
    assert (len(page.rows), page.total) == (5, 40)
    lists = [plan for plan in plans if "Limit" in plan]
    assert lists
    assert all("Index Scan Backward using ledger_chart" in plan and "Sort" not in plan for plan in lists), lists
