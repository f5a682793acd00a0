"""One-shot workers as Pods have them: their exit codes, and what they leave as the termination message."""

import json
import signal
import socket
from pathlib import Path

import psycopg
import pytest

from catalog.database import SYNC_LOCK
from catalog.report import summary_in
from tests.conftest import Database, until
from tests.fakes.helm_repo import Gate, HelmRepo, archive, index
from tests.fakes.listings import listing, many
from tests.integration.catalogue import content, places
from tests.integration.pods import NAMESPACE, Pod


@pytest.fixture
def pod(database: Database, repo: HelmRepo, tmp_path: Path) -> Pod:
    return Pod(database.writer, repo, tmp_path / "termination-log")


def revision_of(database: Database) -> str:
    [(revision,)] = database.rows("select 'sha256:' || encode(body_sha256, 'hex') from chartfleet.repositories")
    return str(revision)


# The termination message


def test_a_sync_leaves_what_it_did_and_how_the_repository_stands(pod: Pod, database: Database) -> None:
    pod.repo.index = index({"app": [{"version": "1.0.0"}, {"version": "0.9.0"}], "odd": [{"version": "one"}]})
    first = pod.sync()
    said = first.summary
    assert (first.code, said.job, said.repository, said.state, said.result) == (0, "sync", "default/demo", "done", "changed")
    assert (said.charts, said.versions, said.added, said.notes, len(said.first_notes)) == (1, 2, 2, 1, 1)
    assert said.first_notes[0].startswith("odd one: ")
    assert (said.revision, said.error, said.held) == (revision_of(database), None, None)
    assert said.started_at
    assert said.finished_at
    assert said.started_at <= said.finished_at
    assert json.loads(first.out.splitlines()[-1])["run"] == said.run


def test_an_unchanged_sync_still_says_how_the_repository_stands(pod: Pod) -> None:
    pod.repo.index = index({"app": [{"version": "1.0.0"}], "odd": [{"version": "one"}]})
    before, said = pod.sync().summary, pod.sync().summary
    assert said.result == "unchanged"
    assert (said.charts, said.versions, said.notes, said.first_notes) == (1, 1, 1, before.first_notes)
    assert (said.revision, said.added) == (before.revision, 0)


def test_after_the_archives_the_message_still_tells_of_the_sync(pod: Pod, database: Database) -> None:
    pod.repo.index = index({"app": [{"version": "1.0.0"}]})
    pod.repo.archives = {"app-1.0.0.tgz": archive("app", README__md="# App")}
    said = pod.sync().summary
    assert database.rows("select job, state from chartfleet.sync_runs order by id") == [("sync", "done"), ("files", "done")]
    assert (said.job, said.run) == ("sync", 1)


def test_a_held_listing_is_told_with_what_it_would_remove(pod: Pod) -> None:
    pod.repo.index = listing(many(20, 5))
    pod.sync()
    pod.repo.index = listing(many(2, 5))
    held = pod.sync()
    said = held.summary
    assert (held.code, said.error_class, said.transient, said.charts) == (1, "RemovalsHeld", False, 20)
    assert said.held
    assert (said.held.reason, said.held.removals) == ("Shrunk", 90)


def test_a_message_fits_whatever_the_notes_say(pod: Pod) -> None:
    pod.repo.index = index({"é" * 250: [{"version": "ü" * 250 + str(number)} for number in range(120)]})
    ended = pod.sync()
    assert len(ended.message.encode()) <= 4000 < len(ended.out)
    assert (ended.summary.notes, len(ended.summary.first_notes)) == (120, 3)


