"""The API as a client meets it: addresses, bodies, errors, the page."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

import httpx2
import pytest
from psycopg.types.json import Jsonb
from pydantic import BaseModel, SecretStr

from api.app import create_app
from api.errors import ErrorBody
from api.models import (
    Change,
    Chart,
    ChartDetail,
    Health,
    Listed,
    Problems,
    Released,
    Repository,
    RepositoryDetail,
    SyncRequested,
    Version,
    VersionDetail,
)
from api.settings import Settings
from tests.conftest import ROOT, Database
from tests.integration.rows import Rows


@asynccontextmanager
async def client_of(url: str) -> AsyncIterator[httpx2.AsyncClient]:
    app = create_app(Settings(database_url=SecretStr(url)))
    transport = httpx2.ASGITransport(app, raise_app_exceptions=False)
    async with app.router.lifespan_context(app), httpx2.AsyncClient(transport=transport, base_url="http://chartfleet") as client:
        yield client


@pytest.fixture
async def client(database: Database) -> AsyncIterator[httpx2.AsyncClient]:
    async with client_of(database.reader) as client:
        yield client


def assert_error(response: httpx2.Response, status: int, reason: str) -> str:
    """The one shape of an error; returns its message."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    error = ErrorBody.model_validate_json(response.text, extra="forbid").error
    assert error.reason == reason
    return error.message


async def items(client: httpx2.AsyncClient, address: str, **params: str) -> list[dict[str, Any]]:
    """All items of a list, page by page."""
    found, cursor = list[dict[str, Any]](), ""
    while True:
        body = (await client.get(address, params={**params, "cursor": cursor})).raise_for_status().json()
        found += body["items"]
        if body["next"] is None:
            assert len(found) == body["total"]
            return found
        cursor = body["next"]


async def test_a_chart_is_listed_by_its_newest_version(client: httpx2.AsyncClient, rows: Rows) -> None:
    repository = rows.repository("bitnami")
    rows.chart(repository, "wordpress", ["2.0.0", "1.0.0"], app_version="6.7", icon="https://x/i.png", created="2026-01-02T03:04:05Z")
    body = (await client.get("/api/v1/charts")).json()
    assert body == {
        "items": [
            {
                "namespace": "default",
                "repository": "bitnami",
                "name": "wordpress",
                "version": "2.0.0",
                "app_version": "6.7",
                "description": "The chart wordpress",
                "icon": "https://x/i.png",
                "deprecated": False,
                "created": "2026-01-02T03:04:05Z",
            }
        ],
        "total": 1,
        "next": None,
    }


async def test_deprecated_charts_are_counted_and_flagged(client: httpx2.AsyncClient, rows: Rows) -> None:
    repository = rows.repository("bitnami")
    rows.chart(repository, "current")
    rows.chart(repository, "old", deprecated=True)
    body = (await client.get("/api/v1/charts")).json()
    assert body["total"] == 2
    assert [(item["name"], item["deprecated"]) for item in body["items"]] == [("current", False), ("old", True)]


async def test_following_next_visits_each_item_once(client: httpx2.AsyncClient, rows: Rows) -> None:
    for number in range(7):
        repository = rows.repository(f"repo-{number}")
        rows.chart(repository, "same", [f"{n}.0.0" for n in range(number + 1, 0, -1)])
    assert len({item["repository"] for item in await items(client, "/api/v1/charts", limit="2")}) == 7
    assert len({item["repository"] for item in await items(client, "/api/v1/charts", limit="2", q="same")}) == 7
    assert [item["name"] for item in await items(client, "/api/v1/repositories", limit="3")] == [f"repo-{n}" for n in range(7)]
    versions = await items(client, "/api/v1/charts/default/repo-6/same/versions", limit="3")
    assert [item["version"] for item in versions] == [f"{n}.0.0" for n in range(7, 0, -1)]


