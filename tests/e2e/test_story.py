"""From `helm install` and `kubectl apply` to rows in PostgreSQL, and to the end of both, as a user sees it: all in real, restricted Pods.

One story at a time: one of them replaces the definition of AppRepository.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml

from tests.cluster.build import locked
from tests.cluster.fixtures import apply_crds, new_namespace
from tests.cluster.kube import Document, Kube
from tests.conftest import ROOT, Database, until
from tests.fakes.helm_repo import HelmRepo, index, serving
from tests.fakes.relay import relayed
from tests.integration.controlled import KUBEAPPS_CLUSTER_ROLE, KUBEAPPS_ROLE
from tests.unit.test_chart import CHART, run

RARELY = "@yearly"
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}
ONE = index({"nginx": [{"version": "1.0.0"}]})
TWO = index({"nginx": [{"version": "1.0.0"}, {"version": "1.1.0"}], "redis": [{"version": "7.0.0"}]})
VISIBLE = """
    select c.name, v.version from chartfleet.charts c join chartfleet.chart_versions v on v.chart_id = c.id
    where c.removed_at is null and v.removed_at is null order by 1, 2
"""


@dataclass(frozen=True)
class Machine:
    """The address and the ports by which Pods reach what runs here."""

    host: str
    api_server: int
    postgres: int
    upstream: int


@dataclass
class Story:
    """A namespace with a controller in it, a database, a repository to sync, and what a user does with kubectl."""

    kube: Kube
    namespace: str
    database: Database
    upstream: HelmRepo
    machine: Machine

    def kubectl(self, *words: str, stdin: str = "") -> str:
        return self.kube.kubectl("-n", self.namespace, *words, stdin=stdin).stdout

    def apply(self, **spec: Any) -> None:
        given = {"type": "helm", "url": f"http://{self.machine.host}:{self.machine.upstream}", "interval": RARELY, **spec}
        metadata = {"name": "demo", "namespace": self.namespace}
        document = {"apiVersion": "kubeapps.com/v1alpha1", "kind": "AppRepository", "metadata": metadata, "spec": given}
        self.kubectl("apply", "-f", "-", stdin=yaml.safe_dump(document))

    def change(self, **spec: Any) -> None:
        self.kubectl("patch", "apprepository", "demo", "--type=merge", "-p", json.dumps({"spec": spec}))

    def wait(self, ready: str = "True") -> Document:
        """The resource's status once its condition Ready is this."""
        words = ("wait", "apprepository/demo", f"--for=condition=Ready={ready}", "--timeout=100s")
        if self.kube.kubectl("-n", self.namespace, *words, check=False).returncode:
            pytest.fail(f"demo is not Ready={ready}\n{self.what_happened()}")
        return self.status()

    def what_happened(self) -> str:
        looks = ("get apprepositories -o yaml", "get jobs,pods", "get events", "logs --tail=20 -l app.kubernetes.io/component=controller")
        return "\n".join(self.kubectl(*look.split()) for look in looks)

    def status(self) -> Document:
        return self.kube.get("apprepositories", "demo", self.namespace).get("status", {})

    def message(self) -> str:
        return next(each["message"] for each in self.status()["conditions"] if each["type"] == "Ready")

    def syncs(self) -> list[Document]:
        return [job for job in self.kube.all("jobs", self.namespace) if "-sync-" in job["metadata"]["name"]]

    def pods_of(self, job: str) -> list[Document]:
        return self.kube.all("pods", self.namespace, f"batch.kubernetes.io/job-name={job}")

    def visible(self) -> list[tuple[object, ...]]:
        return self.database.rows(VISIBLE)

    def rows_of_repositories(self) -> list[tuple[object, ...]]:
        return self.database.rows("select name from chartfleet.repositories")


@pytest.fixture
def apart(pod_cluster: Kube, run_directory: Path) -> Iterator[Kube]:
    """The cluster while no other story is told in it."""
    with locked(run_directory / "story"):
        yield pod_cluster


@pytest.fixture
def upstream() -> Iterator[HelmRepo]:
    with serving(HelmRepo(index=ONE)) as repo:
        yield repo