@pytest.mark.parametrize(
    ("argv", "environment", "code", "reason"),
    [
        (["dance"], {}, 2, "InvalidJob"),
        (["sync", NAMESPACE, "demo"], {}, 2, "InvalidJob"),
        (["delete", NAMESPACE, "demo"], {"CHARTFLEET_OPTIONS": "--option=x"}, 2, "InvalidJob"),
        (["delete", NAMESPACE, "demo"], {"CHARTFLEET_GRACE_DAYS": "few"}, 2, "InvalidJob"),
        (["delete", NAMESPACE, "demo"], {"CHARTFLEET_DATABASE_URL": ""}, 2, "InvalidJob"),
        (["delete", NAMESPACE, "demo"], {"CHARTFLEET_DATABASE_URL": "postgresql://u:canary@127.0.0.1:1/d"}, 75, "StoreUnavailable"),
        (["delete", NAMESPACE, "demo"], {"CHARTFLEET_DATABASE_URL": "postgresql://u:canary%zz@h/d"}, 2, "InvalidJob"),
    ],
)
def test_a_process_that_fails_before_its_run_says_why(
    pod: Pod, argv: list[str], environment: dict[str, str], code: int, reason: str
) -> None:
    ended = pod.run(*argv, **environment)
    assert (ended.code, ended.summary.state, ended.summary.error_class) == (code, "failed", reason)
    assert (ended.summary.error or "") in ended.err
    assert ended.summary.error
    assert "canary" not in ended.message + ended.out + ended.err


def test_what_is_newer_than_kubeapps_flags_comes_in_one_variable(pod: Pod, database: Database) -> None:
    pod.repo.index = index({"app": [{"version": "1.0.0"}]})
    assert pod.sync(CHARTFLEET_OPTIONS="--option=files=none --option=incarnation=u-1").code == 0
    assert database.rows("select applied_files, incarnation from chartfleet.repositories") == [("none", "u-1")]
    assert pod.repo.archive_requests() == []


# Kubeapps' command lines


@pytest.mark.parametrize(
    "flags",
    [
        ["--debug", "--logtostderr", "-v", "4"],
        ["-v=4", "--v=4", "--stderrthreshold", "INFO", "--alsologtostderr=true"],
        ["-v4", "--vmodule=a=1", "--user-agent-comment=kubeapps/2.12", "--global-repos-namespace", "kubeapps"],
    ],
)
def test_flags_of_kubeapps_syncer_stand_before_or_after_the_words(pod: Pod, flags: list[str]) -> None:
    words = ["sync", "demo", pod.repo.url, "helm"]
    assert [pod.run(*flags, *words, NAMESPACE).code, pod.run(*words, NAMESPACE, *flags).code] == [0, 0]


@pytest.mark.parametrize("argv", [["help"], ["help", "sync"], ["--help"], ["sync", "-h"], ["delete", "--namespace=x", "--help"]])
def test_help_is_had_without_a_database(pod: Pod, argv: list[str]) -> None:
    ended = pod.run(*argv, CHARTFLEET_DATABASE_URL="")
    assert (ended.code, ended.out.split()[0], ended.message) == (0, "usage:", "")


def test_the_version_is_had_without_a_database(pod: Pod) -> None:
    ended = pod.run("--version", CHARTFLEET_DATABASE_URL="")
    assert (ended.code, ended.out.split()[0]) == (0, "chartfleet")


def test_after_invalidate_cache_also_a_listing_of_the_same_bytes_is_read(pod: Pod) -> None:
    pod.repo.index = index({"app": [{"version": "1.0.0"}]})
    phases = [json.loads(pod.sync("--option=files=none").out)["phases"] for _ in range(2)]
    pod.run("invalidate-cache")
    again = json.loads(pod.sync("--option=files=none").out)
    assert ["read" in each for each in (*phases, again["phases"])] == [True, False, True]
    assert again["result"] == "unchanged"


def test_invalidate_cache_lets_all_be_read_again_and_loses_nothing(pod: Pod, database: Database) -> None:
    pod.repo.index = listing(many(20, 5))
    pod.sync()
    pod.repo.index = listing(many(2, 5))
    pod.sync()
    before = places(database, "demo")
    ended = pod.run("invalidate-cache")
    assert (ended.code, ended.summary.job, ended.summary.result, json.loads(ended.out)["repositories"]) == (
        0,
        "invalidate-cache",
        "changed",
        1,
    )
    assert len(content(database, "demo")) == 20 + 100
    held = pod.sync()
    assert "If-None-Match" not in pod.repo.requests[-1][1]
    assert (held.summary.error_class, held.summary.held and held.summary.held.removals) == ("RemovalsHeld", 90)
    pod.repo.index = listing(many(20, 5))
    again = pod.sync("--option=files=none")
    assert (again.summary.result, again.summary.charts, again.summary.held) == ("unchanged", 20, None)
    assert [place for place in places(database, "demo") if place[0] != "chart"] == [place for place in before if place[0] != "chart"]