@pytest.mark.parametrize("name", ["team/app", "50%", "a%2Fb", "a b", "ä/ö", "a+b", "x/../y"])
async def test_a_chart_of_any_name_has_an_address(client: httpx2.AsyncClient, rows: Rows, name: str) -> None:
    version = rows.chart(rows.repository("repo"), name, ["1.0.0+build.1"])
    rows.file(version, "README.md", b"hello")
    address = f"/api/v1/charts/default/repo/{quote(name, safe='')}"
    assert (await client.get(address)).json()["name"] == name
    assert (await client.get(f"{address}/versions")).json()["total"] == 1
    assert (await client.get(f"{address}/versions/1.0.0+build.1")).json()["version"] == "1.0.0+build.1"
    assert (await client.get(f"{address}/versions/1.0.0%2Bbuild.1/readme")).text == "hello"


async def test_a_slash_that_was_not_encoded_divides_segments(client: httpx2.AsyncClient, rows: Rows) -> None:
    rows.chart(rows.repository("repo"), "team/app")
    assert_error(await client.get("/api/v1/charts/default/repo/team/app"), 404, "NotFound")


async def test_a_chart_shows_what_its_newest_version_says(client: httpx2.AsyncClient, rows: Rows) -> None:
    version = rows.chart(rows.repository("repo"), "app", ["2.0.0", "1.0.0"], home="https://home", keywords=["a", "b"])
    metadata = {"maintainers": [{"name": "Ada", "email": "ada@x"}, "odd"], "sources": ["https://s", 5], "annotations": {"k": "v", "n": 1}}
    rows.connection.execute("update chartfleet.chart_versions set metadata = %s where id = %s", (Jsonb(metadata), version))
    rows.file(version, "values.yaml", b"a: 1")
    rows.file(version, "README.md", b"# app")
    detail = (await client.get("/api/v1/charts/default/repo/app")).json()
    assert detail["maintainers"] == [{"name": "Ada", "email": "ada@x", "url": None}]
    assert (detail["sources"], detail["annotations"]) == (["https://s"], {"k": "v"})
    assert (detail["versions"], detail["home"], detail["keywords"]) == (2, "https://home", ["a", "b"])
    assert detail["files"] == ["values.yaml", "README.md"]
    assert (await client.get("/api/v1/charts/default/repo/app/versions/2.0.0")).json()["metadata"] == metadata


async def test_odd_metadata_is_no_obstacle(client: httpx2.AsyncClient, rows: Rows) -> None:
    version = rows.chart(rows.repository("repo"), "app")
    odd = Jsonb({"maintainers": {"name": "x"}, "sources": "https://s", "annotations": ["x"], "description": 5})
    rows.connection.execute("update chartfleet.chart_versions set metadata = %s where id = %s", (odd, version))
    detail = (await client.get("/api/v1/charts/default/repo/app")).json()
    assert (detail["maintainers"], detail["sources"], detail["annotations"]) == ([], [], {})
    assert (await client.get("/api/v1/charts/default/repo/app/versions/1.0.0")).json()["description"] == "5"


@pytest.mark.parametrize(
    ("file", "name", "media_type"),
    [
        ("readme", "README.md", "text/markdown"),
        ("values", "values.yaml", "application/yaml"),
        ("schema", "values.schema.json", "application/schema+json"),
        ("files/README.md", "README.md", "text/markdown"),
        ("files/values-production.yaml", "values-production.yaml", "application/yaml"),
        ("files/Chart.yaml", "Chart.yaml", "application/yaml"),
        ("files/odd%2Fname", "odd/name", "text/plain"),
    ],
)
async def test_a_file_comes_byte_for_byte_and_once(client: httpx2.AsyncClient, rows: Rows, file: str, name: str, media_type: str) -> None:
    content = "ünïcode\r\n\tend".encode() + b"\xff"
    sha256 = rows.file(rows.chart(rows.repository("repo"), "app"), name, content)
    address = f"/api/v1/charts/default/repo/app/versions/1.0.0/{file}"
    response = await client.get(address)
    assert response.content == content
    assert response.headers["content-type"] == f"{media_type}; charset=utf-8"
    assert response.headers["etag"] == f'"{sha256}"'
    again = await client.get(address, headers={"if-none-match": f'"other", W/"{sha256}"'})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", f'"{sha256}"')
    assert (await client.get(address, headers={"if-none-match": '"other"'})).status_code == 200


