"""Laptop mode: `chartfleet up` runs the whole of Chartfleet on this machine, from a directory of manifests to a page."""

import os
import shutil
import signal
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import msgspec

from cli import instances, sample
from cli.failures import Exit, Failure
from cli.instances import Process, Record
from cli.interrupts import Interrupted, Interrupts, listening
from cli.ports import HOST, Claims
from cli.progress import Progress
from cli.servers import Child, ServerError, answering, python, socket_directory, spawn, start_postgres, start_valkey, stop, tail
from cli.supervisor import Part, Supervisor, end_leftovers

DEFAULT_PORT = 8080
CONCURRENCY = 4  # jobs mostly wait for remotes; a few that hang must not hold up the others
CODE = Path(__file__).parents[1]  # where `python -m` finds the other processes
LARGEST_LOG = 10_000_000
READY_WITHIN = 60.0


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the command line asked for; None: choose yourself."""

    state: Path
    manifests: Path | None
    port: int | None


def run(wishes: Wishes) -> None:
    """Run until somebody asks to stop. Raises Failure."""
    state, wishes = _prepared(wishes.state), replace(wishes, manifests=_directory(wishes.manifests))
    with instances.held(state), listening() as interrupts:
        record = instances.read(state)
        if record and (ended := end_leftovers(record.children)):
            _say(f"ended what an earlier start had left: {', '.join(ended)}")
        try:
            Instance(wishes, state, interrupts).run()
        except Interrupted:
            _say("stopped")
        except ServerError as error:
            raise Failure(Exit.NOT_STARTED, str(error)) from None
        finally:
            instances.forget(state)


class Instance:
    """One running Chartfleet: its parts, its addresses and its record."""

    def __init__(self, wishes: Wishes, state: Path, interrupts: Interrupts) -> None:
        self._wishes, self._state, self._interrupts = wishes, state, interrupts
        self._claims, self._port = Claims(), wishes.port or DEFAULT_PORT
        self._sockets = socket_directory(state)
        self._record = Record(instances.process("up", os.getpid()), str(state), str(Path.cwd()))
        self._supervisor = Supervisor(state, self._children_changed, _say)
        self._urls: dict[str, str] = {}

    def run(self) -> None:
        if self._wishes.port is not None and not self._claims.take(self._wishes.port):
            raise Failure(Exit.NOT_STARTED, f"Port {self._wishes.port} is in use. Choose another one, or none: then a free one is taken.")
        try:
            self._start_all()
            self._watch()
        except Interrupted as wish:
            _say(f"{wish.signal.name}: stopping")
            raise
        finally:
            self._supervisor.stop()
            if not self._sockets.is_relative_to(self._state):
                shutil.rmtree(self._sockets, ignore_errors=True)

    def _start_all(self) -> None:
        self._start_servers()
        self._migrate()
        directory = self._wishes.manifests or self._state / "manifests"
        if not self._wishes.manifests:
            self._supervisor.start(Part("sample", self._start_sample))
        self._start("controller", "controller", "--directory", str(directory), CHARTFLEET_SOURCE=f"laptop:{self._state}")
        self._start("scheduler", "worker", "schedule")
        serve = ("worker", "serve", "--concurrency", str(CONCURRENCY))
        self._start("worker", *serve, stop_signal=signal.SIGQUIT, CHARTFLEET_SECRETS_DIRECTORY=str(directory))
        self._supervisor.start(Part("api", self._start_api))
        self._until_ready()
        _say(f"\nChartfleet runs: {self._record.url}    (Ctrl-C stops it)")
        _say(f"  manifests in {directory}: edit, add or delete one, and the catalogue follows")
        _say(f"  logs and data in {self._state}\n")

    def _watch(self) -> None:
        with Progress(lambda: self._record.url or "") as progress:
            while True:
                self._interrupts.pause(progress.rest)
                self._supervisor.look()
                progress.look()

    def _start_servers(self) -> None:
        """The servers of the environment, or embedded ones."""
        if url := os.environ.get("CHARTFLEET_DATABASE_URL"):
            self._urls = dict.fromkeys(("chartfleet", "chartfleet_writer", "chartfleet_reader"), url)
        else:
            self._supervisor.start(Part("postgres", self._start_postgres))
        if url := os.environ.get("CHARTFLEET_BROKER_URL"):
            self._urls["broker"] = answering(url)
        else:
            self._supervisor.start(Part("valkey", self._start_valkey))

    def _start_postgres(self) -> Child:
        child, url = start_postgres(self._state, self._sockets, pause=self._interrupts.pause)
        for role in ("chartfleet", "chartfleet_writer", "chartfleet_reader"):
            self._urls[role] = url.replace("//chartfleet@", f"//{role}@")
        return child

    def _start_valkey(self) -> Child:
        child, self._urls["broker"] = start_valkey(self._state, self._sockets, pause=self._interrupts.pause)
        return child

    def _migrate(self) -> None:
        child = self._spawn("migrations", "migrations", role="chartfleet")
        try:
            while child.process.poll() is None:
                self._interrupts.pause(1.0)
        finally:
            stop([child])
        if child.process.returncode != 0:
            raise ServerError(f"The database cannot be migrated:\n{tail(self._state / 'migrations.log')}")

    def _start_sample(self) -> Child:
        file = self._state / "manifests" / "sample.yaml"
        file.parent.mkdir(exist_ok=True)
        port = self._claims.take_any(*sample.ports(file))
        _replace(file, sample.manifest(port))
        return self._spawn("sample", "cli.sample", "--port", str(port))

    def _start_api(self) -> Child:
        port = self._wishes.port or self._claims.take_any(self._port)
        if port != self._port:
            _say(f"port {self._port} is in use: taking {port}")
        self._port = port
        self._record = msgspec.structs.replace(self._record, url=f"http://{HOST}:{port}")
        return self._spawn("api", "api", role="chartfleet_reader", CHARTFLEET_API_HOST=HOST, CHARTFLEET_API_PORT=str(port))

    def _start(self, name: str, module: str, *words: str, stop_signal: signal.Signals = signal.SIGTERM, **settings: str) -> None:
        self._supervisor.start(Part(name, partial(self._spawn, name, module, *words, stop_signal=stop_signal, **settings)))

    def _spawn(
        self,
        name: str,
        module: str,
        *words: str,
        role: str = "chartfleet_writer",
        stop_signal: signal.Signals = signal.SIGTERM,
        **settings: str,
    ) -> Child:
        """Start a Python process of ours with the database as `role` sees it, and the broker. SIGQUIT: a worker that waits for no job."""
        urls = {"CHARTFLEET_DATABASE_URL": self._urls[role], "CHARTFLEET_BROKER_URL": self._urls["broker"]}
        return spawn(
            name,
            python(module, *words),
            self._state / f"{name}.log",
            {**os.environ, **_unproxied(os.environ), **urls, **settings},
            stop_signal,
            directory=CODE,
        )

    def _until_ready(self) -> None:
        waited = 0.0
        while not _answers(f"{self._record.url}/readyz"):
            if waited > READY_WITHIN:
                raise ServerError(f"The API is not ready after {READY_WITHIN:g} s. The end of its log:\n{tail(self._state / 'api.log')}")
            self._interrupts.pause(0.1)
            self._supervisor.look()
            waited += 0.1

    def _children_changed(self, children: Sequence[Process]) -> None:
        self._record = msgspec.structs.replace(self._record, children=tuple(children))
        instances.write(self._record)


def _prepared(state: Path) -> Path:
    """The state directory, made if need be, its long logs set aside. Raises Failure."""
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        for log in state.glob("*.log"):
            if log.stat().st_size > LARGEST_LOG:
                log.replace(log.with_suffix(".log.old"))
    except OSError as error:
        raise Failure(Exit.USAGE, f"The state directory {state} cannot be used: {error.strerror}. Choose another --state.") from None
    return state.resolve()


def _unproxied(environment: Mapping[str, str]) -> dict[str, str]:
    """A proxy, if there is one, is not asked for this machine's own addresses, such as the sample's."""
    given = environment.get("NO_PROXY") or environment.get("no_proxy")
    return dict.fromkeys(("NO_PROXY", "no_proxy"), ",".join(filter(None, (given, HOST, "localhost"))))


def _directory(manifests: Path | None) -> Path | None:
    if manifests is not None and not manifests.is_dir():
        raise Failure(Exit.USAGE, f"There is no directory of manifests at {manifests}. examples/manifests has some to copy.")
    return manifests and manifests.resolve()


def _replace(file: Path, text: str) -> None:
    """Write a file that a controller watches: never seen half written, untouched when nothing changes."""
    if file.exists() and file.read_text() == text:
        return
    begun = file.with_name(f".{file.name}.begun")
    begun.write_text(text)
    begun.replace(file)


def _answers(url: str) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with suppress(OSError), opener.open(url, timeout=2):
        return True
    return False


def _say(text: str) -> None:
    with suppress(OSError):  # a terminal that was closed must not keep us from an orderly stop
        print(text, flush=True)
