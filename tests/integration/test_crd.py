"""Our definition of AppRepository and Kubeapps' in a real API server: what they accept, and what a person sees.

Each is installed as a copy in an API group of its own, so that whatever else uses the cluster keeps its definition.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import SHARED, missing, until
from tests.unit.test_crd import INCOMPLETE, KUBEAPPS, OURS, SAMPLES, definition, schema_of

GOLDEN = SHARED / "data" / "kubeapps-golden" / "objects"
Kubectl = Callable[..., str]


@pytest.fixture(scope="session")
def kubectl() -> Kubectl:
    """Runs kubectl WORDS with `text` as its input; what it printed. Fails with what it complained about."""
    if not (kubeconfig := os.environ.get("CHARTFLEET_TEST_KUBECONFIG")):
        missing("a Kubernetes cluster", "set CHARTFLEET_TEST_KUBECONFIG=/path/to/kubeconfig")
    if not shutil.which("kubectl"):
        missing("kubectl", "put it on PATH")

    def run(*words: str, text: str = "") -> str:
        command = ["kubectl", "--kubeconfig", str(kubeconfig), *words]
        done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode:
            raise ValueError(done.stderr)
        return done.stdout

    return run


def install(kubectl: Kubectl, path: Path, group: str) -> None:
    """The definition in a file as a copy in another API group, ready to be used."""
    copy = definition(path)
    copy["metadata"]["name"] = f"apprepositories.{group}"
    copy["spec"]["group"] = group
    copy["spec"]["names"]["shortNames"] = [group.partition(".")[0]]
    kubectl("apply", "--server-side", "-f", "-", text=json.dumps(copy))
    kubectl("wait", "--for=condition=Established", f"crd/apprepositories.{group}")
    until("the new kind is described", lambda: described(kubectl, group))


def described(kubectl: Kubectl, group: str) -> bool:
    try:
        return "spec" in kubectl("explain", "apprepositories", f"--api-version={group}/v1alpha1")
    except ValueError:
        return False


@pytest.fixture(scope="module", params=[OURS, KUBEAPPS], ids=["ours", "kubeapps"])
def either(kubectl: Kubectl, request: pytest.FixtureRequest) -> Iterator[str]:
    """The API group of one of the two definitions."""
    group = f"{'ours' if request.param == OURS else 'theirs'}{os.getpid()}.chartfleet.test"
    install(kubectl, request.param, group)
    yield group
    kubectl("delete", "crd", f"apprepositories.{group}", "--wait=false")


@pytest.fixture(scope="module")
def ours(kubectl: Kubectl) -> Iterator[str]:
    group = f"seen{os.getpid()}.chartfleet.test"
    install(kubectl, OURS, group)
    yield group
    kubectl("delete", "crd", f"apprepositories.{group}", "--wait=false")


def refusal(kubectl: Kubectl, group: str, *resources: dict[str, Any]) -> str:
    """What the API server says against resources, unknown fields included; "" if it takes them all."""
    moved = [
        {**resource, "apiVersion": f"{group}/v1alpha1", "metadata": {**resource["metadata"], "namespace": "default"}}
        for resource in resources
    ]
    try:
        kubectl(
            "create",
            "--dry-run=server",
            "--validate=strict",
            "-f",
            "-",
            text=json.dumps({"apiVersion": "v1", "kind": "List", "items": moved}),
        )
    except ValueError as error:
        return str(error)
    return ""


def test_kubeapps_samples_are_accepted_by_both_definitions(kubectl: Kubectl, either: str) -> None:
    complete = [definition(path) for path in SAMPLES if path.stem not in INCOMPLETE]
    assert not refusal(kubectl, either, *complete)
    for path in SAMPLES:
        assert path.stem not in INCOMPLETE or "spec.type: Required value" in refusal(kubectl, either, definition(path))


def test_both_definitions_accept_and_refuse_what_kubeapps_own_did(kubectl: Kubectl, either: str) -> None:
    if not GOLDEN.is_dir():
        missing("the recorded objects of Kubeapps' controller", f"put them into {GOLDEN}")
    cases = [yaml.safe_load(path.read_text()).get("steps", []) for path in sorted(GOLDEN.glob("*.yaml"))]
    applied = [step for case in cases for step in case if "object" in step]
    assert len(applied) > 40
    assert not refusal(kubectl, either, *(step["object"] for step in applied if "refused" not in step))
    for step in applied:
        assert "refused" not in step or refusal(kubectl, either, step["object"])


def test_only_ours_knows_suspend(kubectl: Kubectl, ours: str, either: str) -> None:
    resource = {"kind": "AppRepository", "metadata": {"name": "a"}, "spec": {"type": "helm", "url": "https://x.example", "suspend": True}}
    assert not refusal(kubectl, ours, resource)
    assert either.startswith("ours") or 'unknown field "spec.suspend"' in refusal(kubectl, either, resource)


def test_a_person_sees_how_a_repository_stands(kubectl: Kubectl, ours: str) -> None:
    kind = f"apprepositories.{ours}"
    sample = {**definition(SAMPLES[0]), "apiVersion": f"{ours}/v1alpha1"}
    sample["metadata"] = {"name": "seen", "namespace": "default"}
    kubectl("create", "-f", "-", text=json.dumps(sample))
    condition = {
        "type": "Ready", "status": "True", "reason": "Succeeded", "message": "21 charts, 1,449 versions",
        "lastTransitionTime": "2026-01-02T03:04:05Z", "observedGeneration": 1,
    }  # fmt: skip
    status = {
        "observedGeneration": 1,
        "conditions": [condition],
        "charts": 21,
        "versions": 1449,
        "notes": 0,
        "lastSyncTime": "2026-01-02T03:04:05Z",
    }
    kubectl("patch", kind, "seen", "--subresource=status", "--type=merge", "--patch", json.dumps({"status": status}))
    head, row = kubectl("get", kind).splitlines()
    assert head.split() == ["NAME", "URL", "TYPE", "READY", "CHARTS", "LAST", "SYNC", "AGE"]
    assert row.split()[:5] == ["seen", sample["spec"]["url"], "helm", "True", "21"]
    assert "21 charts, 1,449 versions" in kubectl("get", kind, "-o", "wide")
    kubectl("wait", "--for=condition=Ready", f"{kind}/seen", "--timeout=5s")


def test_the_status_is_no_part_of_what_is_asked_for(kubectl: Kubectl, ours: str) -> None:
    resource = {
        "apiVersion": f"{ours}/v1alpha1", "kind": "AppRepository", "metadata": {"name": "asked", "namespace": "default"},
        "spec": {"type": "helm", "url": "https://x.example"}, "status": {"charts": 5},
    }  # fmt: skip
    stored = json.loads(kubectl("create", "-f", "-", "-o", "json", text=json.dumps(resource)))
    assert "status" not in stored
    patch = json.dumps({"status": {"charts": 7}})
    patched = json.loads(
        kubectl("patch", f"apprepositories.{ours}", "asked", "--subresource=status", "--type=merge", "-p", patch, "-o", "json")
    )
    assert patched["metadata"]["generation"] == stored["metadata"]["generation"] == 1


def test_a_field_explains_itself(kubectl: Kubectl, ours: str) -> None:
    for path in (".spec.interval", ".status.conditions"):
        explained = kubectl("explain", f"apprepositories{path}", f"--api-version={ours}/v1alpha1")
        assert schema_of(OURS)[path]["description"] in " ".join(explained.split())
