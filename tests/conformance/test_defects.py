"""What Kubeapps' syncer does wrong, each case as it was seen, and what ours does instead. docs/kubeapps.md names these tests."""

import asyncio
import hashlib
import json
import os
import subprocess

import pytest

from catalog import search
from catalog.engine import pooled_engine
from catalog.jobs import CleanUpRepository, SyncRepository
from catalog.model import Repository, RepositoryKey
from catalog.options import Limits
from catalog.search import ChartKey
from cli import servers
from tests.conftest import ROOT, Database
from tests.fakes.helm_repo import HelmRepo, archive, index, serving
from tests.integration.conftest import KEY, Syncer
from worker.addresses import parse
from worker.process import Worker
from worker.run import run
from worker.settings import Settings

NAMES = [
    "o'neil",
    "'); delete from chartfleet.charts; --",
    "'; truncate chartfleet.repositories cascade; --",
    'quoted"name',
    "back\\slash",
    "chart with spaces",
    "chart#with#hashes",
    "chart$with$chars",
    "project/chart",
    "project%2Fchart",
    "foo%20bar",
    "%s%(x)s:name",
    "tab\there",
    "naïve/図",
]
STEADY = {"steady": [{"version": "1.0.0"}, {"version": "0.9.0"}]}
OTHER = RepositoryKey("team", "other")


def charts(syncer: Syncer) -> list[str]:
    """The repository's visible charts."""
    rows = syncer.database.rows("""
        select c.name from chartfleet.charts c join chartfleet.repositories r on r.id = c.repository_id
        where r.name = 'demo' and c.removed_at is null order by c.name collate "C" """)
    return [str(name) for (name,) in rows]


def rows_of(database: Database, key: RepositoryKey) -> list[tuple[object, ...]]:
    """A repository's rows with the transactions that wrote them: equal means untouched."""
    return database.rows(
        """
        select r.xmin::text, to_jsonb(r), c.xmin::text, to_jsonb(c), v.xmin::text, to_jsonb(v) from chartfleet.repositories r
        join chartfleet.charts c on c.repository_id = r.id join chartfleet.chart_versions v on v.chart_id = c.id
        where r.namespace = %s and r.name = %s order by v.id""",
        key.namespace,
        key.name,
    )


@pytest.mark.parametrize("name", NAMES)
async def test_a_chart_of_any_name_is_listed_withdrawn_and_listed_again_and_no_other_repository_is_touched(
    syncer: Syncer, name: str
) -> None:
    both = {**STEADY, name: [{"version": "1.0.0"}]}
    await syncer.sync(index(both), repository=Repository(OTHER, "helm", syncer.repo.url))
    others = rows_of(syncer.database, OTHER)
    assert len(others) == 3
    await syncer.sync()
    assert charts(syncer) == sorted(both)
    withdrawn = await syncer.sync(index(STEADY))
    assert (withdrawn.state, withdrawn.report.removed, charts(syncer)) == ("done", 1, ["steady"])
    await syncer.sync(index(both))
    assert charts(syncer) == sorted(both)
    assert rows_of(syncer.database, OTHER) == others


async def test_names_stand_as_they_are_written_and_in_the_order_of_their_characters(syncer: Syncer) -> None:
    names = ["chart with spaces", "chart#with#hashes", "chart$with$chars", "chart-without-spaces", "project1/a", "project1%2Fa"]
    await syncer.sync(index({name: [{"version": "1.0.0"}] for name in reversed(names)}))
    assert charts(syncer) == [
        "chart with spaces",
        "chart#with#hashes",
        "chart$with$chars",
        "chart-without-spaces",
        "project1%2Fa",
        "project1/a",
    ]


BAD = {
    "a version without urls": (b"{version: 2.0.0}", {"NoUrl"}, ["2.0.0", "1.0.0"]),
    "a version with null urls": (b"{version: 2.0.0, urls: null}", {"NoUrl"}, ["2.0.0", "1.0.0"]),
    "a null": (b"null", {"NoEntry"}, ["1.0.0"]),
    "a null version": (b"{version: null, urls: [x]}", {"NoVersion"}, ["1.0.0"]),
    "an empty version": (b'{version: "", urls: [x]}', {"NoVersion"}, ["1.0.0"]),
    "a version that is no version": (b"{version: latest, urls: [x]}", {"OddVersion"}, ["1.0.0"]),
    "a NUL": (b'{version: 2.0.0, urls: [x], description: "a\\0b"}', {"NulCharacter"}, ["2.0.0", "1.0.0"]),
    "a NUL in a key": (b'{version: 2.0.0, urls: [x], annotations: {"a\\0b": c}}', {"NulCharacter"}, ["2.0.0", "1.0.0"]),
    "a maintainer without a name": (b"{version: 2.0.0, urls: [x], maintainers: [{email: e}]}", set[str](), ["2.0.0", "1.0.0"]),
    "maintainers that are no list": (b"{version: 2.0.0, urls: [x], maintainers: nobody}", set[str](), ["2.0.0", "1.0.0"]),
}


