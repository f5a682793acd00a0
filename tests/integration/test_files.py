"""File work against a real PostgreSQL and a remote that a test controls: what archives hold, and what becomes of unreadable ones."""

import gzip
import hashlib
import io
import random
import re
import tarfile
import tracemalloc
from collections.abc import Iterable
from dataclasses import replace

import psycopg
import pytest
from sqlalchemy.exc import DBAPIError

from catalog import contents, tick
from catalog.contents import FileWork, ReadArchive
from catalog.database import CONTENTS_LOCK
from catalog.jobs import FetchFiles
from catalog.model import SecretRef
from tests.fakes.helm_repo import archive, index
from tests.integration.conftest import KEY, Syncer
from worker.run import Outcome

ONE: dict[str, list[dict[str, object]]] = {"a": [{"version": "1.0.0"}]}
PROVENANCE = b"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n"


async def test_every_versions_files_are_read_and_shared_contents_stand_once(syncer: Syncer) -> None:
    same = {"README__md": "# hello", "values__yaml": "a: 1\n"}
    syncer.repo.archives = {"a-1.10.0.tgz": archive("a", **same), "b-0.1.0.tgz": archive("b", values__schema__json="{}", **same)}
    await syncer.sync(index({"a": [{"version": "1.0.0"}, {"version": "1.10.0"}], "b": [{"version": "0.1.0"}]}))
    outcome = await syncer.files()
    assert (outcome.report.result, outcome.report.added) == ("changed", 2)
    assert sorted(syncer.repo.archive_requests()) == ["/a-1.0.0.tgz", "/a-1.10.0.tgz", "/b-0.1.0.tgz"]
    assert syncer.database.rows("select sum(cardinality(names)) from chartfleet.version_files") == [(7,)]
    assert syncer.database.rows("select count(*) from chartfleet.blobs") == [(5,)]


async def test_what_an_archive_holds_stands_in_its_versions_row(syncer: Syncer) -> None:
    chart = "apiVersion: v2\ndependencies: [{name: db, version: 1.10}]\nannotations: {artifacthub.io/images: '[{image: one:1.10}]'}\n"
    syncer.repo.archives = {"a-1.0.0.tgz": archive("a", Chart__yaml=chart, **{"values-dev__yaml": "x: 1", "templates/a__yaml": ""})}
    await syncer.sync(index(ONE))
    await syncer.files()
    [row] = syncer.database.rows("select names, templates, dependencies, images, as_listed, signed from chartfleet.version_files")
    assert row == (["Chart.yaml", "values-dev.yaml"], 1, [{"name": "db", "version": "1.10"}], ["one:1.10"], None, False)


async def test_what_was_refused_is_tried_at_once_when_the_repository_is_asked_in_another_way(syncer: Syncer) -> None:
    await syncer.sync(index(ONE))
    await syncer.files()
    due = "select next_attempt_at <= now(), attempts from chartfleet.file_work"
    assert syncer.database.rows(due) == [(False, 1)]
    await syncer.sync()
    assert syncer.database.rows(due) == [(False, 1)]
    await syncer.sync(fingerprint="another credential")
    assert syncer.database.rows(due) == [(True, 0)]


async def test_a_file_that_is_no_text_is_kept_as_it_is(syncer: Syncer) -> None:
    content, packed = b"caf\xe9 \0 \xff", io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        info = tarfile.TarInfo("a/README.md")
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
    syncer.repo.archives = {"a-1.0.0.tgz": packed.getvalue()}
    await syncer.sync(index(ONE))
    await syncer.files()
    assert texts_named(syncer) == [content]


async def test_each_charts_newest_version_is_read_before_the_rest(syncer: Syncer) -> None:
    charts = {f"c{n}": [{"version": f"{major}.0.0"} for major in range(1, 5)] for n in range(40)}
    syncer.repo.archives = {f"{name}-{major}.0.0.tgz": archive(name) for name in charts for major in range(1, 5)}
    await syncer.sync(index(charts))
    assert (await syncer.files()).report.added == 160
    first = syncer.repo.archive_requests()[:30]  # ten are on their way at once
    assert all(path.endswith("-4.0.0.tgz") for path in first)


