"""Real servers for the tests: one embedded PostgreSQL and Valkey a pytest process, one fresh database a test (a clone of a migrated one).

CHARTFLEET_TEST_POSTGRES=/path/to/bin runs them on another PostgreSQL. A missing part skips with a reason; with CI=true it fails.
"""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TypeVar

import psycopg
import pytest

from cli import servers

pytest_plugins = ("tests.cluster.fixtures",)

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared"
LONG = os.environ.get("CHARTFLEET_LONG") == "1"  # whole histories and many more examples, by hand


@dataclass(frozen=True)
class Database:
    """A database of one test, as the product's roles reach it."""

    name: str
    sockets: Path

    def url(self, role: str) -> str:
        return f"postgresql://{role}@/{self.name}?host={self.sockets}"

    @property
    def admin(self) -> str:
        return self.url("chartfleet")

    @property
    def writer(self) -> str:
        return self.url("chartfleet_writer")

    @property
    def reader(self) -> str:
        return self.url("chartfleet_reader")

    def rows(self, query: str, *values: object) -> list[tuple[object, ...]]:
        """What the administrator sees, past all policies."""
        with psycopg.connect(self.admin, autocommit=True) as connection:
            cursor = connection.execute(query.encode(), values)
            return cursor.fetchall() if cursor.description else []


Seen = TypeVar("Seen")


def until(what: str, probe: Callable[[], Seen], seconds: float = 60.0) -> Seen:
    """The first true answer of `probe`."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if seen := probe():
            return seen
        time.sleep(0.02)
    pytest.fail(f"{what}: not within {seconds:g} s")


def missing(part: str, remedy: str) -> None:
    """Skip for a part that this machine lacks; in CI that is a failure."""
    (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(f"{part} is missing: {remedy}")


@pytest.fixture(scope="session")
def helm() -> str:
    """The real helm: HELM=/path/to/helm, or the one on PATH."""
    found = os.environ.get("HELM") or shutil.which("helm")
    if not found:
        missing("helm", "put it on PATH or set HELM=/path/to/helm; https://helm.sh/docs/intro/install/ says where it comes from")
    return str(found)


@pytest.fixture(scope="session")
def state() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="cf-") as directory:
        Path(directory).chmod(0o755)
        yield Path(directory)


@pytest.fixture(scope="session")
def postgres(state: Path) -> Iterator[Path]:
    """The socket directory of a running PostgreSQL whose database `template` is migrated."""
    sockets = servers.socket_directory(state)
    binaries = os.environ.get("CHARTFLEET_TEST_POSTGRES")
    child, url = servers.start_postgres(state, sockets, Path(binaries) if binaries else None)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("create database template")
    migrate(url.replace("/chartfleet?", "/template?"))
    yield sockets
    servers.stop([child])


@pytest.fixture(scope="session")
def valkey(state: Path) -> Iterator[str]:
    """The URL of a running Valkey."""
    child, url = servers.start_valkey(state, servers.socket_directory(state))
    yield url
    servers.stop([child])


@pytest.fixture(scope="session")
def new_database(postgres: Path) -> Callable[[], Database]:
    numbers = count(1)

    def new() -> Database:
        database = Database(f"test_{next(numbers)}", postgres)
        with psycopg.connect(f"postgresql://chartfleet@/postgres?host={postgres}", autocommit=True) as connection:
            connection.execute(f"create database {database.name} template template".encode())
        return database

    return new


@pytest.fixture
def database(new_database: Callable[[], Database]) -> Database:
    """A fresh, migrated database."""
    return new_database()


def migrate(url: str) -> None:
    environment = {**os.environ, "CHARTFLEET_DATABASE_URL": url}
    subprocess.run(servers.python("migrations"), check=True, env=environment, cwd=ROOT, timeout=60)
