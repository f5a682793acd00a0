"""Whole syncs against a real PostgreSQL and a remote that a test controls."""

import asyncio
import os
import signal
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from catalog.database import SYNC_LOCK
from catalog.model import RepositoryKey
from tests.fakes.helm_repo import HelmRepo, archive, index, serving
from tests.integration.conftest import Syncer
from worker.secrets import Secrets

TWO = {"a": [{"version": "1.0.0", "digest": "d1"}, {"version": "1.10.0", "digest": "d2"}], "b": [{"version": "0.1.0", "digest": "d3"}]}
# Takes seconds to read, so that the test comes in time.
LONG = b"entries:\n  a:\n" + b"".join(b"  - {version: 1.0.%d, urls: [u], description: %s}\n" % (n, b"x" * 90) for n in range(100_000))


async def test_a_first_sync_publishes_every_version_in_helms_order(syncer: Syncer) -> None:
    outcome = await syncer.sync(index(TWO))
    assert (outcome.state, outcome.report.charts, outcome.report.versions, outcome.report.added) == ("done", 2, 3, 3)
    assert syncer.visible() == [("a", "1.10.0", "d2"), ("a", "1.0.0", "d1"), ("b", "0.1.0", "d3")]
    assert syncer.database.rows("select name, version, versions from chartfleet.charts order by name") == [
        ("a", "1.10.0", 2),
        ("b", "0.1.0", 1),
    ]
    assert syncer.database.rows("select charts, versions from chartfleet.repositories") == [(2, 3)]


async def test_an_unchanged_sync_asks_once_gets_no_body_and_touches_no_row(syncer: Syncer) -> None:
    await syncer.sync(index(TWO))
    await syncer.files()
    before = await touched(syncer)
    outcome = await syncer.sync()
    assert (outcome.report.result, outcome.report.requests, outcome.report.bytes) == ("unchanged", 1, 0)
    assert await touched(syncer) == before
    assert syncer.repo.requests[-1][1]["If-None-Match"]


async def test_a_server_without_validators_costs_one_hash_and_no_row(syncer: Syncer) -> None:
    syncer.repo.validators = False
    await syncer.sync(index(TWO))
    before = await touched(syncer)
    outcome = await syncer.sync()
    assert (outcome.report.result, outcome.report.phases.keys()) == ("unchanged", {"fetch"})
    assert await touched(syncer) == before


async def test_one_added_version_writes_one_version_one_chart_and_the_repository(syncer: Syncer) -> None:
    await syncer.sync(index(TWO))
    before = await touched(syncer)
    outcome = await syncer.sync(index({**TWO, "b": [*TWO["b"], {"version": "0.2.0"}]}))
    assert (outcome.report.added, outcome.report.changed, outcome.report.removed) == (1, 0, 0)
    after = await touched(syncer)
    assert {t: after[t] - before[t] for t in ("repositories", "charts", "chart_versions")} == {
        "repositories": 1,
        "charts": 1,
        "chart_versions": 1,
    }
    assert syncer.database.rows("select version from chartfleet.charts where name = 'b'") == [("0.2.0",)]


async def test_only_restamped_created_is_no_change(syncer: Syncer) -> None:
    await syncer.sync(index(TWO))
    outcome = await syncer.sync(index(TWO).replace(b"2024-01-02", b"2025-06-07"))
    assert (outcome.report.result, outcome.report.changed) == ("unchanged", 0)
    assert syncer.database.rows("select distinct created::date::text from chartfleet.chart_versions") == [("2024-01-02",)]


async def test_a_removed_version_goes_and_comes_back_with_its_row(syncer: Syncer) -> None:
    await syncer.sync(index(TWO))
    gone = await syncer.sync(index({"a": TWO["a"][:1]}))
    assert gone.report.removed == 2
    assert syncer.visible() == [("a", "1.0.0", "d1")]
    await syncer.sync(index(TWO))
    assert len(syncer.visible()) == 3
    changes = syncer.database.rows("select change, count(*) from chartfleet.ledger group by change order by change")
    assert changes == [("added", 3), ("reappeared", 2), ("removed", 2)]
    assert syncer.database.rows("select count(*) from chartfleet.chart_versions") == [(3,)]