@pytest.fixture
def empty_database(database: Database) -> Database:
    """A database without a schema, in the server of `database`."""
    empty = Database(f"{database.name}_empty", database.sockets)
    with psycopg.connect(database.admin, autocommit=True) as connection:
        connection.execute(f"create database {empty.name}".encode())
    return empty


@pytest.fixture
def untold(apart: Kube, host: str, empty_database: Database, upstream: HelmRepo) -> Iterator[Story]:
    """A story without a controller yet."""
    with (
        new_namespace(apart, **RESTRICTED) as namespace,
        relayed(port_of(apart.server), host) as api_server,
        relayed(empty_database.sockets / ".s.PGSQL.5432", host) as postgres,
        relayed(port_of(upstream.url), host) as web,
    ):
        secret = {"metadata": {"name": "login", "namespace": namespace}, "stringData": {"password": "any"}}
        apart.create({"apiVersion": "v1", "kind": "Secret", **secret})
        yield Story(apart, namespace, empty_database, upstream, Machine(host, api_server, postgres, web))


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2])


@pytest.fixture
def story(untold: Story, helm: str, image: str, tmp_path: Path) -> Story:
    """With what `helm install` makes."""
    repository, _, tag = image.rpartition(":")
    login = {"existingSecret": "login", "key": "password", "user": "chartfleet", "name": untold.database.name}
    values = {
        "image": {"repository": repository, "tag": tag},
        "database": {**login, "host": untold.machine.host, "port": untold.machine.postgres},
        "controller": {"watchNamespaces": [untold.namespace]},
        "extraEnv": reaching(untold.machine),
    }
    words = ("install", "fleet", str(CHART), "--skip-crds", "--wait", "--timeout=50s", "--namespace", untold.namespace)
    done = run(helm, *words, f"--kubeconfig={untold.kube.kubeconfig}", values=values, directory=tmp_path)
    assert done.returncode == 0, f"{done.stderr}\n{untold.what_happened()}"
    return untold


def reaching(machine: Machine) -> list[Document]:
    """A Pod's environment for an API server that no Service leads to."""
    pairs = {"KUBERNETES_SERVICE_HOST": machine.host, "KUBERNETES_SERVICE_PORT": str(machine.api_server)}
    return [{"name": name, "value": value} for name, value in pairs.items()]


def test_from_apply_to_rows_through_a_tick_a_change_and_a_failure_to_a_delete_that_leaves_nothing(story: Story) -> None:
    story.apply(interval="* * * * *")
    first = story.wait()
    assert story.visible() == [("nginx", "1.0.0")]
    columns, line = story.kubectl("get", "apprepositories").splitlines()
    assert columns.split() == ["NAME", "URL", "TYPE", "READY", "CHARTS", "LAST", "SYNC", "AGE"]
    assert line.split()[2:5] == ["helm", "True", "1"]
    assert "Synced" in story.kubectl("describe", "apprepository", "demo")

    asked = len(story.upstream.requests)
    until("a tick of the CronJob is told of", lambda: story.status()["lastSyncTime"] > first["lastSyncTime"], 120)
    assert story.status()["revision"] == first["revision"]
    conditional = [headers.get("If-None-Match") for path, headers in story.upstream.requests[asked:] if path.endswith("/index.yaml")]
    assert conditional
    assert all(conditional), "an unchanged index was read again"

    story.upstream.index = TWO
    story.change(resyncRequests=1, interval=RARELY)
    changed = story.wait()
    assert (changed["charts"], changed["versions"]) == (2, 3)
    assert story.visible() == [("nginx", "1.0.0"), ("nginx", "1.1.0"), ("redis", "7.0.0")]

    story.upstream.status = 404
    story.change(resyncRequests=2)
    failed = story.wait(ready="False")
    assert "404" in story.message()
    assert failed["lastSuccessfulSyncTime"] <= failed["lastSyncTime"]
    assert len(story.pods_of(failed["lastJob"])) == 1, "trying again mends nothing"
    story.upstream.status = 200
    story.change(resyncRequests=3)
    story.wait()

    story.kubectl("delete", "apprepository", "demo", "--timeout=100s")
    assert story.visible() == story.rows_of_repositories() == []
    assert story.kube.all("cronjobs", story.namespace) == []
    until("the syncs are gone", lambda: not story.syncs())