async def test_a_missing_file_says_why(client: httpx2.AsyncClient, rows: Rows) -> None:
    repository = rows.repository("repo")
    for name, work in {
        "waits": {},
        "fails": {"error_class": "SourceUnavailable", "error": "files.example.org: 503", "attempts": 2},
    }.items():
        rows.work(repository, rows.chart(repository, name), **work)
    rows.file(rows.chart(repository, "none"), "values.yaml", b"a: 1")
    rows.chart(repository, "unasked")

    async def answer(chart: str, version: str = "1.0.0") -> httpx2.Response:
        return await client.get(f"/api/v1/charts/default/repo/{chart}/versions/{version}/readme")

    assert "waits to be read" in assert_error(await answer("waits"), 404, "NotFetched")
    assert "SourceUnavailable: files.example.org: 503" in assert_error(await answer("fails"), 404, "NotFetched")
    assert "not read" in assert_error(await answer("unasked"), 404, "NotFetched")
    assert "the archive has values.yaml" in assert_error(await answer("none"), 404, "NotFound")
    assert "no version 9.9.9" in assert_error(await answer("none", "9.9.9"), 404, "NotFound")


async def test_a_version_says_what_its_archive_holds(client: httpx2.AsyncClient, rows: Rows) -> None:
    repository = rows.repository("repo")
    version = rows.chart(repository, "app")
    dependencies = [{"name": "postgresql", "version": "~12", "repository": "https://x", "condition": "postgresql.enabled"}]
    rows.archive(
        version, "cd" * 32, "ab" * 32, signed=True, templates=7, dependencies=Jsonb(dependencies), images=["x/y:1"], read_at="2026-01-01Z"
    )
    address = "/api/v1/charts/default/repo/app"
    detail = (await client.get(f"{address}/versions/1.0.0")).json()
    assert detail["digest"] == "ab" * 32
    assert detail["archive"] == {
        "digest": "cd" * 32,
        "as_listed": False,
        "stale": False,
        "signed": True,
        "templates": 7,
        "dependencies": dependencies,
        "images": ["x/y:1"],
        "read_at": "2026-01-01T00:00:00Z",
    }
    assert detail["waiting"] is None
    assert (await client.get(address)).json()["archive"] == detail["archive"]
    assert "digest mismatch" in (await client.get("/")).text


async def test_an_archive_that_cannot_be_read_says_why_and_when_again(client: httpx2.AsyncClient, rows: Rows) -> None:
    repository = rows.repository("repo")
    failed = {"attempts": 3, "next_attempt_at": "2026-01-02Z", "error_class": "SourceRefused", "error": "x.tgz: status 404"}
    rows.work(repository, rows.chart(repository, "app"), **failed)
    detail = (await client.get("/api/v1/charts/default/repo/app/versions/1.0.0")).json()
    assert (detail["files"], detail["archive"]) == ([], None)
    assert detail["waiting"] == {
        "attempts": 3,
        "next_attempt_at": "2026-01-02T00:00:00Z",
        "reason": "SourceRefused",
        "message": "x.tgz: status 404",
    }


async def test_a_readme_from_before_the_digest_changed_is_served_as_stale(client: httpx2.AsyncClient, rows: Rows) -> None:
    repository = rows.repository("repo")
    version = rows.chart(repository, "app")
    sha256 = rows.file(version, "README.md", b"old")
    address = "/api/v1/charts/default/repo/app/versions/1.0.0"
    assert "chartfleet-stale" not in (await client.get(f"{address}/readme")).headers
    rows.connection.execute("update chartfleet.chart_versions set digest = 'new'")
    rows.work(repository, version)
    assert (await client.get(address)).json()["archive"]["stale"] is True
    for name in ("readme", "files/README.md"):
        response = await client.get(f"{address}/{name}")
        assert (response.text, response.headers["chartfleet-stale"]) == ("old", "true")
    again = await client.get(f"{address}/readme", headers={"if-none-match": f'"{sha256}"'})
    assert (again.status_code, again.headers["chartfleet-stale"]) == (304, "true")
    assert "digest mismatch" not in (await client.get("/")).text


