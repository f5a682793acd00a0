"""The controller as a process, with exactly the documented rights, on a real API server; the test is its users and its kubelet."""

import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import yaml

from catalog.report import Summary
from cli import servers
from tests.cluster.fixtures import new_namespace
from tests.cluster.kube import Document, Kube
from tests.conftest import ROOT, until

FINGERPRINT, CAUSE, ATTEMPT = "chartfleet.dev/fingerprint", "chartfleet.dev/cause", "chartfleet.dev/attempt"
REPOSITORY = "chartfleet.dev/repository"
NUMBERS = count(1)
# Kubeapps' own account: its chart's Role and ClusterRole.
KUBEAPPS_ROLE = [
    {"apiGroups": [""], "resources": ["events"], "verbs": ["create", "patch"]},
    {"apiGroups": ["batch"], "resources": ["cronjobs"], "verbs": ["create", "get", "list", "update", "watch", "delete"]},
    {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["create"]},
]
KUBEAPPS_CLUSTER_ROLE = [
    {
        "apiGroups": ["kubeapps.com"],
        "resources": ["apprepositories", "apprepositories/finalizers"],
        "verbs": ["get", "list", "watch", "create", "update", "patch"],
    }
]
ENDED: Document = {"status": {"conditions": [{"type": "Complete", "status": "True"}]}}  # all that is known of a Job that is gone
DONE = Summary("sync", "", "done", result="changed", charts=21, versions=1449, notes=2, revision="a1b2")


def documented_rules(block: str) -> list[Document]:
    """The rights of a named block of the chart's rbac.yaml."""
    text = (ROOT / "charts" / "chartfleet" / "templates" / "rbac.yaml").read_text()
    found = re.search(rf'define "chartfleet\.{block}" -}}}}\n(.*?){{{{- (?:end|if)', text, re.DOTALL)
    assert found, f"rbac.yaml has no block {block}"
    return yaml.safe_load(found[1])