def test_a_wrong_password_that_is_rotated_and_an_upstream_that_comes_back_need_nobody(story: Story) -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "upstream", "namespace": story.namespace}}
    story.kube.create({**secret, "stringData": {"header": "Bearer old"}})
    story.upstream.status = 401
    story.apply(auth={"header": {"secretKeyRef": {"name": "upstream", "key": "header"}}})
    story.wait(ready="False")
    assert "401" in story.message()
    story.upstream.status = 503
    story.kube.patch("secrets", "upstream", story.namespace, {"stringData": {"header": "Bearer new"}})

    def unavailable() -> bool:
        return any(code == 75 for job in story.syncs() for code in exit_codes(story.pods_of(job["metadata"]["name"])))

    until("a Pod has met the unavailable upstream", unavailable)
    story.upstream.status = 200
    status = story.wait()
    assert len(story.pods_of(status["lastJob"])) == 2, "the Job itself has tried again"
    assert story.upstream.requests[-1][1]["Authorization"] == "Bearer new"
    assert len(story.syncs()) == 2


def exit_codes(pods: list[Document]) -> list[int]:
    states = [each["state"] for pod in pods for each in pod["status"].get("containerStatuses", ())]
    return [state["terminated"]["exitCode"] for state in states if "terminated" in state]


@pytest.fixture
def kubeapps_definition(apart: Kube) -> Iterator[None]:
    apply_crds(apart, ROOT / "tests" / "data" / "kubeapps-crd.yaml")
    yield
    apply_crds(apart)


@pytest.fixture
def drop_in(untold: Story, image: str, tmp_path: Path, kubeapps_definition: None) -> Story:
    """With our image where Kubeapps' were: its command lines, its account, its definition of AppRepository."""
    kube, namespace = untold.kube, untold.namespace
    kube.new_account(namespace, "kubeapps", KUBEAPPS_ROLE, KUBEAPPS_CLUSTER_ROLE, tmp_path)
    flags = {
        "namespace": namespace,
        "global-repos-namespace": namespace,
        "repos-per-namespace": "false",
        "repo-sync-image": image,
        "repo-sync-cmd": "/asset-syncer",
        "database-url": f"{untold.machine.host}:{untold.machine.postgres}",
        "database-user": "chartfleet",
        "database-name": untold.database.name,
        "database-secret-name": "login",
        "database-secret-key": "password",
        "user-agent-comment": "kubeapps/v2.12.1",
    }
    container = {
        "name": "controller",
        "image": image,
        "command": ["/apprepository-controller"],
        "args": [f"--{name}={value}" for name, value in flags.items()],
        "env": reaching(untold.machine),
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": 8081}, "periodSeconds": 1},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": True},
    }
    security = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    spec = {"serviceAccountName": "kubeapps", "securityContext": security, "containers": [container]}
    metadata = {"name": "controller", "namespace": namespace, "labels": {"app.kubernetes.io/component": "controller"}}
    kube.create({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    if kube.kubectl("-n", namespace, "wait", "pod/controller", "--for=condition=Ready", "--timeout=60s", check=False).returncode:
        pytest.fail(f"the controller is not ready\n{untold.what_happened()}")
    return untold


def test_in_kubeapps_place_with_its_command_lines_account_and_definition(drop_in: Story) -> None:
    drop_in.apply()
    until("the first Job has made the schema and the rows", lambda: in_schema(drop_in) and drop_in.visible() == [("nginx", "1.0.0")])
    [cron_job] = drop_in.kube.all("cronjobs", drop_in.namespace)
    assert cron_job["metadata"]["name"] == f"apprepo-{drop_in.namespace}-sync-demo"
    drop_in.upstream.index = TWO
    drop_in.change(resyncRequests=1)
    until("a bump syncs", lambda: len(drop_in.visible()) == 3)
    drop_in.kubectl("delete", "apprepository", "demo", "--timeout=100s")
    until("the clean-up has run", lambda: not drop_in.rows_of_repositories())
    assert drop_in.kube.all("cronjobs", drop_in.namespace) == []


def in_schema(story: Story) -> bool:
    return story.database.rows("select to_regclass('chartfleet.charts') is not null") == [(True,)]
