"""A Pod's job on a PostgreSQL as Kubeapps has one: over TCP, with a password, as the superuser `postgres`, without a schema of ours."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import psycopg
import pytest

from catalog.database import SCHEMA_REVISION
from cli import servers
from tests.fakes.helm_repo import HelmRepo, index, serving
from tests.fakes.relay import relayed
from tests.integration.pods import Ended, Pod

PASSWORD = "canary-p@ss word"
USERS = f"""
    create role postgres superuser login password '{PASSWORD}';
    create role plain login password '{PASSWORD}'
"""
JOBS_AT_ONCE = 20


@dataclass(frozen=True)
class Server:
    """A PostgreSQL without roles and schema of ours."""

    port: int
    admin: str
    numbers: Iterator[int]

    def new_database(self) -> str:
        name = f"assets_{next(self.numbers)}"
        self.rows("postgres", f"create database {name}")
        return name

    def rows(self, database: str, query: str) -> list[tuple[object, ...]]:
        with psycopg.connect(self.admin, dbname=database, autocommit=True) as connection:
            cursor = connection.execute(query.encode())
            return cursor.fetchall() if cursor.description else []


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with tempfile.TemporaryDirectory(prefix="cf-") as directory, ExitStack() as opened:
        state = Path(directory)
        state.chmod(0o755)
        sockets = servers.socket_directory(state)
        binaries = os.environ.get("CHARTFLEET_TEST_POSTGRES")
        child, admin = servers.start_postgres(state, sockets, Path(binaries) if binaries else None)
        opened.callback(servers.stop, [child])
        port = opened.enter_context(relayed(sockets / ".s.PGSQL.5432"))
        server = Server(port, admin, count(1))
        server.rows("postgres", USERS)
        (state / "postgres" / "pg_hba.conf").write_text("local all chartfleet trust\nlocal all all scram-sha-256\n")
        server.rows("postgres", "select pg_reload_conf()")
        yield server


@pytest.fixture
def repo() -> Iterator[HelmRepo]:
    with serving(HelmRepo(index=index({"app": [{"version": "1.0.0"}]}))) as served:
        yield served


@dataclass(frozen=True)
class Job:
    """Kubeapps' command lines on one database of the server."""

    server: Server
    database: str
    pod: Pod

    def words(self, verb: str, name: str = "demo", user: str = "postgres") -> list[str]:
        flags = [f"--database-url=127.0.0.1:{self.server.port}", f"--database-user={user}", f"--database-name={self.database}"]
        match verb:
            case "sync":
                return ["sync", *flags, "--global-repos-namespace=kubeapps", "--namespace=ns", name, self.pod.repo.url, "helm"]
            case "delete":
                return ["delete", name, "--namespace=ns", *flags]
            case _:
                return [verb, *flags]

    def run(self, verb: str, user: str = "postgres", password: str = PASSWORD) -> Ended:
        ended = self.pod.run(*self.words(verb, user=user), DB_PASSWORD=password)
        assert "canary" not in ended.out + ended.err + ended.message
        return ended

    def rows(self, query: str) -> list[tuple[object, ...]]:
        return self.server.rows(self.database, query)


@pytest.fixture
def job(server: Server, repo: HelmRepo, tmp_path: Path) -> Job:
    return Job(server, server.new_database(), Pod("", repo, tmp_path / "termination-log"))


def test_of_twenty_jobs_on_an_empty_database_one_migrates_and_all_succeed(job: Job) -> None:
    pods = [Pod("", job.pod.repo, job.pod.log.with_name(f"log-{number}")) for number in range(JOBS_AT_ONCE)]
    started = [pod.start(*job.words("sync", f"repo-{place}"), DB_PASSWORD=PASSWORD) for place, pod in enumerate(pods)]
    ended = [pod.ended(process) for pod, process in zip(pods, started, strict=True)]
    assert [each.code for each in ended] == [0] * JOBS_AT_ONCE, [each.err for each in ended if each.code]
    assert sum(each.err.count('"action": "migrate"') for each in ended) == 1
    assert job.rows("select count(*) from chartfleet.charts") == [(JOBS_AT_ONCE,)]
    assert job.rows("select version_num from chartfleet.alembic_version") == [(SCHEMA_REVISION,)]


@pytest.mark.parametrize("verb", ["sync", "delete", "invalidate-cache"])
def test_each_command_of_kubeapps_works_on_an_empty_database_and_again(job: Job, verb: str) -> None:
    assert [job.run(verb).summary.state for _ in range(2)] == ["done", "done"]
    assert job.rows("select distinct relowner::regrole::text from pg_class where relname = 'charts'") == [("chartfleet_owner",)]


def test_a_user_who_may_make_no_schema_is_told_who_may(job: Job) -> None:
    ended = job.run("sync", user="plain")
    assert (ended.code, ended.summary.error_class) == (75, "SchemaMissing")
    said = ended.summary.error or ""
    assert "permission denied" in said or "must have admin option" in said  # PostgreSQL 16 and later, 15 and before
    assert "python -m migrations" in (ended.summary.error or "")


def test_a_wrong_password_is_said_without_saying_it(job: Job) -> None:
    ended = job.run("sync", password="canary-wrong")
    assert (ended.code, ended.summary.error_class) == (75, "StoreUnavailable")
    assert "password authentication failed" in (ended.summary.error or "")


def test_an_older_schema_is_left_to_the_migrations_of_the_release(job: Job) -> None:
    job.run("sync")
    job.rows("update chartfleet.alembic_version set version_num = '0001'")
    ended = job.run("sync")
    assert (ended.code, ended.summary.error_class) == (75, "SchemaTooOld")
    assert "0001" in (ended.summary.error or "")
    assert job.rows("select version_num from chartfleet.alembic_version") == [("0001",)]


def test_a_newer_schema_still_serves_this_release(job: Job) -> None:
    job.run("sync")
    job.rows("update chartfleet.alembic_version set version_num = '9999'")
    assert job.run("sync").code == 0
