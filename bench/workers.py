"""Who does the measured jobs: a running worker, or a process for each, as a Pod has it. Both can say what CPU they have used."""

import json
import os
import resource
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen
from typing import Any, Protocol

from bench.meters import cpu
from bench.scale import Scale
from catalog.jobs import Job, to_argv

ROOT = Path(__file__).parents[1]
Outcome = Mapping[str, Any]


class Doer(Protocol):
    """Does jobs, one at a time, on the scale."""

    def do(self, job: Job, scale: Scale) -> Outcome: ...
    def cpu(self) -> float: ...
    def settle(self) -> None:
        """Let PostgreSQL count the rows of the jobs so far."""
        ...


class Running:
    """A worker that is up: its loop, connection, client and fork server stay from job to job."""

    def __init__(self, process: Popen[str]) -> None:
        self._process = process

    def do(self, job: Job, scale: Scale) -> Outcome:
        scale.put(self._process.pid)
        return self._ask(json.dumps(to_argv(job)))

    def cpu(self) -> float:
        return cpu(self._process.pid)

    def settle(self) -> None:
        self._ask("")

    def _ask(self, line: str) -> Outcome:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


@contextmanager
def running(database: str) -> Generator[Running]:
    """A running worker on a database."""
    words = [sys.executable, "-m", "bench.job"]
    with Popen(words, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, text=True, env=environment(database), cwd=ROOT) as process:
        worker = Running(process)
        worker.settle()
        yield worker


class Fresh:
    """A process for each job: with everything that a Pod pays for, and the file work behind the sync."""

    def __init__(self, database: str) -> None:
        self._environment = environment(database)

    def do(self, job: Job, scale: Scale) -> Outcome:
        words = [sys.executable, "-m", "worker", *to_argv(job)]
        with Popen(words, stdout=PIPE, stderr=DEVNULL, env=self._environment, cwd=ROOT) as process:
            scale.put(process.pid)
            said, _ = process.communicate()
        return json.loads(said)

    def cpu(self) -> float:
        return sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])

    def settle(self) -> None: ...  # its connection counts as it ends


def environment(database: str) -> dict[str, str]:
    """Ours, with the database; modules are compiled as they are in an image."""
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**inherited, "CHARTFLEET_DATABASE_URL": database}
