"""Resources of a cluster, synced by the fleet: the controller as the product starts it, on a real API server, PostgreSQL and Valkey."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.kube import Kube
from tests.conftest import Database, until
from tests.fakes.helm_repo import HelmRepo, index
from tests.integration.test_fleet import Fleet

ONE, TWO = ({"nginx": [{"version": f"1.0.{patch}"} for patch in range(count)]} for count in (1, 2))


class Resource:
    """One AppRepository, and what is said of it."""

    def __init__(self, kube: Kube, namespace: str) -> None:
        self.kube, self.namespace = kube, namespace

    def apply(self, url: str, **spec: Any) -> None:
        metadata = {"name": "demo", "namespace": self.namespace}
        given = {"type": "helm", "url": url, "interval": "24h", **spec}
        self.kube.apply({"apiVersion": "kubeapps.com/v1alpha1", "kind": "AppRepository", "metadata": metadata, "spec": given})

    def status(self) -> dict[str, Any]:
        found = self.kube.find("apprepositories", "demo", self.namespace) or {}
        return found.get("status") or {}

    def ready(self) -> tuple[str, str]:
        """Status and reason of the condition."""
        conditions = {each["type"]: each for each in self.status().get("conditions", ())}
        return (conditions["Ready"]["status"], conditions["Ready"]["reason"]) if conditions else ("", "")


@pytest.fixture
def resource(cluster: Kube, namespace: str) -> Resource:
    return Resource(cluster, namespace)


@pytest.fixture
def fleet(database: Database, valkey: str, tmp_path: Path, cluster: Kube, namespace: str) -> Iterator[Fleet]:
    fleet = Fleet(database, valkey, tmp_path)
    fleet.environment["KUBECONFIG"] = str(cluster.kubeconfig)
    words = ("--kubernetes", "--backend=celery", f"--namespace={namespace}", f"--watch-namespaces={namespace}", "--health-port=0")
    fleet.start("controller", "controller", *words)
    fleet.start("scheduler", "worker", "schedule")
    fleet.start("worker", "worker", "serve", "--concurrency", "1")
    yield fleet
    fleet.stop()


def test_a_resource_of_the_cluster_is_synced_by_the_fleet_and_its_status_tells(fleet: Fleet, resource: Resource, repo: HelmRepo) -> None:
    repo.index = index(ONE)
    resource.apply(repo.url)
    until("the first sync", lambda: resource.ready() == ("True", "Synced"))
    assert (resource.status()["charts"], resource.status()["versions"]) == (1, 1)
    assert resource.kube.all("cronjobs", resource.namespace) == []

    repo.index = index(TWO)
    resource.apply(repo.url, resyncRequests=1)
    until("the resync", lambda: resource.status().get("versions") == 2)

    repo.status = 404
    resource.apply(repo.url, resyncRequests=2)
    until("the failure", lambda: resource.ready() == ("False", "SourceRefused"))
    assert resource.status()["versions"] == 2

    resource.kube.delete("apprepositories", "demo", resource.namespace)
    until("the end", lambda: resource.kube.find("apprepositories", "demo", resource.namespace) is None)
    assert fleet.database.rows("select 1 from chartfleet.repositories") == []


def test_a_restart_of_the_controller_asks_for_nothing(fleet: Fleet, resource: Resource, repo: HelmRepo) -> None:
    repo.index = index(ONE)
    resource.apply(repo.url)
    until("the first sync", lambda: resource.ready() == ("True", "Synced"))
    version = resource.kube.get("apprepositories", "demo", resource.namespace)["metadata"]["resourceVersion"]
    fleet.halt("controller")
    words = ("--kubernetes", "--backend=celery", f"--namespace={resource.namespace}", f"--watch-namespaces={resource.namespace}")
    fleet.start("controller", "controller", *words, "--health-port=0")
    repo.index = index(TWO)
    resource.apply(repo.url, resyncRequests=7)
    until("what was asked for meanwhile", lambda: resource.status().get("versions") == 2)
    assert fleet.database.rows("select count(*) from chartfleet.sync_runs where job = 'sync'") == [(2,)]
    assert version != resource.kube.get("apprepositories", "demo", resource.namespace)["metadata"]["resourceVersion"]