async def test_more_than_a_page_and_a_batch_are_read_in_one_run_each_once(syncer: Syncer) -> None:
    versions: list[dict[str, object]] = [{"version": f"1.0.{n}"} for n in range(2_100)]
    syncer.repo.archives = {f"a-1.0.{n}.tgz": archive("a", README__md=str(n % 7)) for n in range(2_100)}
    await syncer.sync(index({"a": versions}))
    syncer.database.rows("create table public.said (phase text)")
    syncer.database.rows("""
        create function public.say() returns trigger language plpgsql security definer as
        $$begin insert into public.said values (new.phase); return null; end$$""")
    syncer.database.rows("""
        create trigger say after update of phase on chartfleet.sync_runs
        for each row when (new.phase is not null) execute function public.say()""")
    assert (await syncer.files()).report.added == 2_100
    assert len(set(syncer.repo.archive_requests())) == len(syncer.repo.archive_requests()) == 2_100
    assert syncer.database.rows("select count(*) from chartfleet.file_work") == [(0,)]
    phases = [str(phase) for (phase,) in syncer.database.rows("select phase from public.said")]
    assert phases[0] == "enriching 0/2,100"
    assert all(re.fullmatch(r"enriching [\d,]+/2,100", phase) for phase in phases)


async def test_large_archives_are_in_memory_one_at_a_time(syncer: Syncer) -> None:
    large = archive("a", big__bin=random.Random(1).randbytes(2**23).hex())
    assert len(large) > 8 * 2**20
    charts: dict[str, list[dict[str, object]]] = {f"c{n}": [{"version": "1.0.0"}] for n in range(12)}
    syncer.repo.archives = {f"c{n}-1.0.0.tgz": large for n in range(12)}
    await syncer.sync(index(charts))
    tracemalloc.start()
    try:
        assert (await syncer.files()).report.added == 12
        assert tracemalloc.get_traced_memory()[1] < 50 * 2**20
    finally:
        tracemalloc.stop()


async def test_a_failed_archive_is_retried_by_its_own_clock_without_a_new_index(syncer: Syncer) -> None:
    await syncer.sync(index(ONE))
    assert (await syncer.files()).report.result == "unchanged"
    work = "select attempts, error_class, next_attempt_at > now() + interval '10 hours' from chartfleet.file_work"
    assert syncer.database.rows(work) == [(1, "SourceRefused", True)]
    syncer.repo.archives = {"a-1.0.0.tgz": archive("a")}
    await syncer.files()
    assert syncer.database.rows(work), "its time has not come"
    make_due(syncer)
    await syncer.files()
    assert not syncer.database.rows(work)


@pytest.mark.parametrize(
    ("status", "body", "reason", "hours"),
    [
        (404, b"", "SourceRefused", 24),
        (403, b"", "SourceRefused", 24),
        (503, b"", "SourceUnavailable", 0),
        (200, b"<html>", "SourceMalformed", 24),
        (200, gzip.compress(bytes(11 * 2**20)), "LimitExceeded", 24),
    ],
)
async def test_why_an_archive_could_not_be_read_and_when_it_is_tried_again_is_visible(
    syncer: Syncer, status: int, body: bytes, reason: str, hours: int
) -> None:
    syncer.repo.archives, syncer.repo.statuses = {"a-1.0.0.tgz": body}, {"a-1.0.0.tgz": status}
    await syncer.sync(index(ONE))
    outcome = await syncer.files()
    assert (outcome.state, outcome.report.added) == ("done", 0)
    [(found, text, seconds)] = syncer.database.rows(
        "select error_class, error, extract(epoch from next_attempt_at - now())::float from chartfleet.file_work"
    )
    assert found == reason
    assert text
    assert isinstance(seconds, float)
    assert 0.8 * max(60, hours * 3600) - 5 < seconds < 1.2 * max(60, hours * 3600)


async def test_of_several_urls_the_first_that_offers_the_archive_is_read(syncer: Syncer) -> None:
    urls = ["oci://x/a", "http://[::1", "gone.tgz", "page.tgz", "good.tgz", "never.tgz"]
    syncer.repo.archives = {"page.tgz": b"<html>", "good.tgz": archive("a"), "never.tgz": b""}
    await syncer.sync(index({"a": [{"version": "1.0.0", "urls": urls}]}))
    assert (await syncer.files()).report.added == 1
    assert syncer.repo.archive_requests() == ["/gone.tgz", "/page.tgz", "/good.tgz"]