@pytest.mark.parametrize(
    ("environment", "header"),
    [
        ({"AUTHORIZATION_HEADER": "Bearer canary"}, "Bearer canary"),
        ({"DOCKER_CONFIG_JSON": '{"auths": {"h": {"username": "foo", "password": "bar"}}}'}, "Basic Zm9vOmJhcg=="),
    ],
)
def test_a_login_comes_from_the_environment_when_the_job_names_no_secret(pod: Pod, environment: dict[str, str], header: str) -> None:
    ended = pod.sync(**environment)
    assert (ended.code, pod.repo.requests[0][1]["Authorization"]) == (0, header)
    assert "canary" not in ended.out + ended.err + ended.message


# Exit codes


def test_a_job_that_somebody_else_does_is_no_failure(pod: Pod, database: Database) -> None:
    pod.sync()
    with psycopg.connect(database.writer) as connection:
        connection.execute("select pg_advisory_lock(%s, id) from chartfleet.repositories", (SYNC_LOCK,))
        ended = pod.sync()
    assert (ended.code, ended.summary.state, ended.summary.error_class) == (0, "skipped", None)


def test_a_job_of_a_deleted_repository_is_no_failure(pod: Pod, database: Database) -> None:
    pod.sync("--option=incarnation=first")
    assert pod.run("delete", "demo", NAMESPACE, CHARTFLEET_OPTIONS="--option=incarnation=first").code == 0
    ended = pod.sync("--option=incarnation=first")
    assert (ended.code, ended.summary.state, ended.summary.error_class, ended.summary.charts) == (0, "skipped", "RepositoryGone", None)
    assert database.rows("select id from chartfleet.repositories") == []


@pytest.mark.parametrize(
    ("status", "flags", "environment", "code", "reason"),
    [
        (404, [], {}, 1, "SourceRefused"),
        (503, [], {}, 75, "SourceUnavailable"),
        (200, ["--option=auth-secret=login/password"], {}, 75, "WaitingForSecret"),
        (200, ["--filter-rules", '{"jq": "("}'], {}, 1, "InvalidRepository"),
        (200, [], {"CHARTFLEET_CLIENT_CERT_FILE": "/nowhere"}, 2, "InvalidJob"),
    ],
)
def test_an_exit_code_says_whether_trying_again_may_help(
    pod: Pod, status: int, flags: list[str], environment: dict[str, str], code: int, reason: str
) -> None:
    pod.repo.status, pod.repo.index = status, index({"app": [{"version": "1.0.0"}]})
    ended = pod.sync(*flags, **environment)
    assert (ended.code, ended.summary.error_class, ended.summary.transient) == (code, reason, code == 75)


# A Pod that is deleted


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_sync_that_is_told_to_stop_says_so_and_publishes_nothing(pod: Pod, database: Database, number: int) -> None:
    gate = pod.repo.gates["index.yaml"] = Gate(at=10)
    process = pod.start("sync", NAMESPACE, "demo", pod.repo.url, "helm")
    assert gate.reached.wait(60)
    process.send_signal(number)
    ended = pod.ended(process)
    gate.open.set()
    assert (ended.code, ended.summary.error_class, ended.summary.transient) == (75, "Interrupted", True)
    assert database.rows("select state, error_class from chartfleet.sync_runs") == [("failed", "Interrupted")]
    assert database.rows("select body_sha256 from chartfleet.repositories") == [(None,)]


