"""What we make of a resource, before a real API server: nothing is refused, and what it gives back is still what was applied."""

from dataclasses import replace
from typing import Any

import pytest

from catalog.cron import cron_problem
from catalog.model import SecretRef
from controller.desired import Desired
from controller.flags import JobSettings
from controller.kinds.apprepository import parse
from controller.manifests import clean_up_job, cron_job, sync_job
from controller.names import clean_up_name, cron_job_name, one_off_name
from tests.cluster.fixtures import new_namespace
from tests.cluster.kube import APPLY, Kube, Refused
from tests.comparison import covers
from tests.conformance.kubeapps_objects import OBJECTS, loaded
from tests.conftest import missing, until
from tests.unit.test_schedule import REFUSED, TAKEN

AUTH = {
    "header": {"secretKeyRef": {"name": "login", "key": "token"}},
    "customCA": {"secretKeyRef": {"name": "my.ca", "key": "ca.crt"}},
}
MOUNT = {"name": "v", "mountPath": "/usr/local/share/ca-certificates"}
TEMPLATES: dict[str, dict[str, Any]] = {
    "none": {},
    "null": {"metadata": {"creationTimestamp": None}, "spec": {"containers": None}},
    "empties": {"spec": {"containers": [{"env": [], "resources": {}}], "securityContext": {"sysctls": []}, "hostNetwork": False}},
    "root": {"spec": {"containers": [{"securityContext": {"runAsUser": 0}}]}},
    "capability": {"spec": {"containers": [{"securityContext": {"capabilities": {"add": ["SYS_ADMIN"]}}}]}},
    "doubles": {
        "spec": {
            "containers": [{"env": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}, {"name": "DB_PASSWORD", "value": "x"}]}],
            "imagePullSecrets": [{"name": "own"}, {"name": "own"}],
        }
    },
    "own ca": {"spec": {"containers": [{"volumeMounts": [MOUNT]}], "volumes": [{"name": "v", "emptyDir": {"sizeLimit": "1024Mi"}}]}},
    "own tmp": {
        "spec": {"containers": [{"volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}]}], "volumes": [{"name": "tmp", "emptyDir": {}}]}
    },
    "volume of that name": {"spec": {"volumes": [{"name": "tmp", "emptyDir": {}}]}},
    "resources": {"spec": {"containers": [{"resources": {"limits": {"memory": "65536Ki", "cpu": "0.5"}}}]}},
    "others": {
        "spec": {
            "containers": [{}, {"name": "side", "image": "x", "ports": [{"containerPort": 1}]}],
            "initContainers": [{"name": "first", "image": "x", "restartPolicy": "Always"}],
            "tolerations": [{"key": "k", "operator": "Exists"}],
            "terminationGracePeriodSeconds": 0,
            "activeDeadlineSeconds": 60,
        }
    },
}


def made_of(desired: Desired, settings: JobSettings) -> list[dict[str, Any]]:
    """CronJob, sync Job and clean-up Job."""
    name = cron_job_name(desired.key)
    return [
        cron_job(desired, settings, name, held=True),
        sync_job(desired, settings, one_off_name(name, "b", "a"), "first"),
        clean_up_job(desired.key, "u-1", settings, clean_up_name(desired.key, "u-1", 1), 1, desired.pod_template),
    ]


def applied(cluster: Kube, manifest: dict[str, Any]) -> dict[str, Any]:
    """The object as the API server would store it. Raises Refused."""
    place = cluster.path(f"batch/v1/{manifest['kind']}", manifest["metadata"]["namespace"], manifest["metadata"]["name"])
    return cluster.request("PATCH", f"{place}?fieldManager=tests&force=true&dryRun=All", manifest, APPLY)


def desired_of(namespace: str, name: str = "demo", **spec: Any) -> Desired:
    metadata = {"name": name, "namespace": namespace, "uid": "u-1", "annotations": {"chartfleet.dev/client-certificate": "mine"}}
    document = {"metadata": metadata, "spec": {"type": "helm", "url": "https://charts.example.com", **spec}}
    return parse(document, lambda *_: "hash", "cluster")


@pytest.mark.parametrize("template", TEMPLATES)
def test_nothing_is_refused_whatever_the_template_and_all_of_it_stands(cluster: Kube, namespace: str, template: str) -> None:
    settings = JobSettings(
        namespace=namespace,
        pull_secrets=("s1", " s2"),
        database_url_secret=SecretRef("pg", "url"),
        active_deadline_seconds=0,
        ttl_seconds=0,
        custom_annotations={"link": "https://x/?a=b"},
    )
    for manifest in made_of(desired_of(namespace, auth=AUTH, syncJobPodTemplate=TEMPLATES[template]), settings):
        live = applied(cluster, manifest)
        assert covers(manifest, live)
        assert not covers(manifest, {**live, "spec": {}})


@pytest.mark.parametrize("name", ["a", "n" * 64, "abcdefg.hijklmnopqrstuvw", "abcde.ghijklmnopqrstu", "x." * 100 + "y"])
def test_no_name_of_a_resource_is_too_odd(cluster: Kube, namespace: str, name: str) -> None:
    for manifest in made_of(desired_of(namespace, name), JobSettings(namespace=namespace)):
        assert covers(manifest, applied(cluster, manifest))


def test_what_kubeapps_resources_ask_for_is_taken(cluster: Kube, namespace: str) -> None:
    if not OBJECTS.is_dir():
        missing("the recorded objects of Kubeapps' controller", f"put them into {OBJECTS}")
    refused: dict[str, str] = {}
    for path in sorted(OBJECTS.glob("c*.yaml")):
        document = loaded(path)["steps"][0]["object"]
        if path.stem in ("chart-no-type", "chart-type-unknown", "chart-url-empty"):
            continue
        wanted = parse({**document, "metadata": {**document["metadata"], "namespace": namespace}}, lambda *_: "hash", "cluster")
        try:
            for manifest in made_of(replace(wanted, uid="u-1"), JobSettings(namespace=namespace)):
                assert covers(manifest, applied(cluster, manifest)), path.stem
        except Refused as error:
            refused[path.stem] = str(error)
    assert refused.keys() == {"chart-template-invalid", "chart-template-unknown-field"}, refused
    assert 'volumeMounts[0].name: Not found: "nope"' in refused["chart-template-invalid"]
    assert "noSuchField" in refused["chart-template-unknown-field"]


def test_a_pod_of_ours_is_admitted_where_pod_security_is_restricted(cluster: Kube) -> None:
    with new_namespace(cluster, **{"pod-security.kubernetes.io/enforce": "restricted"}) as namespace:
        create = f"{cluster.path('pods', namespace)}?dryRun=All"
        until("the namespace has its ServiceAccount", lambda: cluster.find("serviceaccounts", "default", namespace))
        for manifest in made_of(desired_of(namespace, auth=AUTH), JobSettings(namespace=namespace))[1:]:
            metadata = {"name": "demo", "namespace": namespace}
            pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": manifest["spec"]["template"]["spec"]}
            cluster.request("POST", create, pod)
            with pytest.raises(Refused, match="restricted"):
                cluster.request("POST", create, {**pod, "spec": {**pod["spec"], "hostNetwork": True}})


def test_kubernetes_takes_the_schedules_that_we_say_it_takes(cluster: Kube, namespace: str) -> None:
    manifest = made_of(desired_of(namespace), JobSettings(namespace=namespace))[0]
    for text in (*TAKEN, *REFUSED):
        manifest["spec"]["schedule"] = text
        try:
            applied(cluster, manifest)
            refused = ""
        except Refused as error:
            refused = str(error)
        if text not in ("@every 5m", "1, * * * *"):  # Kubeapps uses the default for the one; the other is a slip of the parser's
            assert bool(refused) == bool(cron_problem(text)), (text, refused)
