"""The clusters that other tests build on: what their helpers promise."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.cluster import Cluster
from tests.cluster.kube import Document, Kube, Refused, writes
from tests.conftest import ROOT, until

BUSYBOX = "localhost/devcluster/busybox:1"
USER = """
import sys
from pathlib import Path
from tests.cluster.sharing import shared
with shared(Path(sys.argv[1])) as running:
    print(running, flush=True)
    sys.stdin.read()
"""


def config_map(namespace: str, name: str = "one", **data: str) -> Document:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace}, "data": data}


def pod(namespace: str, *command: str) -> Document:
    container = {"name": "main", "image": BUSYBOX, "command": list(command)}
    metadata = {"name": "one", "namespace": namespace}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"restartPolicy": "Never", "containers": [container]}}


def test_objects_are_applied_read_changed_and_deleted(cluster: Kube, namespace: str) -> None:
    document = config_map(namespace, colour="blue")
    document["metadata"]["labels"] = {"a": "b"}
    [applied] = cluster.apply(document)
    assert applied["data"] == {"colour": "blue"}
    cluster.patch("configmaps", "one", namespace, {"data": {"colour": None, "shape": "round"}})
    assert cluster.get("configmaps", "one", namespace)["data"] == {"shape": "round"}
    assert [found["metadata"]["name"] for found in cluster.all("configmaps", namespace, "a=b")] == ["one"]
    with pytest.raises(Refused) as refused:
        cluster.create(config_map(namespace))
    assert (refused.value.code, refused.value.reason) == (409, "AlreadyExists")
    assert cluster.kubectl("-n", namespace, "get", "configmap", "one", "-o", "jsonpath={.data.shape}").stdout == "round"
    cluster.delete("configmaps", "one", namespace)
    assert cluster.find("configmaps", "one", namespace) is None


def test_an_account_may_do_what_its_rules_say_and_no_more(cluster: Kube, namespace: str, tmp_path: Path) -> None:
    rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "create"]}]
    kubeconfig = cluster.new_account(namespace, "tester", rules, [], tmp_path)
    account = Kube(kubeconfig)
    account.create(config_map(namespace))
    assert account.get("configmaps", "one", namespace)
    with pytest.raises(Refused, match="cannot list resource"):
        account.all("configmaps", namespace)
    with pytest.raises(Refused, match="cannot create resource"):
        account.create(config_map("default", name=namespace))
    account.close()


def test_requests_are_counted_by_who_made_them(cluster: Kube, namespace: str, tmp_path: Path) -> None:
    rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["*"]}]
    account = Kube(cluster.new_account(namespace, "tester", rules, [], tmp_path))
    account.create(config_map(namespace))
    account.all("configmaps", namespace)
    account.close()

    def two() -> list[Document]:
        user = f"system:serviceaccount:{namespace}:tester"
        found = [event for event in cluster.requests(user=user) if "objectRef" in event]
        return found if len(found) >= 2 else []

    found = until("both are in the log", two)
    assert [(event["verb"], event["objectRef"]["resource"], event["responseStatus"]["code"]) for event in found] == [
        ("create", "configmaps", 201),
        ("list", "configmaps", 200),
    ]
    assert [event["verb"] for event in writes(found)] == ["create"]


def test_a_cluster_of_ones_own_loses_its_api_server_and_has_it_again(own_cluster: Cluster) -> None:
    kube = own_cluster.kube
    kube.create(config_map("default", colour="blue"))
    own_cluster.api_server.kill()
    assert not kube.answers("/readyz")
    own_cluster.api_server.start()
    assert kube.get("configmaps", "one", "default")["data"] == {"colour": "blue"}


def test_a_pod_runs_and_tells_its_end(pod_cluster: Kube, pod_namespace: str) -> None:
    pod_cluster.create(pod(pod_namespace, "sh", "-c", "echo $((6 * 7)) > /dev/termination-log; exit 3"))

    def ended() -> Document | None:
        statuses = pod_cluster.get("pods", "one", pod_namespace)["status"].get("containerStatuses", ())
        return next((status["state"]["terminated"] for status in statuses if "terminated" in status["state"]), None)

    end = until("the Pod ends", ended)
    assert end
    assert (end["exitCode"], end["message"]) == (3, "42\n")


def test_a_runs_cluster_ends_with_its_last_user(tmp_path: Path, cluster: Kube) -> None:
    """`cluster` is asked for so that the test is skipped where there is none."""

    def user() -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", USER, str(tmp_path)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    with user() as first, user() as second:
        assert first.stdout
        assert second.stdout
        assert first.stdout.readline() == second.stdout.readline()
        running = Kube(tmp_path / "running" / "admin.kubeconfig")
        first.kill()
        first.wait()
        assert running.answers("/readyz")
        second.kill()
    until("the cluster is gone", (tmp_path / "ended").exists)
    assert not running.answers("/readyz")
    running.close()