async def test_a_history_says_what_was_replaced_and_only_what_differs(client: httpx2.AsyncClient, rows: Rows) -> None:
    rows.chart(rows.repository("repo"), "app")
    before = {
        "digest": "old",
        "urls": ["https://user@old.example.org:8443/app.tgz", "app.tgz", "https://[", "https://a.example.org/app.tgz"],
        "metadata": {"description": "Release 1.0.0", "icon": "https://x/i.png"},
    }
    rows.change("added", at="2026-01-01Z", run_id=1)
    rows.change("host-changed", at="2026-01-02Z", run_id=2, replaced=before)
    rows.change("added", "2.0.0")
    address = "/api/v1/charts/default/repo/app/history"
    newest, _ = found = await items(client, address, version="1.0.0")
    assert [(item["at"], item["run"], item["version"], item["change"]) for item in found] == [
        ("2026-01-02T00:00:00Z", 2, "1.0.0", "host-changed"),
        ("2026-01-01T00:00:00Z", 1, "1.0.0", "added"),
    ]
    assert newest["replaced"] == {
        "digest": "old",
        "hosts": ["a.example.org", "old.example.org:8443"],
        "fields": {"urls": before["urls"], "icon": "https://x/i.png"},
    }
    assert [item["version"] for item in await items(client, address, limit="1")] == ["2.0.0", "1.0.0", "1.0.0"]
    assert "no history of chart default/repo/app 9" in assert_error(await client.get(f"{address}?version=9"), 404, "NotFound")
    assert_error(await client.get("/api/v1/charts/default/repo/other/history"), 404, "NotFound")


async def test_a_repository_says_how_it_stands(client: httpx2.AsyncClient, rows: Rows) -> None:
    for name in ("failed", "parked", "pending", "problem", "running", "synced"):
        rows.repository(name, body_sha256=b"\1" * 32 if name == "synced" else None)
    numbers = dict(rows.connection.execute("select name, id from chartfleet.repositories").fetchall())
    rows.run(numbers["failed"], "failed", error_class="SourceMalformed", error="index.yaml is HTML", transient=False)
    rows.run(numbers["parked"], "parked")
    rows.schedule(numbers["problem"], problem_reason="WaitingForSecret", problem="waiting for Secret default/token (key t)")
    rows.run(numbers["running"], "running", phase="fetch")
    rows.run(numbers["synced"], "done")
    found = {item["name"]: item for item in await items(client, "/api/v1/repositories")}
    assert {name: (item["ready"], item["reason"]) for name, item in found.items()} == {
        "failed": (False, "SourceMalformed"),
        "parked": (False, "Parked"),
        "pending": (False, "Pending"),
        "problem": (False, "WaitingForSecret"),
        "running": (False, "Syncing"),
        "synced": (True, "Synced"),
    }
    assert found["failed"]["message"] == "index.yaml is HTML"
    assert found["running"]["phase"] == "fetch"
    assert found["synced"]["revision"] == "sha256:" + "01" * 32
    assert found["failed"]["revision"] is None


