"""Controller, scheduler and worker as the product starts them, on real PostgreSQL and Valkey: the main job, and what may die on the way."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from cli import servers
from tests.conftest import ROOT, Database, until
from tests.fakes.helm_repo import HelmRepo, archive, index

LARGE = {"a": [{"version": f"1.0.{n}", "description": "x" * 300} for n in range(12_000)]}


def processes(word: str) -> dict[int, str]:
    """pid → command line of the processes whose command line has a word."""
    found: dict[int, str] = {}
    for path in Path("/proc").iterdir():
        if path.name.isdigit():
            try:
                line = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if word in line:
                found[int(path.name)] = line
    return found


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


class Fleet:
    """The processes of one test and where their output goes."""

    def __init__(self, database: Database, broker: str, path: Path) -> None:
        self.database, self.path, self.manifests = database, path, path / "manifests"
        self.manifests.mkdir()
        self.broker = redis.Redis(unix_socket_path=broker.removeprefix("redis+socket://"))
        self.broker.flushall()
        self.environment = {
            **os.environ,
            "CHARTFLEET_DATABASE_URL": database.writer,
            "CHARTFLEET_BROKER_URL": broker,
            "CHARTFLEET_SECRETS_DIRECTORY": str(self.manifests),
            "CHARTFLEET_LOG_LEVEL": "debug",
        }
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, *words: str) -> None:
        with (self.path / f"{name}.log").open("ab") as log:
            argv = servers.python(*words)
            self.running[name] = subprocess.Popen(argv, cwd=ROOT, env=self.environment, stdout=log, stderr=log, start_new_session=True)

    def start_all(self) -> None:
        self.start("controller", "controller", "--directory", str(self.manifests))
        self.start("scheduler", "worker", "schedule")
        self.start("worker", "worker", "serve", "--concurrency", "1")

    def halt(self, name: str) -> None:
        process = self.running.pop(name)
        process.terminate()
        process.wait(30)

    def stop(self) -> None:
        for process in self.running.values():
            process.terminate()
        for process in self.running.values():
            process.wait(30)
        self.broker.close()

    def write(self, url: str, more: str = "", resync: int = 0) -> None:
        text = "apiVersion: kubeapps.com/v1alpha1\nkind: AppRepository\nmetadata: {name: demo, namespace: default}\n"
        spec = f"spec:\n  type: helm\n  url: '{url}'\n  interval: 24h\n  resyncRequests: {resync}\n{more}"
        (self.manifests / "demo.yaml").write_text(text + spec)

    def count(self, query: str, *values: object) -> int:
        [(count,)] = self.database.rows(query, *values)
        assert isinstance(count, int)
        return count

    def done(self, job: str = "sync") -> int:
        return self.count("select count(*) from chartfleet.sync_runs where job = %s and state = 'done'", job)

    def failed(self) -> int:
        return self.count("select count(*) from chartfleet.sync_runs where state = 'failed'")

    def logs(self) -> str:
        return "".join(path.read_text(errors="replace") for path in sorted(self.path.glob("*.log")))


@pytest.fixture
def fleet(database: Database, valkey: str, tmp_path: Path) -> Iterator[Fleet]:
    made = Fleet(database, valkey, tmp_path)
    yield made
    made.stop()


def walk_of(fleet: Fleet) -> int:
    """The walk's pid, once it runs: below a fork server, below a pool process, below this fleet's worker."""

    def found() -> int | None:
        for pid in processes("worker.walk_server"):
            try:
                if parent(parent(parent(pid))) == fleet.running["worker"].pid:
                    return pid
            except OSError:
                continue
        return None

    return until("a walk", found) or 0


def test_the_main_job_from_a_manifest_to_rows_and_away(fleet: Fleet, repo: HelmRepo) -> None:
    repo.index, repo.archives = index({"a": [{"version": "1.0.0"}]}), {"a-1.0.0.tgz": archive("a", README__md="# a")}
    fleet.write(repo.url)
    fleet.start_all()
    until("a first sync", fleet.done)
    until("the files", lambda: fleet.done("files"))
    assert fleet.count("select count(*) from chartfleet.version_files") == 1
    repo.index = index({"a": [{"version": "1.0.0"}, {"version": "1.1.0"}]})
    fleet.write(repo.url, resync=1)
    until("a resync", lambda: fleet.done() == 2, seconds=10)
    assert fleet.count("select versions from chartfleet.repositories") == 2
    (fleet.manifests / "demo.yaml").unlink()
    until("the clean-up", lambda: fleet.done("delete"), seconds=20)
    assert fleet.count("select count(*) from chartfleet.charts") == 0


def test_the_walk_may_be_killed_inside_a_task_and_the_worker_serves_on(fleet: Fleet, repo: HelmRepo) -> None:
    repo.index = index(LARGE)
    fleet.write(repo.url)
    fleet.start_all()
    os.kill(walk_of(fleet), signal.SIGKILL)
    error = "select error_class from chartfleet.sync_runs where state = 'failed'"
    assert until("the failure", lambda: fleet.database.rows(error)) == [("LimitExceeded",)]
    fleet.write(repo.url, resync=1)
    until("a sync by the same worker", fleet.done)


def test_a_killed_pool_process_loses_no_run(fleet: Fleet, repo: HelmRepo) -> None:
    repo.index = index(LARGE)
    fleet.write(repo.url)
    fleet.start_all()
    os.kill(parent(parent(walk_of(fleet))), signal.SIGKILL)
    until("the run again, to its end", fleet.done)
    assert fleet.database.rows("select attempt > 1, versions from chartfleet.sync_runs where job = 'sync'") == [(True, 12_000)]


def test_a_flushed_broker_loses_no_run(fleet: Fleet, repo: HelmRepo) -> None:
    repo.index = index({"a": [{"version": "1.0.0"}]})
    fleet.write(repo.url)
    fleet.start("controller", "controller", "--directory", str(fleet.manifests))
    fleet.start("scheduler", "worker", "schedule")
    until("a message", lambda: fleet.count("select count(*) from chartfleet.sync_runs where state = 'sent'"))
    fleet.broker.flushall()
    fleet.database.rows("update chartfleet.sync_runs set sent_at = now() - interval '3 minutes'")
    fleet.start("worker", "worker", "serve", "--concurrency", "1")
    until("the run", fleet.done)


def test_no_secret_is_in_logs_argv_environments_messages_or_rows(fleet: Fleet, repo: HelmRepo) -> None:
    repo.index, repo.status = index({"a": [{"version": "1.0.0"}]}), 500
    secrets = """apiVersion: v1