def test_a_sync_that_is_stopped_amid_its_publication_takes_all_of_it_back(pod: Pod, database: Database) -> None:
    pod.repo.index = index({"app": [{"version": "1.0.0"}]})
    with psycopg.connect(database.admin) as connection:
        connection.execute("lock table chartfleet.ledger in share mode")
        process = pod.start("sync", NAMESPACE, "demo", pod.repo.url, "helm")
        waiting = "select pid from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
        until("the ledger to be written", lambda: database.rows(f"{waiting} and query ilike %s", "%insert into chartfleet.ledger%"))
        process.terminate()
        ended = pod.ended(process)
    assert (ended.code, ended.summary.error_class) == (75, "Interrupted")
    assert database.rows("select id from chartfleet.charts") == []


def test_archives_that_are_cut_short_leave_the_syncs_result(pod: Pod, database: Database) -> None:
    pod.repo.index = index({"app": [{"version": "1.0.0"}]})
    pod.repo.archives = {"app-1.0.0.tgz": archive("app")}
    gate = pod.repo.gates["app-1.0.0.tgz"] = Gate(at=10)
    process = pod.start("sync", NAMESPACE, "demo", pod.repo.url, "helm")
    assert gate.reached.wait(60)
    assert summary_in(pod.log.read_text())
    process.terminate()
    ended = pod.ended(process)
    gate.open.set()
    assert (ended.code, ended.summary.job, ended.summary.result) == (0, "sync", "changed")
    assert database.rows("select job, state from chartfleet.sync_runs order by id") == [("sync", "done"), ("files", "failed")]


def test_a_job_is_told_to_stop_before_it_reaches_its_database(pod: Pod) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        process = pod.start(
            "sync", NAMESPACE, "demo", pod.repo.url, "helm", CHARTFLEET_DATABASE_URL=f"postgresql://u@127.0.0.1:{silent.getsockname()[1]}/d"
        )
        silent.settimeout(60)
        connection, _ = silent.accept()
        process.terminate()
        ended = pod.ended(process)
        connection.close()
    assert (ended.code, ended.summary.error_class, ended.summary.run) == (75, "Interrupted", None)


# What a scheduler would do, where there is none


def test_the_run_of_a_killed_pod_is_closed_by_the_next_of_its_repository(pod: Pod, database: Database) -> None:
    gate = pod.repo.gates["index.yaml"] = Gate(at=10)
    process = pod.start("sync", NAMESPACE, "demo", pod.repo.url, "helm")
    assert gate.reached.wait(60)
    process.kill()
    assert pod.ended(process).message == ""
    gate.open.set()
    until("its lock to be free", lambda: not database.rows("select 1 from pg_locks where locktype = 'advisory' and objsubid = 2"))
    pod.repo.gates.clear()
    assert [pod.run("sync", NAMESPACE, name, pod.repo.url, "helm").code for name in ("another", "demo")] == [0, 0]
    found = database.rows("select name, state, error_class from chartfleet.sync_runs where job = 'sync' order by id")
    assert found == [("demo", "failed", "WorkerLost"), ("another", "done", None), ("demo", "done", None)]


def test_runs_that_the_fleet_sends_again_are_left_to_it(pod: Pod, database: Database) -> None:
    pod.sync()
    database.rows("""insert into chartfleet.sync_runs (repository_id, namespace, name, job, cause, argv, state)
                     select repository_id, namespace, name, job, 'schedule', argv, 'running' from chartfleet.sync_runs""")
    pod.sync()
    assert database.rows("select state from chartfleet.sync_runs where cause = 'schedule'") == [("running",)]


def test_old_runs_are_forgotten_once_an_hour(pod: Pod, database: Database) -> None:
    pod.sync()
    more = """insert into chartfleet.sync_runs (repository_id, namespace, name, job, cause, argv, state, finished_at)
              select repository_id, namespace, name, job, cause, argv, state, now() from chartfleet.sync_runs, generate_series(1, 80)
              where id = 1"""
    database.rows(more)
    pod.sync()
    assert database.rows("select count(*) from chartfleet.sync_runs") == [(82,)]
    database.rows("update chartfleet.housekeeping set done_at = now() - interval '61 minutes' where task = 'runs'")
    pod.sync()
    assert database.rows("select count(*) from chartfleet.sync_runs") == [(51,)]  # and the last that read the listing
