"""The controller with exactly the rights that the chart grants, through a repository's whole life: none is missing, none is idle."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from catalog.report import Summary
from cli import servers
from tests.cluster.kube import Kube
from tests.conftest import ROOT, until
from tests.unit.test_chart import CHART, FOLLOWS, RUNS, SECRETS, run

ACCOUNT = "fleet-chartfleet-controller"
# Rights that no request of its own shows.
UNSEEN = {
    ("apprepositories/finalizers", "update"): "looked at by the admission of owner references, where that is switched on",
    ("cronjobs", "create"): "looked at when a CronJob that is not there is applied, which is a patch",
}


def granted(helm: str, namespace: str, directory: Path) -> list[dict[str, Any]]:
    """The chart's account and Roles, for a controller of this namespace alone."""
    values = {**SECRETS, "controller": {"watchNamespaces": [namespace]}}
    words = ("template", "fleet", str(CHART), "--namespace", namespace, "--show-only", "templates/rbac.yaml")
    done = run(helm, *words, values=values, directory=directory)
    assert done.returncode == 0, done.stderr
    return [manifest for manifest in yaml.safe_load_all(done.stdout) if manifest and manifest["kind"] != "ClusterRole"]


@contextmanager
def controller(kubeconfig: Path, namespace: str, log: Path) -> Iterator[None]:
    flags = [f"--namespace={namespace}", f"--watch-namespaces={namespace}", "--database-url-secret=db/url", "--health-port=0"]
    words = servers.python("controller", "--kubernetes", f"--kubeconfig={kubeconfig}", *flags)
    with log.open("w") as output, subprocess.Popen(words, cwd=ROOT, env={**os.environ}, stdout=output, stderr=output) as process:
        try:
            yield
        finally:
            process.terminate()


class Life:
    """Repositories of one namespace, and what a node would do for their Pods."""

    def __init__(self, cluster: Kube, namespace: str) -> None:
        self.cluster, self.namespace = cluster, namespace

    def create(self, name: str, **spec: Any) -> None:
        whole = {"type": "helm", "url": "https://charts.example.com", **spec}
        metadata = {"name": name, "namespace": self.namespace}
        self.cluster.create({"apiVersion": "kubeapps.com/v1alpha1", "kind": "AppRepository", "metadata": metadata, "spec": whole})

    def change(self, name: str, change: dict[str, Any]) -> None:
        self.cluster.patch("apprepositories", name, self.namespace, change)

    def delete(self, name: str) -> None:
        self.cluster.delete("apprepositories", name, self.namespace)

    def is_ready(self, name: str, status: str, reason: str) -> bool:
        found = self.cluster.find("apprepositories", name, self.namespace) or {}
        conditions = found.get("status", {}).get("conditions", [])
        return any((each["type"], each["status"], each["reason"]) == ("Ready", status, reason) for each in conditions)

    def is_gone(self, kind: str, name: str) -> bool:
        return self.cluster.find(kind, name, self.namespace) is None

    def finish(self, container: str) -> bool:
        """Let all Pods that wait end well; whether there were any."""
        pods = [pod for pod in self.cluster.all("pods", self.namespace) if pod["status"]["phase"] == "Pending"]
        ours = [pod for pod in pods if pod["spec"]["containers"][0]["name"] == container]
        message = Summary("sync", "", "done", charts=3, versions=7, notes=0, finished_at=datetime.now(UTC)).message()
        ended = {"terminated": {"exitCode": 0, "message": message}}
        status = {"name": container, "ready": False, "restartCount": 0, "image": "", "imageID": "", "state": ended}
        for pod in ours:
            change = {"status": {"phase": "Succeeded", "containerStatuses": [status]}}
            self.cluster.patch("pods", pod["metadata"]["name"], self.namespace, change, "status")
        return bool(ours)


def live(life: Life) -> None:
    """What a repository may meet from its first sync to its end."""
    cluster, namespace, cron_job = life.cluster, life.namespace, f"apprepo-{life.namespace}-sync-a"
    life.create("a", auth={"header": {"secretKeyRef": {"name": "login", "key": "token"}}})
    until("the Secret is missed", lambda: life.is_ready("a", "False", "WaitingForSecret"))
    metadata = {"name": "login", "namespace": namespace}
    cluster.create({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"token": "x"}})
    until("a Pod of the first sync", lambda: life.finish("sync"))
    until("its outcome is told", lambda: life.is_ready("a", "True", "Synced"))
    cluster.patch("cronjobs", cron_job, namespace, {"spec": {"schedule": "0 0 1 1 *"}})
    until("the schedule is put right", lambda: cluster.get("cronjobs", cron_job, namespace)["spec"]["schedule"] != "0 0 1 1 *")
    life.change("a", {"spec": {"resyncRequests": 1}})
    until("a sync runs", lambda: life.is_ready("a", "Unknown", "Progressing"))
    life.delete("a")
    until("a Pod of the clean-up", lambda: life.finish("delete"))
    until("it is gone", lambda: life.is_gone("apprepositories", "a"))
    assert life.is_gone("cronjobs", cron_job)


def sync(life: Life) -> None:
    life.create("b")
    until("a Pod of its sync", lambda: life.finish("sync"))
    until("its outcome is told", lambda: life.is_ready("b", "True", "Synced"))


def lose(life: Life) -> None:
    """While no controller runs: the resource goes past its finalizer, and its CronJob, which has no owner any more, stays."""
    life.cluster.patch("cronjobs", f"apprepo-{life.namespace}-sync-b", life.namespace, {"metadata": {"ownerReferences": None}})
    life.change("b", {"metadata": {"finalizers": None}})
    life.delete("b")


def clear_away(life: Life) -> None:
    until("a Pod of the clean-up", lambda: life.finish("delete"))
    until("the CronJob is gone", lambda: life.is_gone("cronjobs", f"apprepo-{life.namespace}-sync-b"))


def test_the_rights_of_the_chart_suffice_and_each_is_used(cluster: Kube, namespace: str, helm: str, tmp_path: Path) -> None:
    for manifest in granted(helm, namespace, tmp_path):
        cluster.apply({**manifest, "metadata": {**manifest["metadata"], "namespace": namespace}})
    account, life = cluster.account(namespace, ACCOUNT, tmp_path), Life(cluster, namespace)
    with controller(account, namespace, tmp_path / "log"):
        live(life)
        sync(life)
    lose(life)
    with controller(account, namespace, tmp_path / "log"):
        clear_away(life)
    requests = cluster.requests(user=f"system:serviceaccount:{namespace}:{ACCOUNT}")
    assert not [(each["verb"], each["objectRef"]) for each in requests if each["responseStatus"]["code"] == 403]
    used = {(resource_of(each["objectRef"]), each["verb"]) for each in requests if "resource" in each.get("objectRef", {})}
    assert used == {(resource, verb) for resource, verbs in {**FOLLOWS, **RUNS}.items() for verb in verbs.split()} - set(UNSEEN)


def resource_of(reference: dict[str, str]) -> str:
    return "/".join(filter(None, (reference["resource"], reference.get("subresource"))))
