"""Kubeapps' golden objects and ours of the same resources, brought to one form, and what differs."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import click
import yaml
from click.testing import CliRunner, Result

from controller.desired import Desired
from controller.flags import JobSettings, job_settings, kubernetes_options
from controller.kinds.apprepository import parse
from controller.kinds.fields import InvalidDocument
from controller.manifests import clean_up_job, cron_job, sync_job
from controller.names import clean_up_name, cron_job_name, one_off_name
from tests.conftest import SHARED

OBJECTS = SHARED / "data/kubeapps-golden/objects"
MISSING = "missing"
GENERATED = "<generated>"
# What the API server writes where nobody says anything: taken away on both sides.
DEFAULTS: dict[str, tuple[Any, ...]] = {
    "backoffLimit": (6,),
    "completionMode": ("NonIndexed",),
    "completions": (1,),
    "defaultMode": (420,),
    "dnsPolicy": ("ClusterFirst",),
    "imagePullPolicy": ("IfNotPresent",),
    "manualSelector": (False,),
    "parallelism": (1,),
    "podReplacementPolicy": ("TerminatingOrFailed",),
    "schedulerName": ("default-scheduler",),
    "suspend": (False,),
    "terminationGracePeriodSeconds": (30,),
    "terminationMessagePath": ("/dev/termination-log",),
    "terminationMessagePolicy": ("File",),
}
# And what it writes for itself, whatever the value.
ADDED = {
    "batch.kubernetes.io/controller-uid",
    "batch.kubernetes.io/job-name",
    "controller-uid",
    "generateName",
    "job-name",
    "selector",
    "serviceAccount",
}
IDENTITIES = ("mountPath", "name")


@dataclass(frozen=True)
class Difference:
    """`path` in the object, "" for the whole of it; a side that has nothing there is MISSING."""

    case: str
    kind: str
    path: str
    kubeapps: Any
    ours: Any


@dataclass(frozen=True)
class Step:
    """A change of a case, the resource after it, and the objects of its controller's successful writes."""

    case: str
    do: str
    settings: JobSettings
    resource: dict[str, Any]
    cron_jobs: list[dict[str, Any]]
    jobs: list[dict[str, Any]]
    refused: frozenset[str]

    @property
    def name(self) -> str:
        return f"{self.case}: {self.do}"


def settings_of(flags: list[str], environment: Mapping[str, str] | None = None) -> tuple[JobSettings | None, Result]:
    """The settings of a command line in drop-in mode, None if it is refused."""
    found: list[JobSettings] = []

    @click.command()
    @kubernetes_options
    def main(**given: Any) -> None:
        found.append(job_settings(given, drop_in=True))

    result = CliRunner().invoke(main, flags, env=dict(environment or {}))
    return (found[0] if found else None), result


@cache
def loaded(path: Path) -> Any:
    return yaml.load(path.read_bytes(), yaml.CSafeLoader)


def table(name: str) -> list[dict[str, Any]]:
    return loaded(OBJECTS / f"table-{name}.yaml")["rows"]


def steps(path: Path) -> Iterator[Step]:
    case = loaded(path)
    settings, _ = settings_of(case["flags"])
    assert settings
    given: dict[str, Any] = case["steps"][0]["object"]
    for step in case["steps"]:
        after = step.get("after") or {}
        given = resource_after(given, after.get("apprepository"))
        calls = step.get("controllerCalls") or []
        wrote = any(call["resource"] == "cronjobs" and call["verb"] != "delete" and call["code"] < 400 for call in calls)
        refused = frozenset(call["resource"] for call in calls if call["code"] >= 400)
        if step.get("refused"):
            continue  # by the resource's own schema: nobody makes anything of it
        yield Step(path.stem, step["do"], settings, given, (after.get("cronjobs") or []) * wrote, after.get("newJobs") or [], refused)


def resource_after(given: dict[str, Any], stored: dict[str, Any] | None) -> dict[str, Any]:
    """The resource with what is stored, but the Pod template as its user gave it: Kubeapps' controller writes into that."""
    if stored is None:
        return given
    template = {"syncJobPodTemplate": given["spec"].get("syncJobPodTemplate")}
    return {**given, "spec": {**stored["spec"], **template}}


def desired_of(resource: Mapping[str, Any]) -> Desired:
    """What a resource asks for, as one of the cluster. Raises InvalidDocument."""
    return replace(parse(resource, lambda *_: "hash", "cluster"), uid="<uid>")


def differences(step: Step) -> Iterator[Difference]:
    """All objects of a step against ours; an object that Kubernetes refused Kubeapps is MISSING on its side."""
    try:
        desired = desired_of(step.resource)
    except InvalidDocument as error:
        yield Difference(step.name, "AppRepository", "", "taken", f"InvalidDocument: {error}")
        return
    name = cron_job_name(desired.key)
    cron = cron_job(desired, step.settings, name, held=False)
    sync = sync_job(desired, step.settings, one_off_name(name, "asked", "handled"), "first")
    clean_name = clean_up_name(desired.key, desired.uid, 1)
    clean = clean_up_job(desired.key, desired.uid, step.settings, clean_name, 1, desired.pod_template)
    for golden in step.cron_jobs:
        yield from compared(step.name, "CronJob", golden, cron)
    for golden in step.jobs:
        is_clean_up = "-cleanup-" in golden["metadata"]["generateName"]
        yield from compared(step.name, "clean-up Job" if is_clean_up else "sync Job", golden, clean if is_clean_up else sync)
    for kind, ours in (("cronjobs", cron), ("jobs", sync)):
        if kind in step.refused:
            yield Difference(step.name, ours["kind"], "", MISSING, ours)


def compared(case: str, kind: str, kubeapps: Any, ours: Any) -> Iterator[Difference]:
    theirs_flat, ours_flat = dict(leaves(kubeapps)), dict(leaves({name: ours[name] for name in ("metadata", "spec")}))
    for path in sorted(theirs_flat.keys() | ours_flat.keys()):
        one, other = theirs_flat.get(path, MISSING), ours_flat.get(path, MISSING)
        if one != other:
            yield Difference(case, kind, path, one, other)


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Path and value of all that says something: no defaults, nothing empty; items by their names, texts of a list together."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if name not in ADDED and inner not in DEFAULTS.get(name, ()):
                yield from leaves(inner, f"{path}/{name}" if path else name)
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        seen: dict[str, int] = {}
        for number, item in enumerate(value):
            label = next((str(item[field]) for field in IDENTITIES if field in item), str(number))
            seen[label] = seen.get(label, 0) + 1
            yield from leaves(item, f"{path}[{label}]" + "'" * (seen[label] - 1))
    elif value not in (None, "", [], {}):
        yield path, value
