"""One-shot workers as Pods have them: real processes, their exit codes, and what they leave as the termination message."""

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from catalog.report import Summary, summary_in
from cli import servers
from tests.conftest import ROOT, Database
from tests.fakes.helm_repo import HelmRepo, archive, index
from tests.fakes.listings import listing, many

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

    database: Database
    repo: HelmRepo
    log: Path

    def start(self, *argv: str, **environment: str) -> subprocess.Popen[str]:
        self.log.write_text("")
        ours = {"CHARTFLEET_DATABASE_URL": self.database.writer, "CHARTFLEET_TERMINATION_LOG": str(self.log)}
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


@pytest.fixture
def pod(database: Database, repo: HelmRepo, tmp_path: Path) -> Pod:
    return Pod(database, repo, tmp_path / "termination-log")


def hashes(database: Database) -> str:
    [(revision,)] = database.rows("select encode(body_sha256, 'hex') from chartfleet.repositories")
    return str(revision)


# The termination message


def test_a_sync_leaves_what_it_did_and_how_the_repository_stands(pod: Pod) -> None:
    pod.repo.index = index({"app": [{"version": "1.0.0"}, {"version": "0.9.0"}], "odd": [{"version": "one"}]})
    first = pod.sync()
    said = first.summary
    assert (first.code, said.job, said.repository, said.state, said.result) == (0, "sync", "default/demo", "done", "changed")
    assert (said.charts, said.versions, said.added, said.notes, len(said.first_notes)) == (1, 2, 2, 1, 1)
    assert said.first_notes[0].startswith("odd one: ")
    assert (said.revision, said.error, said.held) == (hashes(pod.database), None, None)
    assert said.started_at
    assert said.finished_at
    assert said.started_at <= said.finished_at
    assert json.loads(first.out.splitlines()[-1])["run"] == said.run


def test_an_unchanged_sync_still_says_how_the_repository_stands(pod: Pod) -> None:
    pod.repo.index = index({"app": [{"version": "1.0.0"}], "odd": [{"version": "one"}]})
    before, said = pod.sync().summary, pod.sync().summary
    assert said.result == "unchanged"
    assert (said.charts, said.versions, said.notes, said.first_notes) == (1, 1, 1, before.first_notes)
    assert (said.revision, said.added) == (before.revision, 0)


def test_after_the_archives_the_message_still_tells_of_the_sync(pod: Pod) -> None:
    pod.repo.index = index({"app": [{"version": "1.0.0"}]})
    pod.repo.archives = {"app-1.0.0.tgz": archive("app", README__md="# App")}
    said = pod.sync().summary
    assert pod.database.rows("select job, state from chartfleet.sync_runs order by id") == [("sync", "done"), ("files", "done")]
    assert (said.job, said.run) == ("sync", 1)


def test_a_held_listing_is_told_with_what_it_would_remove(pod: Pod) -> None:
    pod.repo.index = listing(many(20, 5))
    pod.sync()
    pod.repo.index = listing(many(2, 5))
    held = pod.sync()
    said = held.summary
    assert (held.code, said.error_class, said.transient, said.charts) == (1, "RemovalsHeld", False, 20)
    assert said.held
    assert (said.held.reason, said.held.removals) == ("Shrunk", 90)


def test_a_message_fits_whatever_the_notes_say(pod: Pod) -> None:
    pod.repo.index = index({"é" * 250: [{"version": "ü" * 250 + str(number)} for number in range(120)]})
    ended = pod.sync()
    assert len(ended.message.encode()) <= 4000 < len(ended.out)
    assert (ended.summary.notes, len(ended.summary.first_notes)) == (120, 3)


@pytest.mark.parametrize(
    ("argv", "environment", "code", "reason"),
    [
        (["dance"], {}, 2, "InvalidJob"),
        (["sync", NAMESPACE, "demo"], {}, 2, "InvalidJob"),
        (["delete", NAMESPACE, "demo"], {"CHARTFLEET_OPTIONS": "--option=x"}, 2, "InvalidJob"),
        (["delete", NAMESPACE, "demo"], {"CHARTFLEET_GRACE_DAYS": "few"}, 2, "InvalidJob"),
        (["delete", NAMESPACE, "demo"], {"CHARTFLEET_DATABASE_URL": ""}, 2, "InvalidJob"),
        (["delete", NAMESPACE, "demo"], {"CHARTFLEET_DATABASE_URL": "postgresql://u:canary@127.0.0.1:1/d"}, 75, "StoreUnavailable"),
        (["delete", NAMESPACE, "demo"], {"CHARTFLEET_DATABASE_URL": "postgresql://u:canary%zz@h/d"}, 2, "InvalidJob"),
    ],
)
def test_a_process_that_fails_before_its_run_says_why(
    pod: Pod, argv: list[str], environment: dict[str, str], code: int, reason: str
) -> None:
    ended = pod.run(*argv, **environment)
    assert (ended.code, ended.summary.state, ended.summary.error_class) == (code, "failed", reason)
    assert (ended.summary.error or "") in ended.err
    assert ended.summary.error
    assert "canary" not in ended.message + ended.out + ended.err


def test_what_is_newer_than_kubeapps_flags_comes_in_one_variable(pod: Pod) -> None:
    pod.repo.index = index({"app": [{"version": "1.0.0"}]})
    assert pod.sync(CHARTFLEET_OPTIONS="--option=files=none --option=incarnation=u-1").code == 0
    assert pod.database.rows("select applied_files, incarnation from chartfleet.repositories") == [("none", "u-1")]
    assert pod.repo.archive_requests() == []
