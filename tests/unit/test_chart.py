"""What the deployment files promise: the Helm chart through the real helm, the compose file and the image as data."""

import json
import os
import re
import subprocess
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from catalog import documents
from catalog.model import SecretRef
from controller.__main__ import main
from controller.flags import job_settings
from tests.conftest import ROOT

CHART = ROOT / "charts" / "chartfleet"
SECRETS = {"database": {"existingSecret": "addresses"}, "broker": {"existingSecret": "addresses"}}
FLEET = {**SECRETS, "controller": {"mode": "directory", "backend": "celery"}}
COMMON = {"migration", "api", "controller"}
PROCESSES = {
    ("kubernetes", "kubernetes"): COMMON,
    ("kubernetes", "celery"): {*COMMON, "scheduler", "worker"},
    ("directory", "kubernetes"): COMMON,
    ("directory", "celery"): {*COMMON, "scheduler", "worker"},
}
# Verbs by resource, in alphabetical order.
FOLLOWS = {
    "apprepositories": "get list patch watch",
    "apprepositories/status": "patch",
    "apprepositories/finalizers": "update",
    "events": "create",
}
RUNS = {
    "cronjobs": "create delete get list patch watch",
    "jobs": "create delete list watch",
    "pods": "list",
    "secrets": "list watch",
    "configmaps": "list watch",
}
REPOSITORY = {
    "name": "1.5",
    "namespace": "kubeapps",
    "spec": {"url": "https://charts.example", "type": "helm", "filterRule": {"jq": '.name == $var0 # "#"', "variables": {"$var0": "yes"}}},
}


def run(helm: str, *words: str, values: dict[str, Any], directory: Path) -> subprocess.CompletedProcess[str]:
    """helm WORDS with values of ours in a file; its own state stays below `directory`."""
    file = directory / "values.json"
    file.write_text(json.dumps(values))
    return subprocess.run(
        [helm, *words, "--values", str(file)], capture_output=True, text=True, env=quiet(directory), timeout=60, check=False
    )


def quiet(directory: Path) -> dict[str, str]:
    """helm's environment, with its own state below `directory`."""
    return {**os.environ, **{f"HELM_{kind}_HOME": str(directory) for kind in ("CACHE", "CONFIG", "DATA")}}


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
    done = run(helm, "lint", "--strict", str(CHART), values={**FLEET, "repositories": [REPOSITORY]}, directory=tmp_path)
    assert done.returncode == 0, done.stdout


def test_the_chart_asks_for_its_two_secrets(helm: str, tmp_path: Path) -> None:
    for given, asked in (({}, "database.existingSecret"), ({**FLEET, "broker": {}}, "broker.existingSecret")):
        done = run(helm, "template", "fleet", str(CHART), values=given, directory=tmp_path)
        assert done.returncode != 0
        assert asked in done.stderr


def test_a_misspelt_value_is_refused(helm: str, tmp_path: Path) -> None:
    done = run(helm, "template", "fleet", str(CHART), values={**FLEET, "repositorys": []}, directory=tmp_path)
    assert done.returncode != 0
    assert "repositorys" in done.stderr


@pytest.mark.parametrize(("mode", "backend"), PROCESSES)
def test_each_combination_has_its_processes_and_every_pod_is_restricted(helm: str, tmp_path: Path, mode: str, backend: str) -> None:
    found = pods(rendered(helm, {**SECRETS, "controller": {"mode": mode, "backend": backend}}, tmp_path))
    assert set(found) == PROCESSES[mode, backend]
    for pod in found.values():
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert {"name": "tmp", "mountPath": "/tmp"} in container["volumeMounts"]


@pytest.mark.parametrize(
    ("mode", "backend", "talk"),
    [
        ("kubernetes", "kubernetes", {"controller"}),
        ("kubernetes", "celery", {"controller", "worker"}),
        ("directory", "kubernetes", {"controller"}),
        ("directory", "celery", set[str]()),
    ],
)
def test_a_token_is_where_the_api_server_is_talked_to(helm: str, tmp_path: Path, mode: str, backend: str, talk: set[str]) -> None:
    manifests = rendered(helm, {**SECRETS, "controller": {"mode": mode, "backend": backend}}, tmp_path)
    found = pods(manifests)
    assert {name for name, pod in found.items() if pod["automountServiceAccountToken"]} == talk
    accounts = {manifest["metadata"]["name"] for manifest in manifests if manifest["kind"] == "ServiceAccount"}
    assert {pod.get("serviceAccountName") for name, pod in found.items() if name in talk} == accounts
    assert {subject for _, subject, _, _ in rights(manifests)} == talk


def rights(manifests: list[dict[str, Any]]) -> list[tuple[str | None, str, str, str]]:
    """Each right that is bound: namespace (None: everywhere), whose, resource, verbs in alphabetical order."""
    roles = {(m["kind"], m["metadata"].get("namespace"), m["metadata"]["name"]): m["rules"] for m in manifests if "rules" in m}
    bindings = [m for m in manifests if m["kind"] in ("RoleBinding", "ClusterRoleBinding")]
    return [
        (namespace, subject["name"].rpartition("-")[2], resource, " ".join(sorted(rule["verbs"])))
        for binding in bindings
        for namespace in [binding["metadata"].get("namespace")]
        for subject in binding["subjects"]
        for rule in roles[binding["roleRef"]["kind"], namespace, binding["roleRef"]["name"]]
        for resource in rule["resources"]
    ]


