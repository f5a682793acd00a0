"""Clusters for tests: the run's own, one that runs Pods, and one of a test alone.

CHARTFLEET_TEST_KUBECONFIG=/path/to/kubeconfig (kind, k3d, any cluster that may be written to) stands in for the first two.
"""

import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster import build, node
from tests.cluster.cluster import Cluster
from tests.cluster.kube import Kube, Refused
from tests.cluster.sharing import end, shared
from tests.conftest import ROOT, missing, until
from tests.image import build as images

CRDS = ROOT / "charts" / "chartfleet" / "crds"


@pytest.fixture(scope="session")
def run_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same for all processes of a run."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def cluster(run_directory: Path) -> Iterator[Kube]:
    """A Kubernetes with the project's CRDs, shared by all tests: each keeps to its `namespace`. There is no node: Pods stay Pending."""
    with asked(run_directory / "cluster") as kube:
        apply_crds(kube)
        yield kube


@pytest.fixture(scope="session")
def pod_cluster(run_directory: Path) -> Iterator[Kube]:
    """The same with a node: Pods run. Theirs is `pod_namespace`."""
    if "CHARTFLEET_TEST_KUBECONFIG" not in os.environ:
        if lack := node.unable():
            pytest.skip(f"running Pods needs {lack}")
        if lack := node.missing():
            missing(lack, node.PACKAGES)
    with asked(run_directory / "pod-cluster", "--node") as kube:
        apply_crds(kube)
        yield kube


@pytest.fixture
def host(pod_cluster: Kube) -> str:
    """The address at which Pods of `pod_cluster` reach this machine: what `relayed` of tests/fakes/relay.py listens on."""
    if "CHARTFLEET_TEST_KUBECONFIG" in os.environ:
        pytest.skip("the Pods of another cluster do not reach this machine")
    return node.HOST


@pytest.fixture(scope="session")
def image(pod_cluster: Kube) -> str:
    """The name of the product's image, which `pod_cluster` has; CHARTFLEET_TEST_IMAGE names the one of another cluster."""
    if "CHARTFLEET_TEST_KUBECONFIG" in os.environ:
        return os.environ.get("CHARTFLEET_TEST_IMAGE") or pytest.skip(
            "no image: set CHARTFLEET_TEST_IMAGE to one that the cluster can have"
        )
    if lack := images.missing():
        missing(lack, images.PACKAGES)
    name, archive = images.build()
    node.load(pod_cluster.kubeconfig.parent, name, archive)
    return name


@pytest.fixture
def own_cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A cluster of this test alone, without a node and CRDs, whose parts it may stop: `own_cluster.api_server.stop()`, `.start()`."""
    needs_devcluster()
    started = Cluster(tmp_path / "cluster")
    try:
        started.start()
        yield started
    finally:
        end(started)


@pytest.fixture
def namespace(cluster: Kube) -> Iterator[str]:
    """A namespace of `cluster`, gone after the test with all that is in it."""
    with new_namespace(cluster) as name:
        yield name


@pytest.fixture
def pod_namespace(pod_cluster: Kube) -> Iterator[str]:
    """A namespace of `pod_cluster`, gone after the test with all that is in it."""
    with new_namespace(pod_cluster) as name:
        yield name


@contextmanager
def asked(directory: Path, *options: str) -> Iterator[Kube]:
    """The cluster that the environment names, or else the run's own."""
    if given := os.environ.get("CHARTFLEET_TEST_KUBECONFIG"):
        kube = Kube(Path(given))
        yield kube
    else:
        needs_devcluster()
        with shared(directory, *options) as running:
            kube = Kube(running / "admin.kubeconfig", running / "audit.log")
            yield kube
    kube.close()


def needs_devcluster() -> None:
    if not build.place().exists():
        missing("the tests' Kubernetes", f"{build.REMEDY}, or set CHARTFLEET_TEST_KUBECONFIG")


def apply_crds(kube: Kube, *paths: Path) -> None:
    """Make the CRDs known, by default the project's own, and wait until the API server serves them."""
    for path in paths or sorted(CRDS.glob("*.yaml")):
        [crd] = kube.apply(yaml.safe_load(path.read_text()))
        until(f"{crd['metadata']['name']} served", lambda: is_served(kube, crd))  # noqa: B023 - called at once


def is_served(kube: Kube, crd: Mapping[str, Any]) -> bool:
    """Established, and its storage there: the one does not mean the other."""
    conditions = kube.get("customresourcedefinitions", crd["metadata"]["name"]).get("status", {}).get("conditions") or ()  # null at first
    established = any(condition["type"] == "Established" and condition["status"] == "True" for condition in conditions)
    spec = crd["spec"]
    return established and kube.answers(f"/apis/{spec['group']}/{spec['versions'][0]['name']}/{spec['names']['plural']}")


@contextmanager
def new_namespace(kube: Kube, **labels: str) -> Iterator[str]:
    """A namespace; at the end nothing in it holds up its deletion, which is not waited for."""
    name = f"test-{secrets.token_hex(4)}"
    kube.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
    yield name
    kube.delete("namespaces", name)
    for repository in kube.all("apprepositories", name) if kube.serves("apprepositories") else ():
        if repository["metadata"].get("finalizers"):
            with suppress(Refused):  # gone meanwhile
                kube.patch("apprepositories", repository["metadata"]["name"], name, {"metadata": {"finalizers": None}})
