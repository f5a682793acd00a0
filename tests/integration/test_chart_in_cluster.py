"""What the Helm chart renders, before a real API server."""

from pathlib import Path

import pytest
import yaml

from tests.cluster.fixtures import new_namespace
from tests.cluster.kube import Kube
from tests.unit.test_chart import PROCESSES, SECRETS, rendered


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