async def test_when_no_url_offers_it_the_error_that_may_mend_itself_counts(syncer: Syncer) -> None:
    syncer.repo.statuses = {"away.tgz": 503}
    await syncer.sync(index({"a": [{"version": "1.0.0", "urls": ["gone.tgz", "away.tgz"]}]}))
    await syncer.files()
    assert syncer.database.rows("select error_class from chartfleet.file_work") == [("SourceUnavailable",)]


@pytest.mark.parametrize(("listed", "as_listed"), [("sha256:" + "0" * 64, False), ("", None)])
async def test_a_digest_that_differs_is_a_note_and_stands_beside_the_files(syncer: Syncer, listed: str, as_listed: bool | None) -> None:
    syncer.repo.archives = {"a-1.0.0.tgz": archive("a", README__md="x")}
    await syncer.sync(index({"a": [{"version": "1.0.0", "digest": listed}]}))
    await syncer.files()
    [(found, same)] = syncer.database.rows("select digest, as_listed from chartfleet.version_files")
    assert re.fullmatch("[0-9a-f]{64}", str(found))
    assert same is as_listed
    assert b"x" in texts_named(syncer)
    notes = syncer.last_run()["notes"]
    if as_listed is None:
        assert notes is None
    else:
        assert isinstance(notes, list)
        assert (notes[0]["chart"], notes[0]["version"], notes[0]["reason"]) == ("a", "1.0.0", "DigestMismatch")
        assert listed in notes[0]["message"]
        assert str(found) in notes[0]["message"]


async def test_an_archive_that_is_replaced_is_read_again(syncer: Syncer) -> None:
    syncer.repo.archives = {"a-1.0.0.tgz": archive("a", README__md="old")}
    await syncer.sync(index({"a": [{"version": "1.0.0", "digest": "1"}]}))
    await syncer.files()
    syncer.repo.archives = {"a-1.0.0.tgz": archive("a", README__md="new")}
    await syncer.sync(index({"a": [{"version": "1.0.0", "digest": "2"}]}))
    await syncer.files()
    assert b"new" in texts_named(syncer)
    assert b"old" not in texts_named(syncer)


async def test_without_a_digest_a_changed_entry_has_its_archive_read_again(syncer: Syncer) -> None:
    syncer.repo.archives = {"a-1.0.0.tgz": archive("a", README__md="old")}
    await syncer.sync(index(ONE))
    await syncer.files()
    syncer.repo.archives = {"a-1.0.0.tgz": archive("a", README__md="new")}
    assert (await syncer.sync(index({"a": [{"version": "1.0.0", "description": "changed"}]}))).report.changed == 1
    assert (await syncer.files()).report.added == 1
    assert b"new" in texts_named(syncer)


async def test_one_odd_url_or_time_fails_no_other_entry(syncer: Syncer) -> None:
    syncer.repo.archives = {"b-1.0.0.tgz": archive("b", README__md="x")}
    odd = {"version": "1.0.0", "urls": ["http://[::1"], "created": "2020-01-01T00:00:00+20:00"}
    assert (await syncer.sync(index({"a": [odd], "b": [{"version": "1.0.0"}]}))).state == "done"
    outcome = await syncer.files()
    assert (outcome.state, outcome.report.added) == ("done", 1)
    assert syncer.database.rows("select error_class from chartfleet.file_work where next_attempt_at > now()") == [("SourceMalformed",)]


async def test_a_version_that_lost_its_url_keeps_no_other_from_being_read(syncer: Syncer) -> None:
    syncer.repo.archives = {"b-1.0.0.tgz": archive("b", README__md="x")}
    await syncer.sync(index(ONE))
    await syncer.sync(index({"a": [{"version": "1.0.0", "urls": []}], "b": [{"version": "1.0.0"}]}))
    assert (await syncer.files()).report.added == 1


async def test_file_work_that_cannot_be_done_comes_back_later_and_not_at_once(syncer: Syncer) -> None:
    await syncer.sync(index(ONE))
    locked = replace(syncer.job.repository, auth=SecretRef("missing", "key"))
    outcome = await syncer.run(FetchFiles(locked))
    assert outcome.error
    assert outcome.error.reason == "WaitingForSecret"
    assert syncer.database.rows("select count(*) from chartfleet.file_work where next_attempt_at <= now()") == [(0,)]
    make_due(syncer)
    await syncer.sync(index({"b": [{"version": "1.0.0"}]}))
    syncer.database.rows("update chartfleet.file_work set next_attempt_at = now() + interval '1 hour' where attempts = 0")
    async with syncer.worker.connection.transaction():
        stored = await tick.find(syncer.worker.connection, KEY)
    assert stored
    assert not stored.files_due, "what is not listed any more is not due"


