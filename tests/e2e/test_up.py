"""`chartfleet up` as a user has it: whole programs, found running and found gone."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cli import instances, sample
from cli.client import Client
from cli.failures import Exit, Failure
from cli.ports import Claims
from cli.up import DEFAULT_PORT
from tests.conftest import until

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "cli"]


@dataclass(frozen=True)
class Up:
    """A running `chartfleet up` and what it has said so far."""

    process: subprocess.Popen[bytes]
    state: Path
    log: Path

    @property
    def record(self) -> instances.Record:
        record = instances.read(self.state)
        assert record
        return record

    def repositories(self) -> Mapping[str, Mapping[str, Any]]:
        """Repositories by name; none while the API is not there."""
        record = instances.read(self.state)
        try:
            return {item["name"]: item for item in Client(record.url).items("repositories")} if record and record.url else {}
        except Failure:
            return {}

    def family(self) -> set[instances.Process]:
        """The process and all that descend from it."""
        parents = {int(stat.parent.name): _parent(stat) for stat in Path("/proc").glob("[0-9]*/stat")}
        found = {self.process.pid}
        while more := {pid for pid, parent in parents.items() if parent in found} - found:
            found |= more
        return {instances.process(str(pid), pid) for pid in found}


def _parent(stat: Path) -> int:
    try:
        return int(stat.read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    given = {name: value for name, value in os.environ.items() if not name.startswith("CHARTFLEET_")}
    return {**given, "XDG_STATE_HOME": str(tmp_path / "home")}


@pytest.fixture
def start(tmp_path: Path, environment: dict[str, str]) -> Iterator[Callable[..., Up]]:
    """Starts `up` on a state directory of the test; what still runs at its end is stopped."""
    started: list[Up] = []

    def up(*words: str) -> Up:
        log = tmp_path / f"up-{len(started)}.log"
        argv = [*COMMAND, "up", "--state", str(tmp_path / "state"), *words]
        with log.open("wb") as output:
            process = subprocess.Popen(argv, cwd=ROOT, env=environment, stdout=output, stderr=output, start_new_session=True)
        started.append(Up(process, tmp_path / "state", log))
        return started[-1]

    yield up
    for one in started:
        if one.process.poll() is None:
            one.process.terminate()
            one.process.wait(60)


@contextmanager
def sample_server() -> Iterator[int]:
    """The sample repository at a port of its own."""
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", "cli.sample", "--port", str(port)], cwd=ROOT, stderr=subprocess.DEVNULL)
    try:
        yield port
    finally:
        process.terminate()
        process.wait()


def free_port() -> int:
    with closing(Claims()) as claims:
        return claims.take_any()


def run(environment: Mapping[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *words], check=False, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)


def ready(up: Up, *names: str) -> Mapping[str, Mapping[str, Any]]:
    def all_ready() -> Mapping[str, Mapping[str, Any]] | None:
        assert up.process.poll() is None, up.log.read_text()
        found = up.repositories()
        return found if set(found) == set(names) and all(item["ready"] for item in found.values()) else None

    return until(f"{names} ready", all_ready)


def assert_gone(family: set[instances.Process]) -> None:
    until("all processes gone", lambda: not [process for process in family if process.alive], 30)


def test_up_alone_shows_the_bundled_sample_and_ctrl_c_leaves_nothing(start: Callable[..., Up], environment: dict[str, str]) -> None:
    up = start("--port", str(free_port()))
    found = ready(up, "sample")["sample"]
    assert (found["charts"], found["versions"]) == (4, 6)

    search = run(environment, "search", "static", "-o", "json")  # finds the instance by itself
    assert [item["name"] for item in json.loads(search.stdout)] == ["static-site"]
    until("the archives are read", lambda: up.repositories()["sample"]["files_pending"] == 0)
    assert run(environment, "show", "sample/static-site", "readme").stdout.startswith("# static-site\n")
    waited = run(environment, "repo", "resync", "sample", "--wait")
    assert (waited.returncode, "unchanged" in waited.stdout) == (Exit.OK, True), waited.stderr

    second = run(environment, "up", "--state", str(up.state))
    assert second.returncode == Exit.RUNNING
    assert f"pid {up.process.pid}, {up.record.url}" in second.stderr

    family = up.family()
    assert len(family) > 7
    os.killpg(up.process.pid, signal.SIGINT)
    assert up.process.wait(60) == Exit.OK, up.log.read_text()
    assert_gone(family)
    assert "default/sample: 4 charts, 6 versions" in up.log.read_text()
    assert run(environment, "search", "static").returncode == Exit.UNREACHABLE


def test_manifests_are_followed_and_a_busy_default_port_is_left_alone(
    start: Callable[..., Up], environment: dict[str, str], tmp_path: Path
) -> None:
    manifests = tmp_path / "my manifests"
    manifests.mkdir()
    with sample_server() as port, socket.socket() as busy:
        busy.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with suppress(OSError):  # somebody else's is as good
            busy.bind(("127.0.0.1", DEFAULT_PORT))
            busy.listen()
        one, two = manifests / "one.yaml", manifests / "two.yaml"
        one.write_text(sample.manifest(port).replace("name: sample", "name: one"))
        two.write_text(sample.manifest(port).replace("name: sample", "name: two"))
        bad = manifests / "bad.yaml"
        bad.write_text("apiVersion: kubeapps.com/v1alpha1\nkind: AppRepository\nmetadata: {name: bad}\nspec: [\n")
        up = start("--manifests", str(manifests))
        before = ready(up, "one", "two")
        assert f"port {DEFAULT_PORT} is in use: taking " in up.log.read_text()
        until("the problem is told", lambda: "bad.yaml:" in up.log.read_text())

        one.write_text(f"{one.read_text()}  resyncRequests: 1\n")
        until("one synced again", lambda: up.repositories()["one"]["last_success"] != before["one"]["last_success"])
        assert up.repositories()["two"]["last_success"] == before["two"]["last_success"]

        bad.unlink()  # while it cannot be read, nothing is deleted
        two.unlink()
        until("two removed", lambda: set(up.repositories()) == {"one"})
        until("its removal told", lambda: "default/two: removed" in up.log.read_text())
        assert re.search(r"bad\.yaml:\d+: .* \(solved\)$", up.log.read_text(), re.MULTILINE)

        api = next(child for child in up.record.children if child.name == "api")
        os.kill(api.pid, signal.SIGKILL)
        until("the API is back", lambda: not api.alive and up.repositories())
        assert "api was ended by signal 9; starting it again" in up.log.read_text()

        family = up.family()
        up.process.send_signal(signal.SIGTERM)
        assert up.process.wait(60) == Exit.OK
        assert_gone(family)


def test_what_a_killed_up_leaves_ends_and_the_next_start_works(start: Callable[..., Up]) -> None:
    port = str(free_port())
    up = start("--port", port)
    ready(up, "sample")
    family = up.family()
    up.process.kill()
    up.process.wait()
    again = start("--port", port)
    assert ready(again, "sample")["sample"]["versions"] == 6
    assert_gone(family)
    until("the address said", lambda: f"Chartfleet runs: http://127.0.0.1:{port} " in again.log.read_text())


def test_a_port_that_was_asked_for_and_is_busy_is_an_error(environment: dict[str, str], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        refused = run(environment, "up", "--state", str(tmp_path / "state"), "--port", str(port))
    assert (refused.returncode, f"Port {port} is in use" in refused.stderr) == (Exit.NOT_STARTED, True)


def test_a_directory_of_manifests_that_is_not_there_is_an_error(environment: dict[str, str], tmp_path: Path) -> None:
    refused = run(environment, "up", "--state", str(tmp_path / "state"), "--manifests", str(tmp_path / "absent"))
    assert (refused.returncode, "There is no directory of manifests at" in refused.stderr) == (Exit.USAGE, True)