async def test_a_repositorys_detail_has_its_runs_and_notes(client: httpx2.AsyncClient, rows: Rows) -> None:
    repository = rows.repository("repo")
    note = {"chart": "app", "version": "1", "reason": "Duplicate", "message": "listed twice: the first is kept"}
    rows.run(repository, "done", notes=Jsonb([note]), notes_total=1, phases=Jsonb({"fetch": 12}), requests=1, bytes=2_000, result="changed")
    for _ in range(30):
        rows.run(repository, "done", result="unchanged")
    mismatch = {"chart": "app", "version": "1", "reason": "DigestMismatch", "message": "listed a, read b"}
    rows.run(repository, "done", job="files", notes=Jsonb([mismatch]), notes_total=3)
    rows.run(repository, "failed", job="files", error_class="LimitExceeded", error="too large")
    detail = (await client.get("/api/v1/repositories/default/repo")).json()
    assert detail["notes"] == [note]
    assert (detail["file_notes"], detail["file_notes_total"]) == ([mismatch], 3)
    assert (len(detail["runs"]), detail["runs"][0]["job"], detail["runs"][0]["error"]) == (20, "files", "too large")
    assert detail["ready"] is True
    rows.run(repository, "running", phase="reading an index of 4 MB")
    detail = (await client.get("/api/v1/repositories/default/repo")).json()
    assert detail["phase"] == detail["runs"][0]["phase"] == "reading an index of 4 MB"
    assert_error(await client.get("/api/v1/repositories/default/other"), 404, "NotFound")


async def test_a_held_listing_is_told_with_its_counts_until_it_is_released(client: httpx2.AsyncClient, rows: Rows) -> None:
    repository = rows.repository("repo")
    address = "/api/v1/repositories/default/repo"
    assert "nothing is held of repository default/repo" in assert_error(await client.post(f"{address}/release"), 404, "NotFound")
    assert (await client.get(address)).json()["held"] is None
    rows.run(repository, "failed", error_class="RemovalsHeld", error="as the run said it")
    rows.held(repository, removals=990, versions=12, reads=2, first_read_at="2026-01-01 12:00Z", last_read_at="2026-01-01 13:00Z")
    found = (await client.get(address)).json()
    assert found["held"] == {
        "reason": "Shrunk",
        "removals": 990,
        "versions": 12,
        "reads": 2,
        "released_at": None,
        "first_read_at": "2026-01-01T12:00:00Z",
        "last_read_at": "2026-01-01T13:00:00Z",
        "release_due_at": "2026-01-01T18:00:00Z",
    }
    assert (found["ready"], found["reason"]) == (False, "RemovalsHeld")
    for words in (
        "lacks 990 of 1,002 versions",
        "kept since 2026-01-01 12:00 UTC",
        "read 3 times, and still is after 2026-01-01 18:00 UTC",
    ):
        assert words in found["message"]
    assert "`chartfleet repo release repo -n default`" in found["message"]
    [listed] = await items(client, "/api/v1/repositories")
    assert (listed["held"], listed["message"]) == (found["held"], found["message"])
    assert '<span class="badge held">RemovalsHeld</span>' in (await client.get("/")).text

    response = await client.post(f"{address}/release")
    assert response.status_code == 202
    released_at = Released.model_validate_json(response.text, extra="forbid").released_at
    found = Repository.model_validate((await client.get(address)).json())
    assert found.held is not None
    assert found.held.released_at == released_at
    assert "the next sync applies it" in found.message


async def test_a_failure_after_a_listing_was_held_is_told_as_it_is(client: httpx2.AsyncClient, rows: Rows) -> None:
    repository = rows.repository("repo")
    rows.held(repository)
    rows.run(repository, "failed", error_class="SourceUnavailable", error="status 503")
    found = (await client.get("/api/v1/repositories/default/repo")).json()
    assert (found["reason"], found["message"], found["held"]["reason"]) == ("SourceUnavailable", "status 503", "Shrunk")


async def test_asking_for_a_sync_is_written_before_it_is_answered(client: httpx2.AsyncClient, rows: Rows, database: Database) -> None:
    rows.schedule(rows.repository("repo"), next_due_at="now")
    response = await client.post("/api/v1/repositories/default/repo/sync")
    assert response.status_code == 202
    assert set(response.json()) == {"requested_at"}
    assert database.rows("select requested_at is not null from chartfleet.schedules") == [(True,)]
    rows.repository("unscheduled")
    rows.schedule(rows.repository("suspended"))
    for name in ("absent", "unscheduled", "suspended"):
        assert_error(await client.post(f"/api/v1/repositories/default/{name}/sync"), 404, "NotFound")


