"""What the Helm chart renders, before a real API server."""

import subprocess
from pathlib import Path

import pytest
import yaml

from tests.cluster.fixtures import new_namespace
from tests.cluster.kube import Kube
from tests.unit.test_chart import CHART, PROCESSES, SECRETS, quiet, rendered, run


@pytest.mark.parametrize(("mode", "backend"), PROCESSES)
@pytest.mark.parametrize("jobs", ["release", "repository"])
def test_the_api_server_takes_all_of_it_and_no_pod_violates_restricted(
    cluster: Kube, helm: str, tmp_path: Path, mode: str, backend: str, jobs: str
) -> None:
    controller = {"mode": mode, "backend": backend, "jobs": {"namespace": jobs}}
    manifests = rendered(
        helm, {**SECRETS, "controller": controller, "extraEnv": [{"name": "HTTPS_PROXY", "value": "http://p:1"}]}, tmp_path
    )
    with new_namespace(cluster, **{"pod-security.kubernetes.io/warn": "restricted"}) as namespace:
        done = cluster.kubectl(
            "create",
            "-n",
            namespace,
            "--dry-run=server",
            "--validate=strict",
            "-f",
            "-",
            stdin=yaml.safe_dump_all([{**m, "metadata": {k: v for k, v in m["metadata"].items() if k != "namespace"}} for m in manifests]),
        )
    assert len(done.stdout.splitlines()) == len(manifests)
    assert "violate" not in done.stderr


def test_a_release_may_change_how_it_works_and_goes_without_a_trace(cluster: Kube, namespace: str, helm: str, tmp_path: Path) -> None:
    where = (f"--kubeconfig={cluster.kubeconfig}", f"--namespace={namespace}", "fleet")
    for verb, (mode, backend) in zip(("install", "upgrade", "upgrade", "upgrade"), PROCESSES, strict=True):
        values = {**SECRETS, "controller": {"mode": mode, "backend": backend}}
        done = run(helm, verb, *where, str(CHART), "--no-hooks", values=values, directory=tmp_path)
        assert done.returncode == 0, done.stderr
        found = cluster.all("deployments", namespace)
        assert {each["metadata"]["labels"]["app.kubernetes.io/component"] for each in found} == PROCESSES[mode, backend] - {"migration"}
    subprocess.run([helm, "uninstall", *where, "--no-hooks"], env=quiet(tmp_path), check=True, capture_output=True, timeout=60)
    roles = [role["metadata"]["name"] for role in cluster.all("clusterroles")]
    assert not [name for name in roles if namespace in name]
