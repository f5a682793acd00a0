"""The Kubernetes controller on a real API server: 500 repositories at once, a restart, an outage, and how soon a change is answered.

No Pod runs here (bench/pod.py has one): syncs are Jobs that nobody takes. Requests are counted by the API server's audit log.
"""

import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from subprocess import Popen
from typing import Any

from bench.figures import Figure, Measured
from bench.ground import Ground, free_port, until
from bench.meters import cpu, memory
from bench.workers import ROOT
from tests.cluster import build
from tests.cluster.cluster import Cluster
from tests.cluster.fixtures import apply_crds
from tests.cluster.kube import Document, Kube, writes
from tests.cluster.sharing import end
from tests.integration.controlled import documented_rules

HOME = "chartfleet"
COUNT = 500
ALL_AT_ONCE, RESTART, TWO, OUTAGE, ANSWER, IDLE = (
    "500 AppRepositories at once", "restart with 500", "two controllers", "API server away for 12 s", "a change", "idle, 500 repositories"
)  # fmt: skip
NO_HERD = "--max-concurrent-first-syncs=1000"  # their Jobs never end here


@dataclass
class Stage:
    """A cluster and the controllers in front of it, each with exactly the documented rights."""

    cluster: Cluster
    kubeconfig: Path
    processes: list[Popen[bytes]] = field(default_factory=list)

    @property
    def kube(self) -> Kube:
        return self.cluster.kube

    def start(self, *flags: str) -> int:
        """The process number of another controller, once it has read everything."""
        port = free_port()
        words = [sys.executable, "-m", "controller", "--kubernetes", f"--kubeconfig={self.kubeconfig}", f"--namespace={HOME}"]
        with (self.cluster.directory / "controller.log").open("ab") as log:
            self.processes.append(Popen([*words, f"--health-port={port}", *flags], stdout=log, stderr=log, cwd=ROOT))
        until(lambda: urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz").close())
        return self.processes[-1].pid

    def stop(self) -> None:
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.wait()
        self.processes.clear()

    def create(self, names: Iterable[str], **spec: Any) -> None:
        with ThreadPoolExecutor(8) as hands:
            list(hands.map(self.kube.create, [repository(name, **spec) for name in names]))

    def bump(self, name: str, number: int) -> None:
        self.kube.patch("apprepositories", name, HOME, {"spec": {"resyncRequests": number}})

    def count(self, kind: str) -> int:
        """How many there are, without reading them."""
        page = self.kube.request("GET", f"{self.kube.path(kind, HOME)}?limit=1")
        return len(page["items"]) + page["metadata"].get("remainingItemCount", 0)

    def jobs(self, name: str = "") -> list[Document]:
        return self.kube.all("jobs", HOME, f"apprepositories.kubeapps.com/repo-name={name}" if name else "")

    def requests(self, since: str) -> list[Document]:
        """The controllers' own."""
        asked = self.kube.requests(user=f"system:serviceaccount:{HOME}:controller")
        return [event for event in asked if event["requestReceivedTimestamp"] >= since and "objectRef" in event]

    def quiet(self, seconds: float = 4.0) -> None:
        """Wait until nothing of the repositories, CronJobs and Jobs has changed for so long."""
        state, since = None, 0.0
        while state is None or time.monotonic() < since + seconds:
            seen = [self.kube.request("GET", f"{self.kube.path(kind, HOME)}")["items"] for kind in ("apprepositories", "cronjobs", "jobs")]
            versions = [thing["metadata"]["resourceVersion"] for things in seen for thing in things]
            if versions != state:
                state, since = versions, time.monotonic()
            time.sleep(0.5)


def repository(name: str, **spec: Any) -> Document:
    given = {"type": "helm", "url": f"https://charts.example/{name}", "interval": "@yearly", **spec}  # no tick comes between
    metadata = {"name": name, "namespace": HOME}
    return {"apiVersion": "kubeapps.com/v1alpha1", "kind": "AppRepository", "metadata": metadata, "spec": given}


def now() -> str:
    """As the audit log writes times."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def seconds_until(probe: Callable[[], object], limit: float = 120.0, pause: float = 0.005) -> float:
    """Until `probe` is true; infinity when it is not within the limit."""
    begun = time.monotonic()
    while not probe():
        if time.monotonic() - begun > limit:
            return float("inf")
        time.sleep(pause)
    return time.monotonic() - begun


@contextmanager
def stage(ground: Ground, *, with_node: bool = False) -> Generator[Stage]:
    cluster = Cluster(ground.directory / "cluster", with_node)
    staged = None
    try:
        cluster.start()
        apply_crds(cluster.kube)
        cluster.kube.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": HOME}})
        rules = documented_rules("jobRules"), documented_rules("repositoryRules")
        staged = Stage(cluster, cluster.kube.new_account(HOME, "controller", *rules, ground.directory))
        yield staged
    finally:
        if staged:
            staged.stop()
        end(cluster)


def controller(ground: Ground, count: int = COUNT, still: float = 60.0, away: float = 12.0) -> Measured:
    """`count` repositories, at least 40; seconds of idling and of the outage. Without the tests' Kubernetes nothing is measured."""
    if not build.place().exists():
        print(f"the tests' Kubernetes is missing: {build.REMEDY}")
        return Measured([])
    with stage(ground) as staged:
        parts = (
            at_once(staged, count),
            answers(staged, count),
            idle(staged, still),
            restart(staged),
            two(staged),
            outage(staged, count, away),
        )
        return Measured([figure for figures in parts for figure in figures])


def at_once(stage: Stage, count: int) -> list[Figure]:
    pid, since = stage.start(), now()
    used, begun = cpu(pid), time.monotonic()
    stage.create(f"r{number}" for number in range(count))
    seconds_until(lambda: stage.count("cronjobs") >= count, pause=0.1)
    seconds, peak = time.monotonic() - begun, memory(pid)
    stage.quiet()
    used, asked, started = cpu(pid) - used, stage.requests(since), stage.count("jobs")
    return [
        Figure(ALL_AT_ONCE, "until all CronJobs are there", seconds, 20, "s", kubeapps="198 s"),
        Figure(ALL_AT_ONCE, "writes a repository", len(writes(asked)) / count, 6, "×", told(writes(asked)), "3.5 requests"),
        Figure(ALL_AT_ONCE, "requests", len(asked), None, kubeapps="1,750"),
        Figure(ALL_AT_ONCE, "first syncs started at once", started, 10, kubeapps="500"),
        Figure(ALL_AT_ONCE, "CPU", used, None, "s", kubeapps="2.7 s"),
        Figure(ALL_AT_ONCE, "memory right after", peak, None, "MiB", kubeapps="58 MiB"),
    ]


def answers(stage: Stage, count: int, times: int = 20) -> list[Figure]:
    """One repository after the other is edited, and a Secret rotated."""
    let_on(stage, count)
    edited = sorted(edit(stage, f"r{number}") for number in range(times))
    return [
        Figure(ANSWER, "resource edited → its Job", edited[round(0.95 * times) - 1], 1, "s", f"p50 {median(edited):.3f}"),
        Figure(ANSWER, "Secret rotated → its Job", rotate(stage), 2, "s", kubeapps="never"),
    ]


def let_on(stage: Stage, count: int) -> None:
    """All first syncs are started, and deleted when nobody but their resources knows of them."""
    stage.stop()
    stage.cluster.controller_manager.stop()  # which would make a Pod for each, and take minutes to delete them
    stage.start(NO_HERD)
    seconds_until(lambda: stage.count("jobs") >= count, pause=0.5)
    stage.quiet()
    stage.kube.request("DELETE", f"{stage.kube.path('jobs', HOME)}?propagationPolicy=Background")
    stage.cluster.controller_manager.start()
    seconds_until(lambda: stage.count("jobs") == stage.count("pods") == 0, pause=0.5)
    stage.quiet()


def edit(stage: Stage, name: str) -> float:
    stage.bump(name, 1)
    return seconds_until(lambda: stage.jobs(name))


def rotate(stage: Stage) -> float:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "login", "namespace": HOME}}
    stage.kube.apply({**secret, "stringData": {"header": "Bearer one"}})
    stage.create(["with-login"], auth={"header": {"secretKeyRef": {"name": "login", "key": "header"}}})
    seconds_until(lambda: stage.jobs("with-login"))
    stage.quiet()
    stage.kube.apply({**secret, "stringData": {"header": "Bearer two"}})
    return seconds_until(lambda: len(stage.jobs("with-login")) == 2)