@dataclass
class Controlled:
    """A cluster, the controller's own namespace `home`, and one, `away`, that has repositories only."""

    kube: Kube
    home: str
    away: str
    directory: Path
    kubeconfig: Path
    flags: tuple[str, ...] = ()
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    # The process ------------------------------------------------------------------------------------------------------

    @property
    def log(self) -> Path:
        return self.directory / "controller.log"

    @property
    def user(self) -> str:
        return f"system:serviceaccount:{self.home}:controller"

    def start(self, *flags: str, kubeconfig: Path | None = None, drop_in: bool = False) -> subprocess.Popen[bytes]:
        """Another controller; `stop` ends all of them."""
        argv = [*servers.python("controller"), "--drop-in" if drop_in else "--kubernetes", f"--kubeconfig={kubeconfig or self.kubeconfig}"]
        argv += [f"--namespace={self.home}", f"--watch-namespaces={self.home},{self.away}", "--health-port=0", *self.flags, *flags]
        with self.log.open("ab") as log:
            process = subprocess.Popen(argv, stdout=log, stderr=log, cwd=ROOT, env={**os.environ, "PYTHONUNBUFFERED": "1"})
        self.processes.append(process)
        return process

    def start_everywhere(self) -> subprocess.Popen[bytes]:
        """One whose Jobs run beside their repositories; the account gets its rights in `away` too."""
        rbac = {"apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": "controller-jobs", "namespace": self.away}}
        self.kube.apply({**rbac, "kind": "Role", "rules": documented_rules("jobRules")})
        subject = {"kind": "ServiceAccount", "name": "controller", "namespace": self.home}
        reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "controller-jobs"}
        self.kube.apply({**rbac, "kind": "RoleBinding", "roleRef": reference, "subjects": [subject]})
        return self.start("--job-namespace=repository")

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        for process in self.processes:
            process.send_signal(how)
        for process in self.processes:
            process.wait(30)
        self.processes.clear()

    def logged(self, words: str) -> list[str]:
        return [line for line in self.log.read_text().splitlines() if words in line]

    # Resources --------------------------------------------------------------------------------------------------------

    def name(self) -> str:
        """One that no other test has."""
        return f"repo{next(NUMBERS)}"

    def repository(self, name: str, namespace: str = "", annotations: Mapping[str, str] | None = None, **spec: Any) -> Document:
        """The document of a repository."""
        return {
            "apiVersion": "kubeapps.com/v1alpha1",
            "kind": "AppRepository",
            "metadata": {"name": name, "namespace": namespace or self.home, **({"annotations": dict(annotations)} if annotations else {})},
            "spec": {"type": "helm", "url": f"https://charts.example.com/{name}", **spec},
        }

    def apply(self, name: str, namespace: str = "", annotations: Mapping[str, str] | None = None, **spec: Any) -> Document:
        return self.kube.apply(self.repository(name, namespace, annotations, **spec))[0]

    def secret(self, name: str, namespace: str = "", kind: str = "Secret", **texts: str) -> None:
        field = "stringData" if kind == "Secret" else "data"
        metadata = {"name": name, "namespace": namespace or self.home}
        self.kube.apply({"apiVersion": "v1", "kind": kind, "metadata": metadata, field: texts})

    def get(self, name: str, namespace: str = "") -> Document:
        return self.kube.get("apprepositories", name, namespace or self.home)

    def gone(self, name: str, namespace: str = "") -> bool:
        return self.kube.find("apprepositories", name, namespace or self.home) is None

    def status(self, name: str, namespace: str = "") -> Document:
        return self.get(name, namespace).get("status") or {}

    def condition(self, name: str, kind: str = "Ready", namespace: str = "") -> Document:
        found = self.status(name, namespace).get("conditions") or ()
        return next((each for each in found if each["type"] == kind), {})

    def said(self, name: str, reason: str, kind: str = "Ready", namespace: str = "") -> Document:
        """The condition, once it has this reason."""

        def look() -> Document | None:
            found = self.condition(name, kind, namespace)
            return found if found.get("reason") == reason else None

        return until(f"{kind}'s reason {reason}", look)

    def events(self, name: str, namespace: str = "") -> list[tuple[str, str]]:
        """Type and reason of what was said of a repository, oldest first."""
        found = [each for each in self.kube.all("v1/Event", namespace or self.home) if each["involvedObject"].get("name") == name]
        ours = [each for each in found if each["involvedObject"].get("kind") == "AppRepository"]
        ours.sort(key=lambda each: int(each["metadata"]["resourceVersion"]))
        return [(each["type"], each["reason"]) for each in ours]

    # What follows from them -------------------------------------------------------------------------------------------

    def whose(self, name: str, namespace: str = "") -> str:
        return f"{namespace or self.home}/{name}"

    def cron_jobs(self, name: str, namespace: str = "", within: str = "") -> list[Document]:
        return self._theirs("cronjobs", self.whose(name, namespace), within or self.home)

    def jobs(self, name: str, namespace: str = "", within: str = "") -> list[Document]:
        """One-off sync Jobs of a repository, oldest first."""
        found = self._theirs("jobs", self.whose(name, namespace), within or self.home)
        return [job for job in found if CAUSE in job["metadata"]["annotations"]]

    def clean_ups(self, name: str, namespace: str = "") -> list[Document]:
        found = self._theirs("jobs", self.whose(name, namespace), self.home)
        return [job for job in found if ATTEMPT in job["metadata"]["annotations"]]

    def _theirs(self, kind: str, whose: str, within: str) -> list[Document]:
        found = [each for each in self.kube.all(kind, within) if (each["metadata"].get("annotations") or {}).get(REPOSITORY) == whose]
        return sorted(found, key=lambda each: (each["metadata"]["creationTimestamp"], int(each["metadata"]["resourceVersion"])))

    def cron_job(self, name: str, namespace: str = "", within: str = "") -> Document:
        """The CronJob, once there is one."""
        return until(f"the CronJob of {name}", lambda: self.cron_jobs(name, namespace, within))[0]

    def job(self, name: str, number: int = 1, namespace: str = "", within: str = "") -> Document:
        """The newest one-off Job, once there are `number`; there are no more."""
        made = until(f"{number} Jobs of {name}", lambda: found if len(found := self.jobs(name, namespace, within)) >= number else None)
        assert len(made) == number, [job["metadata"]["annotations"] for job in made]
        return made[-1]

    # As a kubelet -----------------------------------------------------------------------------------------------------

    def finish(self, job: Document, summary: Summary | None = None, exit_code: int = 0, **changes: Any) -> Document:
        """Let a Job's Pod end with a summary as termination message, or "" for none; returns the Job as it ended or, if it went, was."""
        metadata = job["metadata"]
        name, namespace = metadata["name"], metadata["namespace"]
        selector = f"batch.kubernetes.io/job-name={name}"
        pending = until(f"a Pod of {name}", lambda: [p for p in self.kube.all("pods", namespace, selector) if not ended(p)])[-1]
        now = datetime.now(UTC)
        message = "" if summary is None else replace(summary, finished_at=now, **changes).message()
        self.kube.patch("pods", pending["metadata"]["name"], namespace, pod_status(pending, exit_code, message, now), "status")
        return until(f"the end of {name}", lambda: found if conditions(found := self.kube.find("jobs", name, namespace) or ENDED) else None)

    def sync(self, name: str, number: int = 1, namespace: str = "", **changes: Any) -> Document:
        """Let the newest one-off Job succeed, and wait until the status says so."""
        job = self.finish(self.job(name, number, namespace), DONE, **changes)
        until(f"the status of {name}", lambda: self.status(name, namespace).get("lastJob") == job["metadata"]["name"])
        return job

    def by_schedule(self, name: str, namespace: str = "") -> Document:
        """A Job as the CronJob makes it at its hour."""
        cron_job = self.cron_job(name, namespace)
        template, at = cron_job["spec"]["jobTemplate"], cron_job["metadata"]
        metadata = {**template.get("metadata", {}), "name": f"{at['name']}-{next(NUMBERS)}", "namespace": at["namespace"]}
        return self.kube.create({"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": template["spec"]})

    def delete(self, name: str, namespace: str = "") -> None:
        self.kube.delete("apprepositories", name, namespace or self.home)

    def clean_up(self, name: str, namespace: str = "") -> None:
        """Let the clean-up of a deleted repository succeed, and wait until it is gone."""
        [job] = until(f"the clean-up of {name}", lambda: self.clean_ups(name, namespace))
        self.finish(job, Summary("delete", "", "done"))
        until(f"{name} gone", lambda: self.gone(name, namespace))
        until("no Job left", lambda: not self.clean_ups(name, namespace) and not self.jobs(name, namespace))

    # Who asked what ---------------------------------------------------------------------------------------------------

    def requests(self, verbs: Sequence[str] = ("create", "update", "patch", "delete")) -> list[Document]:
        """The controllers' requests so far, writes unless other `verbs` are named."""
        return [event for event in self.kube.requests(user=self.user) if event["verb"] in verbs]