kind: Secret
metadata: {name: s, namespace: default}
stringData:
  token: Bearer canary-header
  .dockerconfigjson: '{"auths": {"x": {"username": "u", "password": "canary-config"}}}'
"""
    (fleet.manifests / "secret.yaml").write_text(secrets)
    canaries = {"token": "canary-header", ".dockerconfigjson": "canary-config"}
    fleet.start("controller", "controller", "--directory", str(fleet.manifests))
    fleet.start("scheduler", "worker", "schedule")
    for resync, key in enumerate(canaries):
        fleet.write(f"{repo.url}/?token=canary-query", f"  auth: {{header: {{secretKeyRef: {{name: s, key: {key}}}}}}}\n", resync)
        until("a message", fleet.broker.dbsize)
        messages = b"".join(fleet.broker.dump(name) or b"" for name in fleet.broker.scan_iter())
        assert not any(canary.encode() in messages for canary in canaries.values())
        fleet.start("worker", "worker", "serve", "--concurrency", "1")
        until("a failure with the secret in use", lambda wanted=resync + 1: fleet.failed() == wanted)
        fleet.halt("worker")
    repo.status = 200
    fleet.start("worker", "worker", "serve", "--concurrency", "1")
    fleet.write(f"{repo.url}/?token=canary-query", "  auth: {header: {secretKeyRef: {name: s, key: token}}}\n", 7)
    until("a success", fleet.done)
    assert any("canary-header" in headers.get("Authorization", "") for _, headers in repo.requests), "the secret was really used"
    tables = [str(name) for (name,) in fleet.database.rows("select tablename from pg_tables where schemaname = 'chartfleet'")]
    rows = str([fleet.database.rows(f"select to_jsonb(t) from chartfleet.{table} t") for table in tables])
    everywhere = {"logs": fleet.logs(), "rows": rows, "argv and environments": "".join(told_by(p.pid) for p in fleet.running.values())}
    found = [(place, canary) for place, text in everywhere.items() for canary in canaries.values() if canary in text]
    assert found == []
    assert "canary-query" not in fleet.logs()
    assert "canary-query" not in str(fleet.database.rows("select error, notes from chartfleet.sync_runs"))


def told_by(pid: int) -> str:
    """Command line and environment of a process and its children."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    own = b"".join(Path(f"/proc/{pid}/{name}").read_bytes() for name in ("cmdline", "environ")).decode(errors="replace")
    return own + "".join(told_by(int(child)) for child in children)