def idle(stage: Stage, seconds: float) -> list[Figure]:
    time.sleep(seconds)  # until it was told of each Job, once, that it does not start: there is no node
    stage.quiet()
    [pid], since = [process.pid for process in stage.processes], now()
    used = cpu(pid)
    time.sleep(seconds)
    used, asked = cpu(pid) - used, stage.requests(since)
    return [
        Figure(IDLE, "writes in a minute", len(writes(asked)), 0, said=told(asked), kubeapps="0 requests"),
        Figure(IDLE, "CPU of a core, per cent", 100 * used / seconds, 1, said=f"{used * 1000:.0f} ms in a minute"),
        Figure(IDLE, "memory", memory(pid), 120e6 / 2**20, "MiB", kubeapps="58 MiB"),
    ]


def restart(stage: Stage) -> list[Figure]:
    stage.stop()
    before, since, begun = {job["metadata"]["uid"] for job in stage.jobs()}, now(), time.monotonic()
    pid = stage.start(NO_HERD)
    seconds = time.monotonic() - begun
    stage.quiet()
    asked = stage.requests(since)
    started = {job["metadata"]["uid"] for job in stage.jobs()} - before
    return [
        Figure(RESTART, "Jobs started", len(started), 0, kubeapps="500"),
        Figure(RESTART, "writes", len(writes(asked)), 0, said=told(writes(asked))),
        Figure(RESTART, "reads", len(asked) - len(writes(asked)), 30, kubeapps="1,254 requests"),
        Figure(RESTART, "until ready", seconds, None, "s"),
        Figure(RESTART, "CPU", cpu(pid), None, "s"),
        Figure(RESTART, "memory right after", memory(pid), None, "MiB"),
    ]