@pytest.mark.parametrize("name", BAD)
async def test_one_bad_entry_stops_nothing_and_is_named(syncer: Syncer, name: str) -> None:
    entry, reasons, versions = BAD[name]
    outcome = await syncer.sync(b"entries:\n  a:\n  - {version: 1.0.0, urls: [x]}\n  - %s\n  z:\n  - {version: 1.0.0, urls: [x]}\n" % entry)
    assert outcome.state == "done"
    assert [version for chart, version, _ in syncer.visible() if chart == "a"] == versions
    assert charts(syncer) == ["a", "z"]
    assert {note.reason for note in outcome.report.notes or []} == reasons


async def test_a_chart_without_versions_is_no_chart(syncer: Syncer) -> None:
    outcome = await syncer.sync(b"entries:\n  emptyChart: []\n  nothing: null\n  a:\n  - {version: 1.0.0, urls: [x]}\n")
    assert (outcome.report.charts, charts(syncer)) == (1, ["a"])


@pytest.mark.parametrize("answer", [b'{"error": "not found"}', b"error: not found\n", b"invalid", b""])
async def test_an_answer_that_is_no_index_keeps_the_catalogue_and_is_asked_for_again(syncer: Syncer, answer: bytes) -> None:
    await syncer.sync(index(STEADY))
    before = rows_of(syncer.database, KEY)
    for _ in range(2):
        outcome = await syncer.sync(answer)
        assert outcome.error
        assert outcome.error.reason == "SourceMalformed"
    assert rows_of(syncer.database, KEY) == before
    assert (await syncer.sync(index({**STEADY, "new": [{"version": "1.0.0"}]}))).report.added == 1


async def test_a_chart_whose_newest_version_is_deprecated_stays_and_is_flagged(syncer: Syncer) -> None:
    await syncer.sync(index({**STEADY, "old": [{"version": "1.0.0"}]}))
    await syncer.sync(index({**STEADY, "old": [{"version": "1.0.0"}, {"version": "2.0.0", "deprecated": True}]}))
    assert charts(syncer) == ["old", "steady"]
    assert syncer.database.rows("select name, version from chartfleet.charts where deprecated") == [("old", "2.0.0")]


async def test_a_withdrawn_versions_files_are_out_of_sight_and_come_back_without_a_download(syncer: Syncer) -> None:
    syncer.repo.archives = {f"a-{version}.tgz": archive("a", version, README__md=version) for version in ("1.0.0", "2.0.0")}
    both = index({"a": [{"version": "1.0.0"}, {"version": "2.0.0"}]})
    await syncer.sync(both)
    await syncer.files()
    assert await readme(syncer.database, "2.0.0") == b"2.0.0"
    await syncer.sync(index({"a": [{"version": "1.0.0"}]}))
    assert await readme(syncer.database, "2.0.0") is None
    await syncer.sync(both)
    await syncer.files()
    assert await readme(syncer.database, "2.0.0") == b"2.0.0"
    assert len(syncer.repo.archive_requests()) == 2


async def readme(database: Database, version: str) -> object:
    """What the API's role sees."""
    engine = pooled_engine(database.reader, "chartfleet_reader", "tests")
    async with search.seeing(engine, ["*"]) as connection:
        row = await search.version_file(connection, ChartKey(KEY.namespace, KEY.name, "a"), version, "README.md")
    await engine.dispose()
    return row and row["content"]


