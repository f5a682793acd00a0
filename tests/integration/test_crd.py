"""Our definition of AppRepository and Kubeapps' in a real API server: what they accept, and what a person sees."""

import os
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.cluster.fixtures import apply_crds
from tests.cluster.kube import Kube, Refused
from tests.conftest import SHARED, missing
from tests.unit.test_crd import INCOMPLETE, KUBEAPPS, SAMPLES, definition

GOLDEN = SHARED / "data" / "kubeapps-golden" / "objects"
REPOSITORY = {
    "apiVersion": "kubeapps.com/v1alpha1",
    "kind": "AppRepository",
    "metadata": {"name": "seen"},
    "spec": {"type": "helm", "url": "https://charts.example.com/stable"},
}


@pytest.fixture(scope="module")
def copied(cluster: Kube, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where resources of Kubeapps' definition are: a copy in an API group of its own, since the cluster has ours."""
    group, plural = f"kubeapps{os.getpid()}.chartfleet.test", f"copies{os.getpid()}"
    crd = definition(KUBEAPPS)
    crd["metadata"]["name"] = f"{plural}.{group}"
    crd["spec"] |= {"group": group, "names": {"kind": "AppRepository", "plural": plural}}
    path = tmp_path_factory.mktemp("crd") / "copy.yaml"
    path.write_text(yaml.safe_dump(crd))
    apply_crds(cluster, path)
    yield f"{group}/v1alpha1/namespaces/default/{plural}"
    cluster.delete("customresourcedefinitions", crd["metadata"]["name"])


@pytest.fixture(params=["ours", "kubeapps"])
def either(cluster: Kube, copied: str, request: pytest.FixtureRequest) -> str:
    """Where resources of one of the two definitions are, below /apis."""
    assert cluster.serves("apprepositories")
    return copied if request.param == "kubeapps" else "kubeapps.com/v1alpha1/namespaces/default/apprepositories"


def refusal(cluster: Kube, place: str, resource: dict[str, Any]) -> str:
    """What the API server says against a resource, unknown fields included; "" if it takes it. Nothing is stored."""
    version = "/".join(place.split("/")[:2])
    moved = {**resource, "apiVersion": version, "metadata": {**resource["metadata"], "namespace": "default"}}
    try:
        cluster.request("POST", f"/apis/{place}?dryRun=All&fieldValidation=Strict", moved)
    except Refused as refused:
        return str(refused)
    return ""


def test_kubeapps_samples_are_accepted_by_both_definitions(cluster: Kube, either: str) -> None:
    refused = {path.stem: said for path in SAMPLES if (said := refusal(cluster, either, definition(path)))}
    assert set(refused) == INCOMPLETE, refused
    assert all("spec.type: Required value" in said for said in refused.values())


def test_both_definitions_accept_and_refuse_what_kubeapps_own_did(cluster: Kube, either: str) -> None:
    if not GOLDEN.is_dir():
        missing("the recorded objects of Kubeapps' controller", f"put them into {GOLDEN}")
    cases = [yaml.safe_load(path.read_text()).get("steps", []) for path in sorted(GOLDEN.glob("*.yaml"))]
    applied = [step for case in cases for step in case if "object" in step]
    assert len(applied) > 40
    for step in applied:
        refused = refusal(cluster, either, step["object"])
        assert bool(refused) == ("refused" in step), refused or step["object"]


def test_only_ours_knows_suspend(cluster: Kube, either: str, copied: str) -> None:
    refused = refusal(cluster, either, {**REPOSITORY, "spec": {**REPOSITORY["spec"], "suspend": True}})
    assert ('unknown field "spec.suspend"' in refused) == (either == copied)
    assert bool(refused) == (either == copied)


def test_a_person_sees_how_a_repository_stands(cluster: Kube, namespace: str) -> None:
    cluster.create({**REPOSITORY, "metadata": {"name": "seen", "namespace": namespace}})
    condition = {
        "type": "Ready", "status": "True", "reason": "Synced", "message": "21 charts, 1,449 versions",
        "lastTransitionTime": "2026-01-02T03:04:05Z", "observedGeneration": 1,
    }  # fmt: skip
    status = {"observedGeneration": 1, "conditions": [condition], "charts": 21, "lastSyncTime": "2026-01-02T03:04:05Z"}
    cluster.patch("apprepositories", "seen", namespace, {"status": status}, "status")
    head, row = cluster.kubectl("get", "apprepos", "-n", namespace).stdout.splitlines()
    assert head.split() == ["NAME", "URL", "TYPE", "READY", "CHARTS", "LAST", "SYNC", "AGE"]
    assert row.split()[:5] == ["seen", "https://charts.example.com/stable", "helm", "True", "21"]
    assert "21 charts, 1,449 versions" in cluster.kubectl("get", "apprepositories", "-n", namespace, "-o", "wide").stdout
    cluster.kubectl("wait", "--for=condition=Ready", "apprepository/seen", "-n", namespace, "--timeout=5s")


def test_the_status_is_no_part_of_what_is_asked_for(cluster: Kube, namespace: str) -> None:
    stored = cluster.create({**REPOSITORY, "metadata": {"name": "seen", "namespace": namespace}, "status": {"charts": 5}})
    assert "status" not in stored
    patched = cluster.patch("apprepositories", "seen", namespace, {"status": {"charts": 7}}, "status")
    assert patched["status"] == {"charts": 7}
    assert patched["metadata"]["generation"] == stored["metadata"]["generation"] == 1


def test_a_field_explains_itself(cluster: Kube) -> None:
    explained = cluster.kubectl("explain", "apprepositories.spec.interval").stdout
    assert "How often to sync; a Go duration such as 10m" in " ".join(explained.split())