@pytest.mark.parametrize(
    "q", ["'", ":*", "&|!", "\\", "🚀", "x" * 10_000, "a" + " b" * 5_000, "\0", "<script>alert(1)</script>", "%00", "{{7*7}}"]
)
async def test_no_search_is_an_error(client: httpx2.AsyncClient, rows: Rows, q: str) -> None:
    rows.chart(rows.repository("repo"), "wordpress")
    assert (await client.get("/api/v1/charts", params={"q": q})).json() == {"items": [], "total": 0, "next": None}
    page = await client.get("/", params={"q": q})
    assert page.status_code == 200
    assert "<script" not in page.text
    assert "Nothing matches" in page.text


@pytest.mark.parametrize(
    "address",
    [
        *("/api/v1/charts", "/api/v1/charts?q=a", "/api/v1/repositories"),
        *("/api/v1/charts/default/repo/app/versions", "/api/v1/charts/default/repo/app/history"),
    ],
)
@pytest.mark.parametrize("cursor", ["%25", "W10", "bnVsbA", "WzEsMiwzLDQsNV0", "é", "A" * 5_000])
async def test_a_bad_cursor_is_the_callers_mistake(client: httpx2.AsyncClient, address: str, cursor: str) -> None:
    response = await client.get(f"{address}{'&' if '?' in address else '?'}cursor={cursor}")
    assert "begin without a cursor" in assert_error(response, 400, "BadCursor")


async def test_on_the_page_an_error_is_a_page(client: httpx2.AsyncClient, database: Database) -> None:
    for query, words in (("cursor=%25", "begin without a cursor (BadCursor)"), ("namespace=%00", "(InvalidQuery)")):
        response = await client.get(f"/?{query}")
        assert (response.status_code, response.headers["content-type"]) == (400, "text/html; charset=utf-8")
        assert words in response.text
        assert '<link rel="stylesheet" href="/static/page.css">' in response.text
        assert response.headers["content-security-policy"].startswith("default-src 'none'")
    async with client_of(f"postgresql://chartfleet_reader:hunter2@/absent?host={database.sockets}") as away:
        response = await away.get("/")
    assert (response.status_code, "StoreUnavailable" in response.text, "hunter2" in response.text) == (503, True, False)


async def test_every_way_to_fail_has_the_one_shape(client: httpx2.AsyncClient, database: Database) -> None:
    assert_error(await client.get("/api/v1/charts?namespace=%00"), 400, "InvalidQuery")
    assert_error(await client.get("/api/v1/charts/a%00/b/c"), 400, "InvalidQuery")
    assert_error(await client.get("/nowhere"), 404, "NotFound")
    assert_error(await client.get("/static/nothing.css"), 404, "NotFound")
    assert_error(await client.get("/api/v1/charts/"), 404, "NotFound")
    assert "no chart a/b/c" in assert_error(await client.get("/api/v1/charts/a/b/c"), 404, "NotFound")
    response = await client.post("/api/v1/charts")
    assert_error(response, 405, "MethodNotAllowed")
    assert response.headers["allow"] == "GET"
    for limit in ("0", "201", "-1", "ten", ""):
        assert "limit" in assert_error(await client.get(f"/api/v1/charts?limit={limit}"), 422, "InvalidParameter")
    assert "file" in assert_error(await client.get("/api/v1/charts/a/b/c/versions/1/licence"), 422, "InvalidParameter")
    database.rows("drop table chartfleet.source_problems")
    response = await client.get("/api/v1/problems")
    assert_error(response, 500, "InternalError")
    assert response.headers["x-content-type-options"] == "nosniff"