async def test_an_archive_with_one_flipped_byte_is_refused_or_flagged_wherever_the_byte_is(syncer: Syncer) -> None:
    good = archive("a", README__md="# read me", values__yaml="replicas: 1\n")
    flipped = {f"a-1.0.{n}.tgz": bytes([*good[:n], good[n] ^ 1, *good[n + 1 :]]) for n in range(len(good))}
    syncer.repo.archives = {**flipped, "a-2.0.0.tgz": good}
    digest = hashlib.sha256(good).hexdigest()
    await syncer.sync(index({"a": [{"version": name[2:-4], "digest": digest} for name in syncer.repo.archives]}))
    await syncer.files()
    read = "from chartfleet.version_files f join chartfleet.chart_versions v on v.id = f.version_id"
    assert syncer.database.rows(f"select v.version {read} where f.as_listed") == [("2.0.0",)]
    assert syncer.database.rows(f"select count(*) > 0 {read} where f.as_listed is null") == [(False,)]
    [(flagged,)] = syncer.database.rows(f"select count(*) {read} where not f.as_listed")
    [(refused,)] = syncer.database.rows("select count(*) from chartfleet.file_work where error_class = 'SourceMalformed'")
    assert (int(str(flagged)) + int(str(refused)), int(str(refused)) > len(good) // 2) == (len(good), True)


async def test_an_oci_archive_in_a_helm_index_waits_with_its_reason_and_stops_no_other(syncer: Syncer) -> None:
    syncer.repo.archives = {"a-1.0.0.tgz": archive("a", README__md="x")}
    oci = {"version": "2.0.0", "urls": ["oci://quay.example/charts/a:2.0.0"]}
    await syncer.sync(index({"a": [{"version": "1.0.0"}, oci]}))
    outcome = await syncer.files()
    assert (outcome.state, outcome.report.added) == ("done", 1)
    [(version, error)] = syncer.database.rows(
        "select version, error from chartfleet.file_work w join chartfleet.chart_versions v on v.id = version_id"
    )
    assert (version, "oci://" in str(error)) == ("2.0.0", True)


async def test_a_deletion_takes_one_repository_of_one_namespace(syncer: Syncer) -> None:
    syncer.repo.index = index(STEADY)
    keys = [RepositoryKey("team", "demo"), OTHER, RepositoryKey("team", "o'neil'); delete from chartfleet.repositories; --"), KEY]
    for key in keys:
        await syncer.sync(repository=Repository(key, "helm", syncer.repo.url))
    before = {key: rows_of(syncer.database, key) for key in keys}
    for gone in (KEY, keys[2]):
        assert (await syncer.run(CleanUpRepository(gone))).report.result == "changed"
        before[gone] = []
        assert {key: rows_of(syncer.database, key) for key in keys} == before


async def test_first_syncs_of_many_repositories_at_once_all_end_well(database: Database, repo: HelmRepo) -> None:
    repo.index = index(STEADY)
    workers = [
        await Worker.open(Settings(database_url=database.writer, limits=Limits(timeout=5), allow_addresses=parse("loopback")))
        for _ in range(6)
    ]
    jobs = [SyncRepository(Repository(RepositoryKey("default", f"demo-{n}"), "helm", repo.url)) for n in range(6)]
    outcomes = await asyncio.gather(*(run(worker, job) for worker, job in zip(workers, jobs, strict=True)))
    for worker in workers:
        await worker.close()
    assert [(outcome.state, outcome.report.added) for outcome in outcomes] == [("done", 2)] * 6


@pytest.mark.parametrize(
    ("variable", "secret", "canary"),
    [
        ("AUTHORIZATION_HEADER", "Bearer canary", "Bearer canary"),
        ("DOCKER_CONFIG_JSON", json.dumps({"auths": {"x": {"username": "user", "password": "canary"}}}), "Basic dXNlcjpjYW5hcnk="),
    ],
    ids=["header", "docker config"],
)
def test_a_process_started_as_kubeapps_starts_it_tells_its_secret_to_the_repository_alone(
    database: Database, variable: str, secret: str, canary: str
) -> None:
    with serving(HelmRepo(index(STEADY), {"steady-1.0.0.tgz": archive("steady")})) as repo:
        words = [
            "sync",
            "--user-agent-comment=kubeapps/2.12.1",
            "--global-repos-namespace=kubeapps",
            "--namespace=kubeapps",
            "demo",
            repo.url,
            "helm",
        ]
        environment = {**os.environ, "CHARTFLEET_DATABASE_URL": database.writer, "CHARTFLEET_LOG_LEVEL": "debug", variable: secret}
        done = subprocess.run(
            servers.python("worker", *words), cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=True
        )
        assert {headers.get("Authorization") for _, headers in repo.requests} == {canary}
        assert {headers["User-Agent"] for _, headers in repo.requests} == {"chartfleet (kubeapps/2.12.1)"}
    stored = str(database.rows("select to_jsonb(r), to_jsonb(s) from chartfleet.repositories r, chartfleet.sync_runs s"))
    for text in (done.stdout, done.stderr, stored):
        assert text
        assert not any(each in text for each in ("canary", "dXNlcjpjYW5hcnk", "Bearer"))
