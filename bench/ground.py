"""What a measurement stands on: a PostgreSQL with our schema, servers of repositories, and the meters around a job."""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import psycopg

from bench.meters import children, clock, reaped
from bench.scale import Scale
from bench.workers import ROOT, Doer, Outcome
from catalog.jobs import Job
from cli import servers

SHARED = ROOT.parent / "shared"
DATA, TOOLS = SHARED / "data", SHARED / "tools"
RECORDS = ("sync_runs", "schedules")  # what jobs are, not what they find
ROWS = """
    select relname, n_tup_ins + n_tup_upd + n_tup_del from pg_stat_user_tables where schemaname = 'chartfleet' and relname <> all(%s)
"""
EMPTY = b"apiVersion: v1\nentries: {}\n"


@dataclass(frozen=True)
class Cost:
    """What jobs took: seconds, of which `cpu` is our processes' and `postgres` PostgreSQL's; MiB; bytes; rows written by table."""

    wall: float
    cpu: float
    postgres: float
    memory: float
    wal: int
    rows: Counter[str]
    outcomes: Sequence[Outcome]

    @property
    def total(self) -> float:
        return self.cpu + self.postgres


class BenchFailed(Exception):
    """A job ended otherwise than it must, so its cost means nothing."""


class Server:
    """A process that serves a repository on 127.0.0.1, and its counters."""

    def __init__(self, url: str) -> None:
        self.url = url

    def use(self, index: Path) -> None:
        self._control("POST", f"index?{index}")

    def turn(self, revision: int) -> None:
        """To a revision of a history, from 1."""
        self._control("POST", f"rev/{revision}")

    def reset(self) -> None:
        self._control("POST", "reset")

    def status(self) -> dict[str, Any]:
        return self._control("GET", "status")

    def _control(self, method: str, what: str) -> dict[str, Any]:
        with urllib.request.urlopen(urllib.request.Request(f"{self.url}/_ctl/{what}", method=method)) as answer:
            return json.loads(answer.read())


class Ground:
    """PostgreSQL's meters, read over a connection of our own, which is left out of them; `directory` is for files."""

    def __init__(self, directory: Path, url: str, postmaster: int) -> None:
        self.directory, self.postmaster, self._template = directory, postmaster, url
        self._measured = url.replace("@/chartfleet?", "@/measured?")
        self.database = self._measured.replace("//chartfleet@", "//chartfleet_writer@")
        self._admin = self._created()

    def anew(self) -> None:
        """An empty catalogue, and a planner that knows of none before it. No worker may be connected."""
        self._admin.close()
        self._admin = self._created()

    def measure(self, doer: Doer, *jobs: Job) -> Cost:
        """Do the jobs after a CHECKPOINT, so that their WAL holds a full image of each page they touch first. Raises BenchFailed."""
        self.query("checkpoint")
        rows, wal = self._rows(doer), self._wal()
        with Scale() as scale:
            cpu, postgres, start = doer.cpu(), self._postgres(), time.monotonic()
            outcomes = [succeeded(doer.do(job, scale)) for job in jobs]
            wall, cpu, postgres = time.monotonic() - start, doer.cpu() - cpu, self._postgres() - postgres
        wal = self._wal() - wal
        return Cost(wall, cpu, postgres, scale.peak, wal, self._rows(doer) - rows, outcomes)

    def query(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        cursor = self._admin.execute(statement.encode(), values or None)
        return cursor.fetchall() if cursor.description else []

    def settle(self) -> None:
        """What autovacuum does within a minute of a large sync, done now, so that it falls into no later measurement."""
        self.query("vacuum analyze")

    def close(self) -> None:
        self._admin.close()

    def _created(self) -> psycopg.Connection:
        with psycopg.connect(self._template.replace("@/chartfleet?", "@/postgres?"), autocommit=True) as connection:
            connection.execute("drop database if exists measured")
            connection.execute("create database measured template chartfleet")
        return psycopg.connect(self._measured, autocommit=True)

    def _wal(self) -> int:
        [(position,)] = self.query("select pg_current_wal_insert_lsn() - '0/0'")
        return int(position)

    def _rows(self, doer: Doer) -> Counter[str]:
        """Rows of the catalogue that were inserted, updated and deleted so far, by table."""
        doer.settle()
        return Counter(dict(self.query(ROWS, list(RECORDS))))

    def _postgres(self) -> float:
        """Seconds of CPU of PostgreSQL's processes, those that ended included, without our own backend's."""
        ours = self._admin.info.backend_pid
        living = [self.postmaster, *(pid for pid in children(self.postmaster) if pid != ours)]
        return sum(map(clock, living)) + reaped(self.postmaster)


def succeeded(outcome: Outcome) -> Outcome:
    if outcome["state"] != "done" and outcome.get("error_class") != "RemovalsHeld":
        raise BenchFailed(json.dumps(outcome))
    return outcome


def mean(costs: Sequence[Cost]) -> Cost:
    """Of jobs of one kind: the mean of times and WAL, the most memory and rows of any."""
    wall, cpu, postgres, wal = (fmean(getattr(cost, name) for cost in costs) for name in ("wall", "cpu", "postgres", "wal"))
    largest = max(costs, key=lambda cost: cost.rows.total())
    return replace(largest, wall=wall, cpu=cpu, postgres=postgres, wal=round(wal), memory=max(cost.memory for cost in costs))


@contextmanager
def ground() -> Generator[Ground]:
    """A database and a directory that are gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="chartfleet-bench-") as name:
        directory = Path(name)
        directory.chmod(0o755)  # PostgreSQL may have to run as another user
        sockets = servers.socket_directory(directory)
        postgres, url = servers.start_postgres(directory, sockets)
        try:
            subprocess.run(servers.python("migrations"), env={**os.environ, "CHARTFLEET_DATABASE_URL": url}, cwd=ROOT, check=True)
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute("vacuum")  # or the first sync's WAL holds system tables
            standing = Ground(directory, url, postgres.process.pid)
            yield standing
            standing.close()
        finally:
            servers.stop([postgres])
            shutil.rmtree(sockets, ignore_errors=True)


@contextmanager
def serving(ground: Ground, *words: str) -> Generator[Server]:
    """The quick server: one index, from `use` on, and one archive for every name. `words`: further flags of its own."""
    empty = ground.directory / "empty.yaml"
    empty.write_bytes(EMPTY)
    archive = DATA / "odd-archives/nginx-5.1.1-apiVersionV2.tgz"
    with _server(ground, [str(TOOLS / "bench/server.py"), "--index", str(empty), "--archive", str(archive), *words]) as server:
        yield server


@contextmanager
def serving_directory(ground: Ground, directory: Path, *words: str) -> Generator[Server]:
    """The server of a real repository's files, with their addresses rewritten to its own."""
    with _server(ground, [str(TOOLS / "serve_repo.py"), str(directory), "--rewrite", *words]) as server:
        yield server


@contextmanager
def _server(ground: Ground, words: list[str]) -> Generator[Server]:
    port = free_port()
    child = servers.spawn("server", [sys.executable, *words, "--port", str(port)], ground.directory / "server.log")
    server = Server(f"http://127.0.0.1:{port}")
    try:
        until(server.status)
        yield server
    finally:
        servers.stop([child])


def free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return bound.getsockname()[1]


def until(probe: Callable[[], object], seconds: float = 30.0) -> None:
    """Wait until `probe` raises nothing. Raises what it raises at the end."""
    end = time.monotonic() + seconds
    while True:
        try:
            probe()
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)
        else:
            return
