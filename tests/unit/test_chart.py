"""What the deployment files promise: the Helm chart through the real helm, the compose file and the image as data."""

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import yaml

from catalog import documents
from tests.conftest import ROOT

CHART = ROOT / "charts" / "chartfleet"
SECRETS = {"database": {"existingSecret": "addresses"}, "broker": {"existingSecret": "addresses"}}
REPOSITORY = {
    "name": "1.5",
    "namespace": "kubeapps",
    "spec": {"url": "https://charts.example", "type": "helm", "filterRule": {"jq": '.name == $var0 # "#"', "variables": {"$var0": "yes"}}},
}


def run(helm: str, *words: str, values: dict[str, Any], directory: Path) -> subprocess.CompletedProcess[str]:
    """helm WORDS with values of ours in a file; its own state stays below `directory`."""
    file = directory / "values.json"
    file.write_text(json.dumps(values))
    environment = {**os.environ, "HELM_CACHE_HOME": str(directory), "HELM_CONFIG_HOME": str(directory), "HELM_DATA_HOME": str(directory)}
    return subprocess.run([helm, *words, "--values", str(file)], capture_output=True, text=True, env=environment, timeout=60, check=False)


def rendered(helm: str, values: dict[str, Any], directory: Path) -> list[dict[str, Any]]:
    """The manifests of `helm template`."""
    done = run(helm, "template", "fleet", str(CHART), values=values, directory=directory)
    assert done.returncode == 0, done.stderr
    return [manifest for manifest in yaml.safe_load_all(done.stdout) if manifest]


def pods(manifests: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The Pod specification of each workload, by component."""
    workloads = [manifest for manifest in manifests if manifest["kind"] in ("Deployment", "Job")]
    return {w["metadata"]["labels"]["app.kubernetes.io/component"]: w["spec"]["template"]["spec"] for w in workloads}


def compose() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text())


def test_helm_finds_nothing_to_complain_about(helm: str, tmp_path: Path) -> None:
    done = run(helm, "lint", "--strict", str(CHART), values={**SECRETS, "repositories": [REPOSITORY]}, directory=tmp_path)
    assert done.returncode == 0, done.stdout


def test_the_chart_asks_for_its_two_secrets(helm: str, tmp_path: Path) -> None:
    done = run(helm, "template", "fleet", str(CHART), values={}, directory=tmp_path)
    assert done.returncode != 0
    assert "database.existingSecret" in done.stderr


def test_a_misspelt_value_is_refused(helm: str, tmp_path: Path) -> None:
    done = run(helm, "template", "fleet", str(CHART), values={**SECRETS, "repositorys": []}, directory=tmp_path)
    assert done.returncode != 0
    assert "repositorys" in done.stderr


def test_every_pod_is_restricted(helm: str, tmp_path: Path) -> None:
    found = pods(rendered(helm, {**SECRETS, "repositorySecrets": {"existingSecret": "logins"}}, tmp_path))
    assert set(found) == {"migration", "controller", "scheduler", "worker", "api"}
    for pod in found.values():
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert {"name": "tmp", "mountPath": "/tmp"} in container["volumeMounts"]


def test_repositories_become_documents_that_the_controller_reads(helm: str, tmp_path: Path) -> None:
    annotations = {"chartfleet.dev/max-seconds": "60"}
    manifests = rendered(helm, {**SECRETS, "repositories": [{**REPOSITORY, "annotations": annotations}]}, tmp_path)
    (config,) = [manifest for manifest in manifests if manifest["kind"] == "ConfigMap"]
    ((file, text),) = config["data"].items()
    (document,) = documents.documents(text)
    assert file == "kubeapps.1.5.yaml"
    assert document.value["metadata"] == {"name": "1.5", "namespace": "kubeapps", "annotations": annotations}
    assert document.value["spec"] == REPOSITORY["spec"]


def test_logins_lie_beside_the_repositories_and_nowhere_else(helm: str, tmp_path: Path) -> None:
    found = pods(rendered(helm, {**SECRETS, "repositorySecrets": {"existingSecret": "logins"}}, tmp_path))
    assert {name for name, pod in found.items() if "logins" in json.dumps(pod)} == {"controller", "worker"}


def test_addresses_come_out_of_secrets_alone(helm: str, tmp_path: Path) -> None:
    values = {**SECRETS, "database": {"existingSecret": "addresses", "migrationKey": "owner", "apiKey": "reader"}}
    keys = {
        component: [e["valueFrom"]["secretKeyRef"]["key"] for e in pod["containers"][0]["env"] if e["name"] == "CHARTFLEET_DATABASE_URL"]
        for component, pod in pods(rendered(helm, values, tmp_path)).items()
    }
    assert keys == {"migration": ["owner"], "controller": ["url"], "scheduler": ["url"], "worker": ["url"], "api": ["reader"]}


def test_values_their_schema_and_their_table_know_the_same_names() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    schema = json.loads((CHART / "values.schema.json").read_text())
    table = re.findall(r"^\| `(\w+)`", (CHART / "README.md").read_text(), re.MULTILINE)
    assert set(values) == set(schema["properties"]) - {"global"} == set(table)


def test_the_chart_and_the_project_have_one_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    project = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert project
    assert {chart["version"], chart["appVersion"]} == {project[1]}


def test_compose_and_the_chart_start_the_same_processes(helm: str, tmp_path: Path) -> None:
    composed = {tuple(service["command"]) for service in compose()["services"].values() if service.get("read_only")}
    charted = {tuple(pod["containers"][0]["command"]) for pod in pods(rendered(helm, SECRETS, tmp_path)).values()}
    assert composed == charted


def test_compose_holds_no_password() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    passwords = re.findall(r"PASSWORD: (.*)", text)
    assert passwords
    assert all(value.startswith("${POSTGRES_PASSWORD:?") for value in passwords)
    assert not re.search(r"://[^/\s]*:[^/\s]*@", text)


def test_compose_publishes_only_the_api_and_only_here() -> None:
    ports = {name: service["ports"] for name, service in compose()["services"].items() if "ports" in service}
    assert ports == {"api": ["127.0.0.1:8080:8080"]}


def test_compose_drops_what_our_processes_do_not_need() -> None:
    ours = [service for service in compose()["services"].values() if service["image"].endswith("chartfleet:dev")]
    assert len(ours) == 5
    for service in ours:
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["tmpfs"] == ["/tmp"]


def test_the_example_manifest_is_a_repository() -> None:
    for file in (ROOT / "repositories").iterdir():
        assert [document.value["kind"] for document in documents.documents(file.read_text())] == ["AppRepository"]


def test_the_image_runs_as_nobody_in_particular_and_compiles_its_modules() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    final = dockerfile.rsplit("\nFROM ", 1)[1]
    assert "\nUSER 65532:65532\n" in final
    assert dockerfile.count("compileall") == 2
    assert "--require-hashes -r requirements.lock" in dockerfile
    assert "PYTHONDONTWRITEBYTECODE" not in dockerfile
