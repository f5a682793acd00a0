"""Patience with hosts, shared by the fleet: who was told once tells the others, and a host in good health costs nothing."""

from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from catalog.errors import SourceRefused, SourceUnavailable
from catalog.model import Repository, RepositoryKey
from catalog.report import Report
from tests.conftest import Database
from tests.fakes.helm_repo import index
from tests.fakes.web import Reply, Web, serving
from tests.integration.conftest import Syncer
from worker.http import Credentials, Http, Remote
from worker.settings import Settings

OK = Reply(body=b"yes")
NOW = datetime(2026, 1, 1, tzinfo=UTC)
CHARTS = index({"a": [{"version": "1.0.0"}]})


@pytest.fixture
def web() -> Iterator[Web]:
    with serving(Web({"/ok": OK})) as served:
        yield served


@asynccontextmanager
async def job(database: Database, web: Web, *, look: bool = True) -> AsyncGenerator[Remote]:
    """A job of any worker of the fleet."""
    http = Http(Settings(database_url=database.writer))
    try:
        async with http.remote(Repository(RepositoryKey("a", "b"), "helm", web.url), Credentials(), Report(), look=look) as opened:
            yield opened
    finally:
        await http.close()


async def ask(opened: Remote, web: Web, path: str = "/ok") -> bytes:
    return await opened.body(f"{web.url}{path}", 1_000, "the file")


def row(database: Database) -> dict[str, object]:
    [(found,)] = database.rows(
        "select to_jsonb(h) || jsonb_build_object('wait', extract(epoch from not_before - now())) from chartfleet.hosts h"
    )
    return found  # pyright: ignore[reportReturnType]


def later(database: Database, seconds: int) -> None:
    """Let the time pass."""
    database.rows("update chartfleet.hosts set not_before = not_before - make_interval(secs => %s)", seconds)


async def test_what_one_job_is_told_every_job_of_that_host_obeys(database: Database, web: Web) -> None:
    web.replies["/busy"] = Reply(429, {"Retry-After": "100"})
    async with job(database, web) as opened:
        with pytest.raises(SourceUnavailable, match="429") as told:
            await ask(opened, web, "/busy")
        assert told.value.retry_after == 100
        with pytest.raises(SourceUnavailable, match="left alone"):
            await ask(opened, web)
    async with job(database, web) as another:
        with pytest.raises(SourceUnavailable, match=r"left alone.*HTTP 429") as held:
            await ask(another, web)
        assert 90 < (held.value.retry_after or 0) <= 100
        assert another.report.requests == 0
    assert web.paths == ["/busy"]


async def test_another_host_is_asked_as_ever(database: Database, web: Web) -> None:
    web.replies["/busy"] = Reply(503, {"Retry-After": "100"})
    with serving(Web({"/ok": OK}), "127.0.0.2") as other:
        async with job(database, web) as opened:
            with pytest.raises(SourceUnavailable):
                await ask(opened, web, "/busy")
            assert await ask(opened, other) == b"yes"


async def test_a_host_that_answers_well_again_is_forgotten(database: Database, web: Web) -> None:
    web.replies["/busy"] = Reply(429, {"Retry-After": "100"})
    async with job(database, web) as opened:
        with pytest.raises(SourceUnavailable):
            await ask(opened, web, "/busy")
    later(database, 101)
    async with job(database, web) as opened:
        assert await ask(opened, web) == b"yes"
    assert database.rows("select * from chartfleet.hosts") == []


async def test_a_row_that_nobody_needs_goes_with_the_next_look(database: Database, web: Web) -> None:
    database.rows("insert into chartfleet.hosts (host, not_before, rate) values ('long.ago:443', now() - interval '2 hours', 5)")
    async with job(database, web) as opened:
        await ask(opened, web)
    assert database.rows("select * from chartfleet.hosts") == []


async def test_without_a_time_the_wait_doubles_and_what_ten_requests_are_told_at_once_counts_once(database: Database, web: Web) -> None:
    web.replies["/busy"] = Reply(429)
    waits: list[float] = []
    for _ in range(3):
        async with job(database, web) as opened:
            with pytest.raises(SourceUnavailable):
                await ask(opened, web, "/busy")
            await opened.hosts.after(f"{web.url}/busy", 429, {}, NOW)  # one that was under way
        waits.append(round(float(str(row(database)["wait"]))))
        later(database, 10_000)
        database.rows("update chartfleet.hosts set not_before = now() - interval '1 second'")
    assert waits == [30, 60, 120]


