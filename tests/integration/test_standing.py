"""The statements of catalog.standing, as the API's role, on real rows."""

from typing import Any

import pytest
from psycopg.types.json import Jsonb
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from catalog import search, standing
from catalog.model import RepositoryKey
from catalog.paging import Slice
from tests.conftest import Database
from tests.fakes.helm_repo import index
from tests.integration.conftest import Syncer
from tests.integration.rows import Rows


async def status(connection: AsyncConnection, name: str = "repo") -> dict[str, Any]:
    row = await standing.repository(connection, RepositoryKey("default", name))
    assert row is not None
    return dict(row)


async def test_a_repository_is_ready_while_its_newest_finished_sync_is_done(rows: Rows, connection: AsyncConnection) -> None:
    repository = rows.repository("repo")
    assert (await status(connection))["ready"] is False
    rows.run(repository, "done", finished_at="2026-01-01Z", notes="[]", notes_total=7)
    rows.run(repository, "done", finished_at="2026-01-02Z")
    rows.run(repository, "failed", job="files")
    rows.run(repository, "running")
    found = await status(connection)
    assert (found["ready"], found["state"], found["notes_total"]) == (True, "running", 7)
    assert found["last_sync"] == found["last_success"]
    rows.run(repository, "failed", finished_at="2026-01-03Z", error_class="SourceRefused", error="403")
    found = await status(connection)
    assert (found["ready"], found["error_class"], found["last_sync"].day, found["last_success"].day) == (False, "SourceRefused", 3, 2)


async def test_a_problem_of_the_schedule_makes_a_repository_unready(rows: Rows, connection: AsyncConnection) -> None:
    repository = rows.repository("repo")
    rows.run(repository, "done")
    rows.schedule(repository, problem_reason="WaitingForSecret", problem="waiting for Secret default/token (key password)")
    found = await status(connection)
    assert (found["ready"], found["problem_reason"]) == (False, "WaitingForSecret")


async def test_totals_count_repositories_charts_and_work(rows: Rows, connection: AsyncConnection) -> None:
    assert (await standing.totals(connection))["oldest_success"] is None
    done = rows.repository("done", charts=3, versions=30)
    rows.run(done, "done", finished_at="2020-01-01Z")
    version = rows.chart(done, "chart")
    rows.work(done, version)
    rows.run(rows.repository("running", charts=1, versions=2), "running")
    reading = rows.repository("reading")
    rows.run(reading, "done", job="sync")
    rows.run(reading, "running", job="files", phase="enriching 1/2")
    rows.schedule(rows.repository("due"), next_due_at="now")
    rows.schedule(rows.repository("suspended"))
    found = await standing.totals(connection)
    assert found["oldest_success"] > 5 * 365 * 86_400
    counts = {name: found[name] for name in ("repositories", "ready", "busy", "charts", "versions", "files_pending")}
    assert counts == {"repositories": 5, "ready": 2, "busy": 3, "charts": 4, "versions": 32, "files_pending": 1}


@pytest.mark.parametrize("job", ["sync", "files"])
async def test_what_a_running_job_does_is_shown_and_forgotten_when_it_ends(rows: Rows, connection: AsyncConnection, job: str) -> None:
    repository = rows.repository("repo")
    rows.run(repository, "done", phase="reading an index of 4 MB")
    run = rows.run(repository, "running", job=job, phase="enriching 3,412/3,591")
    rows.run(repository, "queued")  # which does nothing yet
    assert (await status(connection))["phase"] == "enriching 3,412/3,591"
    for state in ("queued", "done"):  # a dead worker's run is queued again with the phase that it was in
        rows.connection.execute("update chartfleet.sync_runs set state = %s where id = %s", (state, run))
        assert (await status(connection))["phase"] is None


async def test_notes_are_of_the_last_reading_of_the_listing_and_of_the_archives(rows: Rows, connection: AsyncConnection) -> None:
    repository = rows.repository("repo")
    rows.run(repository, "done", job="files", notes=Jsonb(["old"]), notes_total=1)
    rows.run(repository, "done", job="files", notes=Jsonb(["mismatch"]), notes_total=120)
    rows.run(repository, "done", notes=Jsonb(["listing"]), notes_total=1)
    rows.run(repository, "done")
    rows.run(repository, "failed", job="files", notes=Jsonb(["failed"]), notes_total=1)
    found = await status(connection)
    assert (found["notes"], found["file_notes"], found["file_notes_total"]) == (["listing"], ["mismatch"], 120)