def conditions(job: Mapping[str, Any]) -> list[str]:
    found = (job.get("status") or {}).get("conditions") or ()
    return [each["type"] for each in found if each["type"] in ("Complete", "Failed") and each["status"] == "True"]


def ended(pod: Mapping[str, Any]) -> bool:
    return pod["status"].get("phase") in ("Succeeded", "Failed")


def pod_status(pod: Mapping[str, Any], exit_code: int, message: str, now: datetime) -> Document:
    at = f"{now:%Y-%m-%dT%H:%M:%SZ}"
    ended = {"exitCode": exit_code, "message": message, "startedAt": at, "finishedAt": at, "reason": "Error" if exit_code else "Completed"}
    container = pod["spec"]["containers"][0]
    status = {"name": container["name"], "image": container["image"], "imageID": "", "ready": False, "restartCount": 0}
    phase = "Failed" if exit_code else "Succeeded"
    return {"status": {"phase": phase, "containerStatuses": [{**status, "state": {"terminated": ended}}]}}


@contextmanager
def controlled(kube: Kube, *flags: str, rules: Sequence[Document] = (), cluster_rules: Sequence[Document] = ()) -> Iterator[Controlled]:
    """Two namespaces and an account with the documented rights, or with `rules`; the controller is to be started."""
    with tempfile.TemporaryDirectory(prefix="cf-") as directory, new_namespace(kube) as home, new_namespace(kube) as away:
        given = rules or documented_rules("jobRules"), cluster_rules or documented_rules("repositoryRules")
        made = Controlled(kube, home, away, Path(directory), kube.new_account(home, "controller", *given, Path(directory)), flags)
        try:
            yield made
        finally:
            made.stop(signal.SIGKILL)


def finalizers(resource: Mapping[str, Any]) -> list[str]:
    return resource["metadata"].get("finalizers") or []