async def test_without_a_database_it_lives_and_is_not_ready(database: Database) -> None:
    async with client_of(f"postgresql://chartfleet_reader:hunter2@/absent?host={database.sockets}") as client:
        assert (await client.get("/healthz")).json() == {"status": "ok"}
        for address in ("/readyz", "/api/v1/charts", "/api/v1/repositories/a/b"):
            response = await client.get(address)
            assert "hunter2" not in assert_error(response, 503, "StoreUnavailable")
        assert "chartfleet_store_up 0.0" in (await client.get("/metrics")).text


async def test_another_schema_is_not_ready(client: httpx2.AsyncClient, database: Database) -> None:
    assert (await client.get("/readyz")).json() == {"status": "ok"}
    database.rows("update chartfleet.alembic_version set version_num = '0000'")
    assert "python -m migrations" in assert_error(await client.get("/readyz"), 503, "StoreUnavailable")


async def test_metrics_count_requests_by_route_and_the_catalogue_as_it_is(client: httpx2.AsyncClient, rows: Rows) -> None:
    rows.run(rows.repository("repo", charts=2, versions=9), "done")
    rows.repository("other", "team")
    await client.get("/api/v1/charts/a/b/c")
    await client.get("/api/v1/charts/d/e/f")
    await client.get("/wp-login.php")
    lines = (await client.get("/metrics")).text.splitlines()
    for line in (
        'chartfleet_http_requests_total{route="/api/v1/charts/{namespace}/{repository}/{chart}",status="404"} 2.0',
        'chartfleet_http_requests_total{route="unmatched",status="404"} 1.0',
        "chartfleet_store_up 1.0",
        'chartfleet_repositories{ready="true"} 1.0',
        'chartfleet_repositories{ready="false"} 1.0',
        "chartfleet_charts 2.0",
        "chartfleet_chart_versions 9.0",
        "chartfleet_files_pending 0.0",
    ):
        assert line in lines
    assert any(line.startswith("chartfleet_oldest_success_age_seconds ") for line in lines)


async def test_each_answer_tells_browsers_to_run_nothing(client: httpx2.AsyncClient) -> None:
    for address in ("/", "/api/v1/charts", "/nowhere", "/static/page.css", "/healthz"):
        headers = (await client.get(address)).headers
        assert headers["content-security-policy"].startswith("default-src 'none'; style-src 'self'")
        assert (headers["x-content-type-options"], headers["referrer-policy"]) == ("nosniff", "no-referrer")


async def test_the_openapi_document_among_the_documentation_is_the_one_that_is_served(client: httpx2.AsyncClient) -> None:
    kept = json.loads((ROOT / "docs/openapi.json").read_text())
    assert (await client.get("/openapi.json")).json() == kept, "`make docs` writes it anew"


async def test_the_openapi_document_tells_the_truth(client: httpx2.AsyncClient, rows: Rows) -> None:
    repository = rows.repository("repo")
    version = rows.chart(repository, "app", ["1.1.0", "1.0.0"])
    rows.file(version, "README.md", b"hello")
    rows.work(repository, version)
    rows.change("changed", "1.1.0", {"digest": "old"})
    rows.held(repository)
    rows.run(repository, "done", notes=Jsonb([]), notes_total=0, phases=Jsonb({"read": 1}))
    rows.schedule(repository, next_due_at="now")
    rows.insert("source_problems", source="directory:/m", file="a.yaml", line=3, message="not YAML")
    paths = (await client.get("/openapi.json")).json()["paths"]
    bodies: dict[str, type[BaseModel]] = {
        "/api/v1/charts": Listed[Chart],
        "/api/v1/charts/{namespace}/{repository}/{chart}": ChartDetail,
        "/api/v1/charts/{namespace}/{repository}/{chart}/versions": Listed[Version],
        "/api/v1/charts/{namespace}/{repository}/{chart}/versions/{version}": VersionDetail,
        "/api/v1/charts/{namespace}/{repository}/{chart}/history": Listed[Change],
        "/api/v1/repositories": Listed[Repository],
        "/api/v1/repositories/{namespace}/{name}": RepositoryDetail,
        "/api/v1/problems": Problems,
        "/healthz": Health,
        "/readyz": Health,
    }
    names = {"namespace": "default", "repository": "repo", "name": "repo", "chart": "app", "version": "1.1.0"}
    for path, model in bodies.items():
        declared = paths[path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]["$ref"]
        assert declared.rsplit("/", 1)[1] == model.__name__.replace("[", "_").replace("]", "_")
        model.model_validate_json((await client.get(path.format(**names))).text, extra="forbid", strict=True)
    response = await client.post("/api/v1/repositories/default/repo/sync")
    SyncRequested.model_validate_json(response.text, extra="forbid")
    others = {
        "/api/v1/repositories/{namespace}/{name}/sync",
        "/api/v1/charts/{namespace}/{repository}/{chart}/icon",
        "/api/v1/repositories/{namespace}/{name}/release",
        "/api/v1/charts/{namespace}/{repository}/{chart}/versions/{version}/files/{name}",
        "/api/v1/charts/{namespace}/{repository}/{chart}/versions/{version}/{file}",
        "/metrics",
    }
    assert set(paths) == {*bodies, *others}
    for operation in (operation for path in paths.values() for operation in path.values()):
        for status, declared in operation["responses"].items():
            if status >= "400":
                assert declared["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/ErrorBody"}


