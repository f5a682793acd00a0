"""A live object against what was applied: what the API server does to it is no difference, what others change is."""

import copy
from typing import Any

import pytest

from controller.flags import JobSettings
from controller.manifests import cron_job
from tests.comparison import covers
from tests.unit.test_manifests import desired

TEMPLATE: dict[str, Any] = {
    "spec": {
        "containers": [{"env": [{"name": "A", "value": ""}], "resources": {"requests": {"cpu": "0.5", "memory": "1024Mi"}}}],
        "hostNetwork": False,
        "tolerations": [{"key": "k"}, {"key": "l"}],
        "securityContext": {"sysctls": [], "seLinuxOptions": {}},
        "volumes": [{"name": "v", "emptyDir": {"sizeLimit": "1024Mi"}}],
    }
}
APPLIED = cron_job(desired(syncJobPodTemplate=TEMPLATE), JobSettings(), "cron", held=False)


def stored() -> dict[str, Any]:
    """The object as an API server gives it back."""
    live = copy.deepcopy(APPLIED)
    live["metadata"] |= {"uid": "x", "resourceVersion": "7", "managedFields": [{}]}
    live["metadata"]["annotations"]["other.dev/x"] = "y"
    live["spec"]["suspend"] = False
    live["status"] = {}
    pod = live["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    pod |= {"dnsPolicy": "ClusterFirst", "schedulerName": "default-scheduler"}
    del pod["securityContext"]["sysctls"], pod["hostNetwork"]
    pod["volumes"][0]["emptyDir"]["sizeLimit"] = "1Gi"
    container = pod["containers"][0]
    del container["env"][0]["value"]
    container["resources"]["requests"] = {"cpu": "500m", "memory": "1Gi"}
    pod["containers"].insert(0, {"name": "injected", "image": "sidecar:1"})
    return live


def test_what_the_api_server_and_other_writers_add_is_no_difference() -> None:
    assert covers(APPLIED, stored())
    assert covers(APPLIED, APPLIED)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("spec", "schedule"), "* * * * *"),
        (("spec", "startingDeadlineSeconds"), None),
        (("metadata", "labels", "apprepositories.kubeapps.com/repo-name"), "other"),
        (("metadata", "annotations", "chartfleet.dev/applied"), "other"),
        (("spec", "jobTemplate", "spec", "template", "spec", "containers"), []),
        (("spec", "jobTemplate", "spec", "template", "spec", "containers", 1, "image"), "other:1"),
        (("spec", "jobTemplate", "spec", "template", "spec", "containers", 1, "args"), ["sync"]),
        (("spec", "jobTemplate", "spec", "template", "spec", "containers", 1, "env", 1, "valueFrom", "secretKeyRef", "key"), "other"),
        (("spec", "jobTemplate", "spec", "template", "spec", "containers", 1, "resources", "requests", "cpu"), "501m"),
        (("spec", "jobTemplate", "spec", "template", "spec", "containers", 1, "volumeMounts"), None),
        (("spec", "jobTemplate", "spec", "template", "spec", "tolerations"), [{"key": "l"}, {"key": "k"}]),
        (("spec", "jobTemplate", "spec", "template", "spec", "tolerations"), [{"key": "k"}]),
        (("spec", "jobTemplate", "spec", "template", "spec", "automountServiceAccountToken"), True),
        (("spec", "jobTemplate", "spec", "template", "spec", "automountServiceAccountToken"), None),
        (("spec", "jobTemplate", "spec", "template", "spec", "hostNetwork"), True),
    ],
    ids=str,
)
def test_a_field_of_ours_that_somebody_changed_is_a_difference(path: tuple[str | int, ...], value: Any) -> None:
    live: Any = stored()
    inner = live
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    assert not covers(APPLIED, live)


@pytest.mark.parametrize(
    ("ours", "live", "same"),
    [
        ("1", "1000m", True),
        ("0.1", "100m", True),
        ("128974848", "123Mi", True),
        ("1e3", "1k", True),
        ("1Gi", "1G", False),
        ("1", "2", False),
        ("1", "one", False),
        (2, "2", True),
    ],
)
def test_quantities_are_compared_as_amounts(ours: Any, live: Any, same: bool) -> None:
    assert covers({"limits": {"cpu": ours}}, {"limits": {"cpu": live}}) == same


def test_texts_elsewhere_are_no_quantities() -> None:
    assert not covers({"value": "1"}, {"value": "1000m"})


def test_one_volume_may_be_mounted_twice() -> None:
    mounts = [{"name": "v", "mountPath": "/a"}, {"name": "v", "mountPath": "/b"}]
    assert covers(mounts, list(reversed(mounts)))
    assert not covers(mounts, mounts[:1])