def two(stage: Stage, edits: int = 30) -> list[Figure]:
    stage.start(NO_HERD)
    before, since = {job["metadata"]["uid"] for job in stage.jobs()}, now()
    for number in range(edits):
        stage.bump(f"r{number}", 2)
    stage.quiet()
    made = [job for job in stage.jobs() if job["metadata"]["uid"] not in before]
    asked = writes(stage.requests(since))
    return [
        Figure(TWO, f"Jobs beyond one for each of {edits} edits", len(made) - edits, 0, kubeapps="every Job doubled"),
        Figure(TWO, "writes an edit", len(asked) / edits, None, "×", told(asked)),
    ]


def outage(stage: Stage, count: int, away: float, creations: int = 60, deletions: int = 10) -> list[Figure]:
    stage.stop()
    stage.start(NO_HERD)
    stage.quiet()
    deleted, created = [f"r{count - 1 - number}" for number in range(deletions)], [f"late{number}" for number in range(creations)]
    for name in deleted:
        stage.kube.delete("apprepositories", name, HOME)
    stage.create(created)
    stage.cluster.api_server.kill()
    time.sleep(away)
    stage.cluster.api_server.start()
    seconds = seconds_until(lambda: not without_job(stage, [*deleted, *created]), 60, 0.2)
    lacking = len(without_job(stage, [*deleted, *created]))
    return [
        Figure(OUTAGE, f"of {creations} new and {deletions} deleted without a Job", lacking, 0, kubeapps="43 of 60"),
        Figure(OUTAGE, "after its return, until each has its Job", seconds, 30, "s"),
    ]


def without_job(stage: Stage, names: Sequence[str]) -> set[str]:
    return set(names) - {job["metadata"]["labels"]["apprepositories.kubeapps.com/repo-name"] for job in stage.jobs()}


def told(asked: Sequence[Document]) -> str:
    """Requests by verb and resource."""
    reference = [(event["verb"], event["objectRef"]) for event in asked]
    counts = Counter(f"{verb} {'/'.join(filter(None, (at['resource'], at.get('subresource'))))}" for verb, at in reference)
    return ", ".join(f"{count:,} {what}" for what, count in counts.most_common())