async def test_icons_too_come_back_later_when_the_job_cannot_begin(syncer: Syncer) -> None:
    await syncer.sync(index({"a": [{"version": "1.0.0", "icon": "a.png"}]}))
    outcome = await syncer.run(FetchFiles(replace(syncer.job.repository, auth=SecretRef("absent", "key"))))
    assert outcome.error
    async with syncer.worker.connection.transaction():
        stored = await tick.find(syncer.worker.connection, KEY)
    assert stored
    assert not stored.files_due
    assert syncer.database.rows("select attempts, error_class from chartfleet.icon_sources") == [(1, "WaitingForSecret")]


async def test_an_archive_with_a_nul_written_out_in_a_name_keeps_no_other_from_being_read(syncer: Syncer) -> None:
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as packed:
        member = tarfile.TarInfo(".\\u0000Q/README.md")
        member.size = 2_000
        packed.addfile(member, io.BytesIO(bytes(2_000)))
    syncer.repo.archives = {"a-1.0.0.tgz": gzip.compress(tar.getvalue()[:1_000]), "b-1.0.0.tgz": archive("b")}
    await syncer.sync(index({"a": [{"version": "1.0.0"}], "b": [{"version": "1.0.0", "digest": "\\u0000q"}]}))
    assert (await syncer.files()).state == "done"
    assert syncer.database.rows("select error_class from chartfleet.file_work") == [("SourceMalformed",)]
    assert syncer.database.rows("select as_listed from chartfleet.version_files") == [(False,)]


async def test_trouble_with_postgresql_says_nothing_of_the_archives(syncer: Syncer) -> None:
    syncer.repo.archives = {"a-1.0.0.tgz": archive("a")}
    await syncer.sync(index({**ONE, "b": [{"version": "1.0.0"}]}))
    await syncer.worker.connection.execute("set lock_timeout = '50ms'")
    await syncer.worker.connection.commit()
    with psycopg.connect(syncer.database.admin) as other:
        other.execute("lock table chartfleet.blobs")
        outcome = await syncer.files()
    assert outcome.error
    assert (outcome.error.reason, outcome.error.transient) == ("StoreRefused", True)
    assert syncer.database.rows("select attempts, error_class from chartfleet.file_work where next_attempt_at <= now()") == [(0, None)] * 2
    assert (await syncer.files()).report.added == 1


async def test_a_repository_that_is_deleted_meanwhile_gets_no_files(syncer: Syncer) -> None:
    syncer.repo.archives = {"a-1.0.0.tgz": archive("a")}
    await syncer.sync(index(ONE))
    async with syncer.worker.transaction() as connection:
        [work] = await contents.due_files(connection, 1, None, 10)
    syncer.database.rows("delete from chartfleet.repositories")
    async with syncer.worker.transaction() as connection:
        assert await contents.put_files(connection, "default", [read(work)]) == 0


async def test_files_of_an_archive_that_is_wanted_anew_meanwhile_are_not_kept(syncer: Syncer) -> None:
    await syncer.sync(index(ONE))
    async with syncer.worker.transaction() as connection:
        [work] = await contents.due_files(connection, 1, None, 10)
    await syncer.sync(index({"a": [{"version": "1.0.0", "description": "changed"}]}))
    async with syncer.worker.transaction() as connection:
        assert await contents.put_files(connection, "default", [read(work)]) == 0
        await contents.postpone_files(connection, [contents.Postponed(work, 60.0, "SourceRefused", "x")])
    assert syncer.database.rows("select attempts from chartfleet.file_work") == [(0,)]
    assert not texts_named(syncer)


async def test_a_host_that_is_away_is_left_alone_after_five_failures_and_its_archives_wait_together(syncer: Syncer) -> None:
    away = {f"away-{n}": [{"version": "1.0.0", "urls": ["http://127.0.0.1:1/x.tgz"]}] for n in range(300)}
    syncer.repo.archives = {"z-1.0.0.tgz": archive("z")}
    await syncer.sync(index({**away, "z": [{"version": "1.0.0"}]}))
    outcome = await syncer.files()
    assert outcome.report.requests <= 20
    assert outcome.report.added == 1, "another host's archives are read"
    assert syncer.database.rows("select count(*) from chartfleet.file_work where next_attempt_at > now()") == [(300,)]
    [(tried,)] = syncer.database.rows("select count(*) from chartfleet.file_work where attempts = 1")
    assert 5 <= int(str(tried)) <= 20, "what was never asked for has not failed"
    waits = (
        "select count(distinct next_attempt_at - now() > interval '1 second') from chartfleet.file_work where error_class = 'HostSilent'"
    )
    assert syncer.database.rows(waits) == [(1,)]