def granted(helm: str, controller: dict[str, Any], directory: Path) -> dict[str | None, dict[str, str]]:
    """The controller's rights: verbs by resource by namespace."""
    found: dict[str | None, dict[str, str]] = {}
    for namespace, whose, resource, verbs in rights(rendered(helm, {**SECRETS, "controller": controller}, directory)):
        if whose == "controller":
            assert resource not in found.setdefault(namespace, {})
            found[namespace][resource] = verbs
    return found


def test_the_controller_may_do_what_it_needs_and_nothing_else(helm: str, tmp_path: Path) -> None:
    assert granted(helm, {}, tmp_path) == {None: FOLLOWS, "default": RUNS}
    assert granted(helm, {"watchNamespaces": ["a", "b"]}, tmp_path) == {"a": FOLLOWS, "b": FOLLOWS, "default": RUNS}
    assert granted(helm, {"mode": "directory"}, tmp_path) == {"default": RUNS}
    assert granted(helm, {"backend": "celery"}, tmp_path) == {None: {**FOLLOWS, "secrets": "list watch"}}
    assert granted(helm, {"rbac": False}, tmp_path) == {}


def test_the_rights_may_go_to_an_account_that_is_there_already(helm: str, tmp_path: Path) -> None:
    manifests = rendered(helm, {**SECRETS, "controller": {"serviceAccount": "kubeapps-controller"}}, tmp_path)
    assert not [manifest for manifest in manifests if manifest["kind"] == "ServiceAccount"]
    assert pods(manifests)["controller"]["serviceAccountName"] == "kubeapps-controller"
    subjects = [subject["name"] for manifest in manifests for subject in manifest.get("subjects", [])]
    assert set(subjects) == {"kubeapps-controller"}


def test_jobs_in_the_repositories_own_namespaces_need_rights_there(helm: str, tmp_path: Path) -> None:
    own = {"jobs": {"namespace": "repository"}}
    everywhere = rights(rendered(helm, {**SECRETS, "controller": own}, tmp_path))
    assert {(resource, verbs) for namespace, _, resource, verbs in everywhere if namespace is None} == {*FOLLOWS.items(), *RUNS.items()}
    some = granted(helm, {**own, "watchNamespaces": ["a"]}, tmp_path)
    assert some == {"a": {**FOLLOWS, **RUNS}, "default": RUNS}


def test_workers_that_follow_resources_may_read_the_secrets_that_those_name(helm: str, tmp_path: Path) -> None:
    found = rights(rendered(helm, {**SECRETS, "controller": {"backend": "celery", "watchNamespaces": ["a"]}}, tmp_path))
    assert [right for right in found if right[1] == "worker"] == [("a", "worker", "secrets", "get")]


def test_people_get_their_roles_by_aggregation(helm: str, tmp_path: Path) -> None:
    manifests = rendered(helm, SECRETS, tmp_path)
    roles = {m["metadata"]["name"].rpartition("-")[2]: m for m in manifests if m["kind"] == "ClusterRole" and ":" in m["metadata"]["name"]}
    prefix = "rbac.authorization.k8s.io/aggregate-to-"
    labels = {name: [each for each in role["metadata"]["labels"] if each.startswith(prefix)] for name, role in roles.items()}
    assert labels == {"read": [f"{prefix}view"], "write": [f"{prefix}edit"], "refresh": []}
    assert all(rule["resources"] == ["apprepositories"] for role in roles.values() for rule in role["rules"])


def test_where_resources_are_followed_a_list_of_repositories_is_refused(helm: str, tmp_path: Path) -> None:
    done = run(helm, "template", "fleet", str(CHART), values={**SECRETS, "repositories": [REPOSITORY]}, directory=tmp_path)
    assert done.returncode != 0
    assert "controller.mode=directory" in done.stderr


def flags(helm: str, values: dict[str, Any], directory: Path) -> list[str]:
    """The controller's arguments."""
    return pods(rendered(helm, {**SECRETS, **values}, directory))["controller"]["containers"][0]["args"]