async def test_a_digest_changed_under_the_same_version_is_in_the_ledger_with_the_old_one(syncer: Syncer) -> None:
    await syncer.sync(index(TWO))
    await syncer.sync(index({**TWO, "b": [{"version": "0.1.0", "digest": "new"}]}))
    assert syncer.database.rows("select change, version, replaced ->> 'digest' from chartfleet.ledger order by seq desc limit 1") == [
        ("digest-changed", "0.1.0", "d3")
    ]


async def test_the_ledgers_numbers_follow_commit_order(syncer: Syncer) -> None:
    await syncer.sync(index(TWO))
    await syncer.sync(index({"a": TWO["a"]}))
    assert syncer.database.rows("select seq, run_id from chartfleet.ledger order by seq")[-1][1] == syncer.last_run()["id"]


async def test_an_index_that_names_a_chart_twice_is_read_whole(syncer: Syncer) -> None:
    data = (
        b"entries:\n  a:\n  - {version: 1.0.0, urls: [x]}\n  b:\n  - {version: 1.0.0, urls: [x]}\n  a:\n  - {version: 2.0.0, urls: [x]}\n"
    )
    outcome = await syncer.sync(data)
    assert [(chart, version) for chart, version, _ in syncer.visible()] == [("a", "2.0.0"), ("a", "1.0.0"), ("b", "1.0.0")]
    assert [note.reason for note in outcome.report.notes or []] == ["DuplicateChart"]


@pytest.mark.parametrize(("option", "said"), [("max-versions", "more than 2 versions"), ("max-index-bytes", "CHARTFLEET_MAX_INDEX_BYTES")])
async def test_a_repository_has_limits_of_its_own(syncer: Syncer, option: str, said: str) -> None:
    limited = await syncer.sync(index(TWO), repository=replace(syncer.job.repository, options={option: "2"}))
    assert (limited.error and limited.error.reason, syncer.visible()) == ("LimitExceeded", [])
    assert said in str(limited.error)
    assert (await syncer.sync()).state == "done"