async def test_the_page_shows_charts_repositories_and_problems(client: httpx2.AsyncClient, rows: Rows) -> None:
    repository = rows.repository("repo", charts=1, versions=1_234)
    rows.chart(repository, "<b>app</b>", deprecated=True, description="A 'chart' & more <img src=x>")
    rows.run(repository, "failed", error_class="SourceRefused", error="403 for <url>")
    rows.insert(
        "source_problems", source="directory:/m", file="<m>.yaml", line=12, namespace="default", name="x", message="spec.url: <wrong>"
    )
    page = (await client.get("/")).text
    for text in (
        *("&lt;b&gt;app&lt;/b&gt;", "A &#39;chart&#39; &amp; more &lt;img src=x&gt;", "deprecated", "<strong>1,234</strong> versions"),
        *("SourceRefused", "403 for &lt;url&gt;", "no success yet", "&lt;m&gt;.yaml:12", "spec.url: &lt;wrong&gt;"),
        'href="/api/v1/charts/default/repo/%3Cb%3Eapp%3C%2Fb%3E"',
    ):
        assert text in page
    assert "<img src=x" not in page


async def test_the_page_searches_and_goes_on(client: httpx2.AsyncClient, rows: Rows) -> None:
    repository = rows.repository("repo")
    for number in range(31):
        rows.chart(repository, f"app-{number:02}")
    rows.chart(repository, "other")
    first = (await client.get("/", params={"q": "app"})).text
    assert "31</strong> charts for “app”" in first
    assert (">app-00<" in first, ">app-30<" in first, ">other<" in first) == (True, False, False)
    following = first.split('rel="next" href="')[1].split('"')[0].replace("&amp;", "&")
    second = (await client.get(following)).text
    assert (">app-00<" in second, ">app-30<" in second, 'rel="next"' in second) == (False, True, False)


async def test_the_page_follows_a_sync_and_then_rests(client: httpx2.AsyncClient, rows: Rows) -> None:
    refresh = '<meta http-equiv="refresh"'
    empty = (await client.get("/")).text
    assert "No repositories yet" in empty
    assert refresh in empty
    repository = rows.repository("repo")
    run = rows.run(repository, "running", phase="reading an index of 4 MB")
    syncing = (await client.get("/")).text
    assert refresh in syncing
    assert "reading an index of 4 MB" in syncing
    assert refresh not in (await client.get("/?q=typing")).text
    rows.connection.execute("update chartfleet.sync_runs set state = 'done', finished_at = now() where id = %s", (run,))
    assert refresh not in (await client.get("/")).text
    rows.run(repository, "running", job="files", phase="enriching 3,412/3,591")
    enriching = (await client.get("/")).text
    assert refresh in enriching
    assert "enriching 3,412/3,591" in enriching