def test_the_controller_is_told_how_to_run_jobs(helm: str, tmp_path: Path) -> None:
    jobs = {
        "crontab": "0 * * * *", "spread": False, "activeDeadlineSeconds": 900, "cleanupTimeout": "1h",
        "labels": {"team": "web"}, "annotations": {"note": 'a, "b"'},
    }  # fmt: skip
    given = flags(helm, {"controller": {"jobs": jobs, "watchNamespaces": ["a", "b"]}, "imagePullSecrets": [{"name": "pull"}]}, tmp_path)
    assert given == [
        "--namespace=default", "--global-repos-namespace=default", "--watch-namespaces=a,b", "--health-port=8081",
        "--repo-sync-image=localhost/chartfleet:0.1.0", "--repo-sync-cmd=/asset-syncer", "--repo-sync-image-pullsecrets=pull",
        "--database-url-secret=addresses/url", "--job-namespace=release", "--crontab=0 * * * *", "--no-spread",
        "--ttl-lifetime-afterfinished-job=3600", "--active-deadline-seconds=900", "--successful-jobs-history-limit=3",
        "--failed-jobs-history-limit=1", "--concurrency-policy=Replace", "--max-concurrent-first-syncs=10", "--cleanup-timeout=1h",
        "--custom-labels=team=web", '--custom-annotations="note=a, ""b"""',
    ]  # fmt: skip


@pytest.mark.parametrize(("mode", "backend"), PROCESSES)
def test_the_controller_understands_what_the_chart_tells_it(helm: str, tmp_path: Path, mode: str, backend: str) -> None:
    jobs = {"namespace": "repository", "cleanupTimeout": "90m", "annotations": {"note": 'a, "b"'}}
    controller = {"mode": mode, "backend": backend, "watchNamespaces": ["a", "b"], "jobs": jobs}
    container = pods(rendered(helm, {**SECRETS, "controller": controller}, tmp_path))["controller"]["containers"][0]
    read = main.make_context("controller", [*container["command"][3:], *container.get("args", [])]).params
    settings = job_settings(read, drop_in=False)
    assert (read["kubernetes"], bool(read["directory"])) == (mode == "kubernetes", mode == "directory")
    assert (read["backend"] or "celery") == backend
    if "kubernetes" in (mode, backend):
        assert settings.watch_namespaces == ("a", "b")
    if backend == "kubernetes":
        assert settings.custom_annotations == {"note": 'a, "b"'}
        assert (settings.job_namespace, settings.cleanup_timeout) == ("repository", timedelta(minutes=90))
        assert settings.database_url_secret == SecretRef("addresses", "url")


def test_a_database_as_kubeapps_has_it_is_an_address_and_a_secret_with_a_password(helm: str, tmp_path: Path) -> None:
    database = {"existingSecret": "kubeapps-postgresql", "key": "postgres-password", "host": "pg", "name": "assets"}
    manifests = rendered(helm, {**SECRETS, "database": database}, tmp_path)
    api, controller = (pods(manifests)[name]["containers"][0] for name in ("api", "controller"))
    assert api["env"][:2] == [
        {"name": "CHARTFLEET_DATABASE_URL", "value": "postgresql://postgres@pg:5432/assets"},
        {"name": "PGPASSWORD", "valueFrom": {"secretKeyRef": {"name": "kubeapps-postgresql", "key": "postgres-password"}}},
    ]
    assert [flag for flag in controller["args"] if "database" in flag] == [
        "--database-url=pg:5432", "--database-user=postgres", "--database-name=assets",
        "--database-secret-name=kubeapps-postgresql", "--database-secret-key=postgres-password",
    ]  # fmt: skip


def test_the_controller_is_probed_and_has_no_database_where_the_cluster_is_its_store(helm: str, tmp_path: Path) -> None:
    controller = pods(rendered(helm, SECRETS, tmp_path))["controller"]["containers"][0]
    assert controller["ports"] == [{"name": "health", "containerPort": 8081}]
    assert (controller["livenessProbe"]["httpGet"]["path"], controller["readinessProbe"]["httpGet"]["path"]) == ("/healthz", "/readyz")
    assert "env" not in controller
    assert controller["volumeMounts"] == [{"name": "tmp", "mountPath": "/tmp"}]


def test_repositories_become_documents_that_the_controller_reads(helm: str, tmp_path: Path) -> None:
    annotations = {"chartfleet.dev/max-seconds": "60"}
    manifests = rendered(helm, {**FLEET, "repositories": [{**REPOSITORY, "annotations": annotations}]}, tmp_path)
    (config,) = [manifest for manifest in manifests if manifest["kind"] == "ConfigMap"]
    ((file, text),) = config["data"].items()
    (document,) = documents.documents(text)
    assert file == "kubeapps.1.5.yaml"
    assert document.value["metadata"] == {"name": "1.5", "namespace": "kubeapps", "annotations": annotations}
    assert document.value["spec"] == REPOSITORY["spec"]


def test_logins_lie_beside_the_repositories_and_nowhere_else(helm: str, tmp_path: Path) -> None:
    found = pods(rendered(helm, {**FLEET, "repositorySecrets": {"existingSecret": "logins"}}, tmp_path))
    assert {name for name, pod in found.items() if "logins" in json.dumps(pod)} == {"controller", "worker"}


def test_addresses_come_out_of_secrets_alone(helm: str, tmp_path: Path) -> None:
    values = {**FLEET, "database": {"existingSecret": "addresses", "migrationKey": "owner", "apiKey": "reader"}}
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
    charted = {tuple(pod["containers"][0]["command"]) for pod in pods(rendered(helm, FLEET, tmp_path)).values()}
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