async def test_what_waits_for_a_patient_host_waits_no_longer_each_time(syncer: Syncer) -> None:
    versions = [f"1.{n}.0" for n in range(60)]
    await syncer.sync(index({"a": [{"version": version} for version in versions]}))
    syncer.repo.statuses = {f"a-{version}.tgz": 429 for version in versions}
    for _ in range(4):
        await syncer.files()
        make_due(syncer)
        syncer.database.rows("delete from chartfleet.hosts")
    [(waiting,)] = syncer.database.rows("select count(*) from chartfleet.file_work where attempts = 0")
    assert int(str(waiting)) >= 60 - 4 * 11


@pytest.mark.parametrize(
    ("provenance", "status", "signed"),
    [
        (PROVENANCE, 200, True),
        (None, 404, False),
        (None, 403, False),
        (b"<html>a page for everything</html>", 200, False),
        (b"", 503, None),
    ],
)
async def test_whether_the_newest_version_is_signed_is_asked_once(
    syncer: Syncer, provenance: bytes | None, status: int, signed: bool | None
) -> None:
    syncer.repo.archives = {f"a-{version}.0.0.tgz": archive("a") for version in (1, 2)}
    if provenance is not None:
        syncer.repo.archives |= {f"a-{version}.0.0.tgz.prov": provenance for version in (1, 2)}
    syncer.repo.statuses = {"a-2.0.0.tgz.prov": status}
    await syncer.sync(index({"a": [{"version": "1.0.0"}, {"version": "2.0.0"}]}))
    for _ in range(2):
        await syncer.files()
    found = (
        """select v.version, f.signed from chartfleet.version_files f join chartfleet.chart_versions v on v.id = f.version_id order by 1"""
    )
    assert syncer.database.rows(found) == [("1.0.0", None), ("2.0.0", signed)]
    assert [path for path, _ in syncer.repo.requests if path.endswith(".prov")] == ["/a-2.0.0.tgz.prov"]


TWO_OF_EACH = {name: [{"version": "1.0.0"}, {"version": "2.0.0"}] for name in "ab"}


@pytest.mark.parametrize(("mode", "read"), [("all", {"1.0.0", "2.0.0"}), ("latest", {"2.0.0"}), ("none", set[str]())])
async def test_only_the_archives_that_are_wanted_are_read(syncer: Syncer, mode: str, read: set[str]) -> None:
    syncer.repo.archives = {f"{name}-{version}.0.0.tgz": archive(name) for name in "ab" for version in (1, 2)}
    await syncer.sync(index(TWO_OF_EACH))
    outcome = await files_as(syncer, mode)
    assert outcome.report.added == 2 * len(read)
    assert {path.split("-")[1].removesuffix(".tgz") for path in syncer.repo.archive_requests()} == read
    assert syncer.database.rows("select count(*) from chartfleet.file_work") == [(0,)], "what nobody wants is not due for ever"


async def test_an_unknown_word_for_the_files_is_an_error_that_names_those_there_are(syncer: Syncer) -> None:
    await syncer.sync(index(ONE))
    outcome = await files_as(syncer, "some")
    assert outcome.error
    assert outcome.error.reason == "InvalidRepository"
    assert "all, latest, none, not 'some'" in str(outcome.error)


async def test_a_changed_mode_takes_effect_without_a_new_index(syncer: Syncer) -> None:
    syncer.repo.archives = {f"{name}-{version}.0.0.tgz": archive(name) for name in "ab" for version in (1, 2)}
    await syncer.sync(index(TWO_OF_EACH))
    due = list[set[str]]()
    for mode in ("none", "latest", "all"):
        async with syncer.worker.transaction() as connection:
            await contents.want_files(connection, 1, "default", mode)
            due.append({f"{work.chart} {work.version}" for work in await contents.due_files(connection, 1, None, 10)})
    assert due == [set(), {"a 2.0.0", "b 2.0.0"}, {"a 2.0.0", "b 2.0.0", "a 1.0.0", "b 1.0.0"}]
    await syncer.files()
    async with syncer.worker.transaction() as connection:
        await contents.want_files(connection, 1, "default", "all")
        assert await contents.count_due(connection, 1) == 0, "what was read is not read again"