async def test_a_held_listing_is_released_once_it_is_there(rows: Rows, engine: AsyncEngine, database: Database) -> None:
    repository, key = rows.repository("repo"), RepositoryKey("default", "repo")
    rows.schedule(repository, next_due_at="2100-01-01Z")
    async with search.seeing(engine, ("*",)) as connection:
        assert await standing.release_held(connection, key) is None
        assert (await status(connection))["held_reason"] is None
    rows.held(repository)
    async with search.seeing(engine, ("*",)) as connection:
        released_at = await standing.release_held(connection, key)
        found = await status(connection)
    assert released_at is not None
    assert (found["held_reason"], found["held_removals"], found["held_versions"], found["held_reads"]) == ("Shrunk", 90, 10, 2)
    assert found["released_at"] == released_at
    assert database.rows("select requested_at is not null from chartfleet.schedules") == [(True,)]


async def test_a_sync_holds_a_listing_and_applies_it_once_it_is_released(syncer: Syncer, connection: AsyncConnection) -> None:
    charts: dict[str, list[dict[str, object]]] = {f"app-{number}": [{"version": "1.0.0"}] for number in range(50)}
    await syncer.sync(index(charts))
    assert (await syncer.sync(index({"app-0": charts["app-0"]}))).state == "failed"
    await syncer.sync()
    found = await status(connection, "demo")
    assert (found["error_class"], found["versions"]) == ("RemovalsHeld", 50)
    assert (found["held_reason"], found["held_removals"], found["held_versions"], found["held_reads"]) == ("Shrunk", 49, 1, 2)
    await standing.release_held(connection, RepositoryKey("default", "demo"))
    await connection.commit()
    assert (await syncer.sync()).report.removed == 49
    assert syncer.database.rows("select count(*) from chartfleet.held_listings") == [(0,)]


async def test_namespaces_stand_apart(rows: Rows, engine: AsyncEngine, database: Database) -> None:
    for namespace in ("a", "b"):
        repository = rows.repository("repo", namespace)
        rows.run(repository, "done", namespace=namespace)
        rows.run(repository, "running", namespace=namespace, phase="reading")
        rows.schedule(repository, namespace, next_due_at="now")
        rows.held(repository, namespace)
        rows.insert(
            "source_problems", source="directory:/m", file=f"{namespace}.yaml", line=1, namespace=namespace, name="x", message="wrong"
        )
    hidden, own = RepositoryKey("b", "repo"), RepositoryKey("a", "repo")
    async with search.seeing(engine, ("a",)) as connection:
        assert [row["namespace"] for row in (await standing.list_repositories(connection, Slice(50))).rows] == ["a"]
        assert [row["file"] for row in await standing.problems(connection)] == ["a.yaml"]
        assert (await standing.totals(connection))["repositories"] == 1
        assert await standing.repository(connection, hidden) is None
        assert await standing.request_sync(connection, hidden) is None
        assert await standing.request_sync(connection, own) is not None
        assert await standing.release_held(connection, hidden) is None
        assert await standing.release_held(connection, own) is not None
        for table in ("held_listings", "sync_runs"):
            count = await connection.exec_driver_sql(f"select count(*) from chartfleet.{table} where namespace = 'b'")
            assert count.scalar_one() == 0
    assert database.rows("select namespace from chartfleet.held_listings where released_at is not null") == [("a",)]


async def test_archives_that_fail_are_counted_by_reason(rows: Rows, connection: AsyncConnection) -> None:
    repository, other = rows.repository("repo"), rows.repository("other")
    for name, failure in {
        "a": {"error_class": "SourceRefused", "error": "HTTP 404", "next_attempt_at": "2026-01-03Z"},
        "b": {"error_class": "SourceRefused", "error": "HTTP 403", "next_attempt_at": "2026-01-02Z"},
        "c": {"error_class": "HostSilent", "error": "away", "next_attempt_at": "2026-01-01Z"},
        "due": {},
    }.items():
        rows.work(repository, rows.chart(repository, name), **failure)
    rows.work(repository, rows.chart(repository, "gone", removed_at="now"), error_class="SourceRefused", error="HTTP 404")
    rows.work(other, rows.chart(other, "a"), error_class="SourceRefused", error="HTTP 404")
    found = await standing.failing_files(connection, repository)
    assert [(row["reason"], row["archives"], row["message"], row["next_attempt_at"].day) for row in found] == [
        ("SourceRefused", 2, "HTTP 403", 2),
        ("HostSilent", 1, "away", 1),
    ]
    assert (await status(connection))["files_pending"] == 4