BROKEN = {
    "0 bytes": (b"", "SourceMalformed"),
    "HTML": (b"<html>login</html>", "SourceMalformed"),
    "no YAML": (b"entries:\n  a: [\n", "SourceMalformed"),
    "30,000 levels": (b"entries:\n  a:\n  - x: " + b"[" * 30_000, "LimitExceeded"),
    "a scalar of 10 MB": (b"entries:\n  a:\n  - version: 1.0.0\n    d: " + b"x" * 10_000_000, "LimitExceeded"),
    "too large": (b"#" * 21_000_000, "LimitExceeded"),
    "an empty listing": (b"apiVersion: v1\nentries: {}\n", "RemovalsHeld"),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_a_broken_file_keeps_the_old_catalogue_and_is_a_named_error(syncer: Syncer, name: str) -> None:
    await syncer.sync(index(TWO))
    before = syncer.visible()
    data, reason = BROKEN[name]
    outcome = await syncer.sync(data)
    assert outcome.state == "failed"
    assert syncer.visible() == before
    assert (syncer.last_run()["state"], syncer.last_run()["error_class"]) == ("failed", reason)
    healed = await syncer.sync(index(TWO))
    assert (healed.state, healed.report.result) == ("done", "unchanged")


@pytest.mark.parametrize(
    ("status", "reason", "transient"),
    [(404, "SourceRefused", False), (401, "SourceRefused", False), (500, "SourceUnavailable", True), (429, "SourceUnavailable", True)],
)
async def test_a_refusal_and_an_outage_are_told_apart(syncer: Syncer, status: int, reason: str, transient: bool) -> None:
    syncer.repo.status = status
    outcome = await syncer.sync()
    assert outcome.error
    assert (outcome.error.reason, outcome.error.transient, str(status) in str(outcome.error)) == (reason, transient, True)


async def test_a_transfer_that_breaks_off_and_a_host_that_is_away_are_transient(syncer: Syncer) -> None:
    syncer.repo.index, syncer.repo.cut = index(TWO), 40
    cut = await syncer.sync()
    away = await syncer.sync(repository=replace(syncer.job.repository, url="http://127.0.0.1:1/"))
    for outcome in (cut, away):
        assert outcome.error
        assert (outcome.error.reason, outcome.error.transient) == ("SourceUnavailable", True)


async def test_an_empty_first_listing_is_a_listing_of_nothing(syncer: Syncer) -> None:
    outcome = await syncer.sync(b"apiVersion: v1\nentries: {}\n")
    assert (outcome.state, outcome.report.charts) == ("done", 0)


async def test_a_changed_specification_is_read_afresh_even_when_the_server_says_unchanged(syncer: Syncer) -> None:
    await syncer.sync(index(TWO), fingerprint="one")
    await syncer.sync(fingerprint="two")
    assert "If-None-Match" not in syncer.repo.requests[-1][1]
    await syncer.sync(fingerprint="two")
    assert "If-None-Match" in syncer.repo.requests[-1][1]


async def test_the_walks_process_may_die_without_harm(syncer: Syncer) -> None:
    syncer.repo.index = LONG
    job = asyncio.create_task(syncer.sync())
    pid = await child_of(syncer)
    os.kill(pid, signal.SIGKILL)
    outcome = await job
    assert outcome.error
    assert outcome.error.reason == "LimitExceeded"
    assert "SIGKILL" in str(outcome.error)
    assert (await syncer.sync(index(TWO))).state == "done"


async def test_the_walks_fork_server_may_die_and_the_next_sync_has_a_new_one(syncer: Syncer) -> None:
    syncer.repo.index = LONG
    job = asyncio.create_task(syncer.sync())
    walk = await child_of(syncer)
    os.kill(int(Path(f"/proc/{walk}/stat").read_text().split()[3]), signal.SIGKILL)
    outcome = await job
    assert outcome.error
    assert (outcome.error.reason, outcome.error.transient) == ("ReaderLost", True)
    assert (await syncer.sync(index(TWO))).state == "done"


async def child_of(syncer: Syncer) -> int:
    """The pid of the walk, once it runs: a child of the fork server."""
    while True:
        for server in children(os.getpid()):
            if b"worker.walk_server" in Path(f"/proc/{server}/cmdline").read_bytes() and (walks := children(server)):
                return walks[0]
        await asyncio.sleep(0.001)


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


async def test_a_second_sync_of_the_same_repository_leaves_quietly(syncer: Syncer) -> None:
    await syncer.sync(index(TWO))
    [(number,)] = syncer.database.rows("select id from chartfleet.repositories")
    with psycopg.connect(syncer.database.writer) as other:
        other.execute("select pg_advisory_lock(%s, %s)", (SYNC_LOCK, number))
        outcome = await syncer.sync()
    assert outcome.state == "skipped"
    assert syncer.database.rows("select count(*) from chartfleet.sync_runs") == [(1,)]


async def test_deletion_leaves_no_row_and_a_late_job_cannot_bring_it_back(syncer: Syncer) -> None:
    syncer.repo.archives = {"a-1.10.0.tgz": archive("a", README__md="# a")}
    await syncer.sync(index({"a": [{"version": "1.10.0"}]}), incarnation="first")
    await syncer.files()
    await syncer.delete("first")
    for table in ("repositories", "charts", "chart_versions", "version_files", "blobs", "file_work"):
        assert syncer.database.rows(f"select count(*) from chartfleet.{table}") == [(0,)], table
    late = await syncer.sync(incarnation="first")
    assert late.state == "skipped"
    assert late.error
    assert late.error.reason == "RepositoryGone"
    assert (await syncer.sync(incarnation="second")).state == "done"


async def test_a_repository_deleted_while_it_is_read_is_not_published(syncer: Syncer) -> None:
    syncer.repo.index = index({"a": [{"version": f"1.0.{n}", "description": "x" * 200} for n in range(5_000)]})
    job = asyncio.create_task(syncer.sync())
    await child_of(syncer)
    await asyncio.to_thread(syncer.database.rows, "delete from chartfleet.repositories")
    outcome = await job
    assert outcome.error
    assert outcome.error.reason == "RepositoryGone"
    assert syncer.database.rows("select count(*) from chartfleet.charts") == [(0,)]


async def test_a_nul_in_a_name_that_is_repeated_stops_nothing(syncer: Syncer) -> None:
    data = b'entries:\n  a:\n  - {version: 1.0.0, urls: [x]}\n  "x\\0y": []\n  "x\\0y": []\n'
    assert (await syncer.sync(data)).state == "done"
    assert len(syncer.visible()) == 1


async def test_no_cookie_passes_from_one_repository_to_another(syncer: Syncer) -> None:
    syncer.repo.headers = {"Set-Cookie": "session=canary"}
    await syncer.sync(index(TWO))
    other = replace(syncer.job.repository, key=RepositoryKey("b", "other"))
    await syncer.sync(repository=other)
    assert "Cookie" not in syncer.repo.requests[-1][1]


async def test_a_changed_url_is_read_afresh_without_a_fingerprint(syncer: Syncer) -> None:
    await syncer.sync(index(TWO))
    moved = replace(syncer.job.repository, url=f"{syncer.repo.url}/moved")
    await syncer.sync(repository=moved)
    assert "If-None-Match" not in syncer.repo.requests[-1][1]
    assert syncer.database.rows("select url from chartfleet.repositories") == [(moved.url,)]


async def test_a_validator_that_cannot_be_sent_back_is_none(syncer: Syncer) -> None:
    syncer.repo.headers = {"ETag": '"caf\u00e9"'}
    for _ in range(2):
        assert (await syncer.sync(index(TWO))).state == "done"
    assert syncer.database.rows("select etag from chartfleet.repositories") == [(None,)]


async def test_an_answer_of_not_modified_to_a_first_question_is_an_error(syncer: Syncer) -> None:
    syncer.repo.status = 304
    outcome = await syncer.sync()
    assert outcome.error
    assert outcome.error.reason == "SourceUnavailable"


async def test_a_job_of_another_resource_of_the_same_name_is_refused(syncer: Syncer) -> None:
    await syncer.sync(index(TWO), incarnation="new")
    syncer.database.rows("""
        insert into chartfleet.schedules (repository_id, namespace, argv, fingerprint, period_seconds)
        select id, namespace, '{}', '', 600 from chartfleet.repositories""")
    outcome = await syncer.sync(index({"a": TWO["a"][:1]}), incarnation="old")
    assert outcome.state == "skipped"
    assert len(syncer.visible()) == 3


async def test_a_long_row_of_failures_is_recorded_like_the_first(syncer: Syncer) -> None:
    await syncer.sync(index(TWO))
    syncer.database.rows("""
        insert into chartfleet.sync_runs (repository_id, namespace, name, job, cause, argv, state)
        select id, namespace, name, 'sync', 'command', '{}', 'failed' from chartfleet.repositories, generate_series(1, 1200)""")
    syncer.database.rows("""
        insert into chartfleet.schedules (repository_id, namespace, argv, fingerprint, period_seconds, next_due_at)
        select id, namespace, '{}', '', 600, now() + interval '1 day' from chartfleet.repositories""")
    syncer.repo.status = 503
    outcome = await syncer.sync()
    assert (outcome.state, syncer.last_run()["state"]) == ("failed", "failed")
    assert syncer.database.rows("select next_due_at < now() + interval '61 minutes' from chartfleet.schedules") == [(True,)]


async def test_credentials_go_to_the_repository_and_not_where_a_redirect_leads(syncer: Syncer, repo: HelmRepo) -> None:
    with serving(HelmRepo(index=index(TWO))) as elsewhere:
        repo.redirect = f"{elsewhere.url}/index.yaml"
        syncer.worker.secrets = Secrets(replace(syncer.worker.settings, authorization="Bearer canary"))
        assert (await syncer.sync()).state == "done"
        assert repo.requests[0][1]["Authorization"] == "Bearer canary"
        assert "Authorization" not in elsewhere.requests[0][1]


async def touched(syncer: Syncer) -> dict[str, int]:
    """Rows inserted, updated and deleted so far, by table, with what the worker's connection has not yet told."""
    async with syncer.worker.connection.transaction():
        await syncer.worker.connection.execute("select pg_stat_force_next_flush()")
    rows = syncer.database.rows("""
        select relname, n_tup_ins + n_tup_upd + n_tup_del from pg_stat_user_tables
        where schemaname = 'chartfleet' and relname <> 'sync_runs'""")
    return dict(rows)  # pyright: ignore[reportArgumentType]


async def test_a_nul_that_is_only_written_out_is_a_text_like_any_other(syncer: Syncer) -> None:
    entry = b"  ok:\n  - version: 1.0.0\n    name: '\\u0000q'\n    '\\u0000field': 1\n    urls: [u]\n  - version: '\\u0000v'\n"
    outcome = await syncer.sync(b"entries:\n" + entry + b"  other:\n  - {version: 1.0.0, urls: [u]}\n")
    assert (outcome.state, [name for name, *_ in syncer.visible()]) == ("done", ["ok", "other"])
    notes = outcome.report.notes or []
    assert {note.reason for note in notes} >= {"NameDiffers", "UnknownField", "OddVersion"}
    assert "u0000q" in str(syncer.last_run()["notes"])
