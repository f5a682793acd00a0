"""From Kubeapps' controller: what it left on a cluster becomes ours, without a gap, a doubled schedule or a leftover."""

from collections.abc import Iterator
from urllib.request import urlopen

import pytest
import yaml

from cli.ports import Claims
from controller.reconcile import FINALIZER
from tests.cluster.kube import Document, Kube
from tests.conftest import SHARED, missing, until
from tests.integration.controlled import DONE, Controlled, controlled, finalizers

GOLDEN = SHARED / "data" / "kubeapps-golden" / "objects"


@pytest.fixture
def own(cluster: Kube) -> Iterator[Controlled]:
    """A controller of this test alone, not started."""
    with controlled(cluster) as made:
        yield made


def golden(case: str, own: Controlled) -> tuple[Document, Document]:
    """A resource and its CronJob as Kubeapps' controller left them, in the test's namespaces."""
    if not GOLDEN.is_dir():
        missing("the recorded objects of Kubeapps' controller", f"put them into {GOLDEN}")
    text = (GOLDEN / f"{case}.yaml").read_text()
    step = yaml.safe_load(text)["steps"][0]
    resource, [cron_job] = step["object"], step["after"]["cronjobs"]
    away = resource["metadata"]["namespace"] != "kubeapps"
    resource["metadata"] |= {"namespace": own.away if away else own.home, "finalizers": [FINALIZER]}
    metadata = cron_job["metadata"]
    cron_job |= {"apiVersion": "batch/v1", "kind": "CronJob"}
    metadata["namespace"] = own.home
    metadata["labels"]["apprepositories.kubeapps.com/repo-namespace"] = resource["metadata"]["namespace"]
    return resource, cron_job


def left_by_kubeapps(own: Controlled, case: str) -> tuple[Document, Document]:
    """Both as they are on the cluster when ours starts."""
    resource, cron_job = golden(case, own)
    made = own.kube.create(resource)
    for owner in cron_job["metadata"].get("ownerReferences", ()):
        owner["uid"] = made["metadata"]["uid"]
    namespace, name = made["metadata"]["namespace"], made["metadata"]["name"]
    cron_job["metadata"]["name"] = f"apprepo-{namespace}-sync-{name}"
    created = own.kube.create(cron_job)
    return made, own.kube.replace(created)


@pytest.mark.parametrize("case", ["chart-plain", "chart-plain-other-ns", "chart-template-chart-default"])
def test_a_cron_job_of_kubeapps_is_taken_over_where_it_stands(own: Controlled, case: str) -> None:
    resource, before = left_by_kubeapps(own, case)
    name, namespace = resource["metadata"]["name"], resource["metadata"]["namespace"]
    own.start(drop_in=True)
    after = own.cron_job(name, namespace)
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert [each["metadata"]["name"] for each in own.kube.all("cronjobs", own.home)] == [before["metadata"]["name"]]
    assert after["spec"]["schedule"] == before["spec"]["schedule"]
    writers = {entry["manager"] for entry in after["metadata"]["managedFields"] if not entry.get("subresource")}
    assert writers == {"chartfleet"}
    own.job(name, namespace=namespace)
    assert finalizers(own.get(name, namespace)) == [FINALIZER]


def test_what_kubeapps_set_and_the_resource_no_longer_asks_for_goes(own: Controlled) -> None:
    resource, before = left_by_kubeapps(own, "chart-auth-both")
    name = resource["metadata"]["name"]
    assert "AUTHORIZATION_HEADER" in str(before)
    for reference in (resource["spec"]["auth"]["header"], resource["spec"]["auth"]["customCA"]):
        own.secret(reference["secretKeyRef"]["name"], **{"authorizationHeader": "x", "ca.crt": "y", reference["secretKeyRef"]["key"]: "z"})
    own.start(drop_in=True)
    own.job(name)
    assert "AUTHORIZATION_HEADER" in str(own.cron_job(name))
    own.kube.patch("apprepositories", name, own.home, {"spec": {"auth": None}})
    own.job(name, 2)
    until("no login", lambda: "AUTHORIZATION_HEADER" not in str(own.cron_job(name)["spec"]))
    pod = own.cron_job(name)["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    assert [volume["name"] for volume in pod["volumes"]] == ["tmp"]


def test_what_somebody_else_set_on_a_cron_job_of_kubeapps_stays(own: Controlled) -> None:
    resource, before = left_by_kubeapps(own, "chart-plain")
    at = {name: before["metadata"][name] for name in ("name", "namespace")}
    own.kube.apply({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": at, "spec": {"timeZone": "Etc/UTC"}}, manager="somebody")
    own.start(drop_in=True)
    name = resource["metadata"]["name"]
    assert own.cron_job(name)["spec"]["timeZone"] == "Etc/UTC"


# What an operator looks at --------------------------------------------------------------------------------------------


def test_health_and_metrics_answer(own: Controlled) -> None:
    claims = Claims()
    port = claims.take_any()
    own.start(f"--health-port={port}")
    own.apply("seen")
    own.finish(own.job("seen"), DONE)
    own.said("seen", "Synced")

    def text(path: str) -> str:
        with urlopen(f"http://127.0.0.1:{port}{path}") as answer:
            return answer.read().decode()

    assert (text("/healthz"), text("/readyz")) == ("ok\n", "ok\n")
    metrics = text("/metrics")
    assert 'chartfleet_repositories{condition="Ready",status="True"} 1.0' in metrics
    assert 'chartfleet_reconciles_total{result="success"}' in metrics
    assert 'chartfleet_watch_events_total{resource="jobs"}' in metrics
    claims.close()