async def test_what_two_jobs_are_told_at_once_counts_once(database: Database, web: Web) -> None:
    web.replies["/busy"] = Reply(429, {"Retry-After": "100"})
    async with job(database, web, look=False) as one, job(database, web, look=False) as two:
        for opened in (one, two):
            with pytest.raises(SourceUnavailable, match="HTTP 429"):
                await ask(opened, web, "/busy")
    assert row(database)["failures"] == 1


async def test_the_last_request_of_a_window_is_heeded_before_it_is_refused(database: Database, web: Web) -> None:
    web.replies["/last"] = Reply(200, {"RateLimit": '"default";r=0;t=60', "RateLimit-Policy": '"default";q=10;w=60'}, b"yes")
    async with job(database, web) as opened:
        assert await ask(opened, web, "/last") == b"yes"
        with pytest.raises(SourceUnavailable, match="left alone"):
            await ask(opened, web)
    assert round(float(str(row(database)["rate"])) * 60) == 10


async def test_a_limit_that_github_says_with_403_is_no_refusal(database: Database, web: Web) -> None:
    web.replies |= {"/limit": Reply(403, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "60"}), "/no": Reply(403)}
    async with job(database, web) as opened:
        with pytest.raises(SourceRefused):
            await ask(opened, web, "/no")
        with pytest.raises(SourceUnavailable) as told:
            await ask(opened, web, "/limit")
    assert told.value.retry_after == 60


async def test_a_rate_is_leased_in_blocks_and_what_is_over_comes_back_later(database: Database, web: Web) -> None:
    with_tokens(database, web, rate=0.01, tokens=10)
    async with job(database, web) as one, job(database, web) as two:
        assert await ask(one, web) == b"yes"
        for opened, asked in ((two, 0), (one, 9)):
            for _ in range(asked):
                await ask(opened, web)
            with pytest.raises(SourceUnavailable, match=r"0\.6 requests a minute") as over:
                await ask(opened, web)
            assert over.value.retry_after == pytest.approx(100)
    assert len(web.paths) == 10


async def test_five_requests_in_a_row_without_an_answer_are_enough(database: Database) -> None:
    gone = Web(url="http://127.0.0.1:1")
    async with job(database, gone) as opened:
        for _ in range(5):
            with pytest.raises(SourceUnavailable, match=r"127\.0\.0\.1:1/ok"):
                await ask(opened, gone)
        with pytest.raises(SourceUnavailable, match=r"left alone.*no answer, 5 times in a row"):
            await ask(opened, gone)
        assert opened.report.requests == 5
    later(database, 10_000)
    database.rows("update chartfleet.hosts set not_before = now() - interval '1 second'")
    async with job(database, gone) as opened:
        with pytest.raises(SourceUnavailable):
            await ask(opened, gone)
        with pytest.raises(SourceUnavailable, match="left alone"):
            await ask(opened, gone)


async def test_an_answer_between_failures_makes_them_no_row(database: Database, web: Web) -> None:
    web.replies["/broken"] = Reply(502)
    async with job(database, web) as opened:
        for path in ("/broken", "/broken", "/broken", "/broken", "/ok", "/broken", "/broken"):
            if path == "/ok":
                await ask(opened, web)
                continue
            with pytest.raises(SourceUnavailable):
                await ask(opened, web, path)
    assert database.rows("select * from chartfleet.hosts") == []


async def test_a_healthy_host_costs_no_statement(syncer: Syncer) -> None:
    """The address of no database would do, because none is asked."""
    syncer.worker.http = Http(replace(syncer.worker.settings, database_url="postgresql://nowhere.invalid/x"))
    assert [(await syncer.sync(CHARTS)).state, (await syncer.sync()).state] == ["done", "done"]
    await syncer.worker.http.close()


async def test_a_sync_does_not_ask_a_host_that_another_repositorys_job_was_told_to_leave(syncer: Syncer) -> None:
    await syncer.sync(CHARTS)
    syncer.repo.status = 429
    told = await syncer.sync(repository=replace(syncer.job.repository, key=RepositoryKey("other", "b")))
    asked = len(syncer.repo.requests)
    syncer.repo.status = 200
    outcome = await syncer.sync()
    assert (told.state, outcome.state, outcome.error and outcome.error.reason) == ("failed", "failed", "SourceUnavailable")
    assert (outcome.report.requests, len(syncer.repo.requests)) == (0, asked)
    assert len(syncer.visible()) == 1
    later(syncer.database, 60)
    assert (await syncer.sync()).state == "done"
    assert syncer.database.rows("select * from chartfleet.hosts") == []


def with_tokens(database: Database, web: Web, *, rate: float, tokens: int) -> None:
    host = web.url.removeprefix("http://")
    database.rows("insert into chartfleet.hosts (host, not_before, rate, tokens) values (%s, now(), %s, %s)", host, rate, tokens)
