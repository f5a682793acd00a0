"""One-shot workers as Pods have them: a real process a job, its exit code, and what it leaves as the termination message."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from catalog.report import Summary, summary_in
from cli import servers
from tests.conftest import ROOT
from tests.fakes.helm_repo import HelmRepo

NAMESPACE = "--namespace=default"


@dataclass(frozen=True)
class Ended:
    """A process that has ended; `summary` is its termination message, if it is one."""

    code: int
    out: str
    err: str
    message: str

    @property
    def summary(self) -> Summary:
        summary = summary_in(self.message)
        assert summary, self.message or self.err
        return summary


@dataclass(frozen=True)
class Pod:
    """A container that is started anew for each job."""

    url: str
    repo: HelmRepo
    log: Path

    def start(self, *argv: str, **environment: str) -> subprocess.Popen[str]:
        self.log.write_text("")
        ours = {"CHARTFLEET_DATABASE_URL": self.url, "CHARTFLEET_TERMINATION_LOG": str(self.log)}
        variables = {name: value for name, value in {**os.environ, **ours, **environment}.items() if value}
        words = servers.python("worker", *argv)
        return subprocess.Popen(words, cwd=ROOT, env=variables, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def ended(self, process: subprocess.Popen[str]) -> Ended:
        out, err = process.communicate(timeout=60)
        return Ended(process.returncode, out, err, self.log.read_text())

    def run(self, *argv: str, **environment: str) -> Ended:
        return self.ended(self.start(*argv, **environment))

    def sync(self, *flags: str, **environment: str) -> Ended:
        return self.run("sync", NAMESPACE, "demo", self.repo.url, "helm", *flags, **environment)