async def test_an_archive_that_changed_while_nobody_wanted_it_is_read_when_somebody_does(syncer: Syncer) -> None:
    old = archive("a", README__md="old")
    syncer.repo.archives = {"a-1.0.0.tgz": old}
    digests = [hashlib.sha256(data).hexdigest() for data in (old, archive("a", README__md="new"))]
    await syncer.sync(index({"a": [{"version": "1.0.0", "digest": digests[0]}]}))
    await syncer.files()
    await syncer.sync(index({"a": [{"version": "1.0.0", "digest": digests[1]}]}))
    for mode, wanted in (("none", 0), ("all", 1)):
        async with syncer.worker.transaction() as connection:
            await contents.want_files(connection, 1, "default", mode)
            assert await contents.count_due(connection, 1) == wanted


async def test_contents_that_one_version_lets_go_another_of_the_batch_may_take_up(syncer: Syncer) -> None:
    syncer.repo.archives = {"a-1.0.0.tgz": archive("a", README__md="shared")}
    await syncer.sync(index({"a": [{"version": "1.0.0", "digest": "d1"}]}))
    await syncer.files()
    syncer.repo.archives = {"a-1.0.0.tgz": archive("a", README__md="new"), "b-1.0.0.tgz": archive("a", README__md="shared")}
    await syncer.sync(index({"a": [{"version": "1.0.0", "digest": "d2"}], "b": [{"version": "1.0.0"}]}))
    assert (await syncer.files()).report.added == 2
    async with syncer.worker.transaction() as connection:
        await contents.sweep_contents(connection)
    assert {b"new", b"shared"} <= blobs(syncer)


async def test_contents_that_nobody_names_are_swept_once_an_hour_by_whoever_comes_by(syncer: Syncer) -> None:
    for number, text in enumerate(("first", "second", "third")):
        syncer.repo.archives = {"a-1.0.0.tgz": archive("a", README__md=text)}
        await syncer.sync(index({"a": [{"version": "1.0.0", "digest": str(number)}]}))
        await syncer.files()
    assert b"first" not in blobs(syncer), "replaced, and nothing was swept for an hour"
    assert b"second" in blobs(syncer), "the hour is not over"
    syncer.database.rows("update chartfleet.housekeeping set done_at = now() - interval '61 minutes'")
    for swept in (True, False):
        async with syncer.worker.transaction() as connection:
            assert await contents.tidy(connection) is swept
    assert b"second" not in blobs(syncer)
    assert b"third" in blobs(syncer)


async def test_a_sweep_waits_for_those_who_are_naming_contents(syncer: Syncer) -> None:
    await syncer.sync(index(ONE))
    with psycopg.connect(syncer.database.writer) as other:
        other.execute("select pg_advisory_xact_lock_shared(%s, 0)", (CONTENTS_LOCK,))
        async with syncer.worker.transaction() as connection:
            await connection.exec_driver_sql("set local lock_timeout = '50ms'")
            with pytest.raises(DBAPIError, match="lock timeout"):
                await contents.sweep_contents(connection)


async def files_as(syncer: Syncer, mode: str) -> Outcome:
    return await syncer.run(FetchFiles(replace(syncer.job.repository, options={"files": mode})))


def read(work: FileWork) -> ReadArchive:
    return ReadArchive(work, "d1", {}, 0, [], [], None)


def make_due(syncer: Syncer) -> None:
    syncer.database.rows("update chartfleet.file_work set next_attempt_at = now()")


def texts_named(syncer: Syncer) -> list[bytes]:
    return list(
        first_of(
            syncer.database.rows("select content from chartfleet.version_files f join chartfleet.blobs b on b.sha256 = any (f.contents)")
        )
    )


def blobs(syncer: Syncer) -> set[bytes]:
    return set(first_of(syncer.database.rows("select content from chartfleet.blobs")))


def first_of(rows: Iterable[tuple[object, ...]]) -> Iterable[bytes]:
    return (bytes(row[0]) for row in rows if isinstance(row[0], bytes))
