"""Objects that Kubeapps' own controller made on a real API server, against ours of the same resources: every difference is listed here.

Compared are the CronJobs, one-off Jobs and clean-up Jobs of its writes, and its tables of names, intervals and flags. What it writes when,
and what it leaves behind, is shown on a real API server elsewhere.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from catalog.model import RepositoryKey
from catalog.schedule import DEFAULT_CRONTAB, cron_job_schedule
from controller.flags import JobSettings
from controller.manifests import cron_job, sync_job
from controller.names import clean_up_prefix, cron_job_name, label_value
from tests.conformance.kubeapps_objects import (
    GENERATED,
    MISSING,
    OBJECTS,
    Difference,
    compared,
    desired_of,
    differences,
    settings_of,
    steps,
    table,
)

pytestmark = pytest.mark.skipif(not OBJECTS.is_dir(), reason="the objects that Kubeapps made are not beside this checkout")

CASES = sorted(path.stem for path in OBJECTS.glob("c*.yaml"))
# Kubernetes refuses theirs and ours alike: the mount of a volume that there is not.
REFUSED_ALIKE = {"chart-template-invalid"}


def adds(*paths: str) -> Callable[[Difference], bool]:
    """Only ours has it, below one of these words of its path."""
    return lambda d: d.kubeapps == MISSING and any(path in d.path for path in paths)


def is_doubled(d: Difference) -> bool:
    """A variable of the same name stands before, or behind."""
    return "/env[" in d.path and ("]'" in d.path or d.path.rpartition("/env[")[2].startswith("DB_PASSWORD]/"))


@dataclass(frozen=True)
class Listed:
    """A difference that is meant; docs/kubeapps.md has the same names, reasons and tests."""

    reason: str
    shown_by: str
    explains: Callable[[Difference], bool]


LISTED = {
    "OurAnnotations": Listed(
        "`chartfleet.dev/…` on CronJobs and Jobs: which repository they serve, what was applied and why",
        "test_annotations_name_the_repository_its_source_and_what_is_asked_for",
        adds("metadata/annotations/chartfleet.dev/"),
    ),
    "Options": Listed(
        "`CHARTFLEET_OPTIONS` carries what Kubeapps' arguments cannot say; its own syncer does not look at it",
        "test_what_is_newer_travels_in_one_variable_and_names_no_secret",
        adds("/env[CHARTFLEET_OPTIONS]/"),
    ),
    "NeverRestarted": Listed(
        "syncs have `restartPolicy: Never` and a pod failure policy: an error that trying again does not mend ends the Job at once",
        "test_a_pod_is_never_restarted_and_an_error_that_stays_ends_its_job",
        lambda d: d.ours == "Never" or adds("spec/podFailurePolicy/")(d),
    ),
    "JobNames": Listed(
        "a Job's name ends with a hash of what it is for, instead of five random characters: two controllers make one Job",
        "test_a_change_and_the_way_back_are_jobs_of_their_own",
        lambda d: d.path == "metadata/name" and d.ours.startswith(d.kubeapps.removesuffix(GENERATED)),
    ),
    "StartingDeadline": Listed(
        "`startingDeadlineSeconds: 3600`: a CronJob that missed a hundred ticks starts again",
        "test_a_cron_job_that_missed_an_hour_of_ticks_starts_again",
        adds("spec/startingDeadlineSeconds"),
    ),
    "Restricted": Listed(
        "where the template is silent the container passes Pod Security `restricted`, has `/tmp` to itself and no token",
        "test_a_pod_without_a_template_passes_pod_security_restricted",
        adds("]/securityContext/", "/automountServiceAccountToken", "/volumeMounts[/tmp]/", "/volumes[tmp]/"),
    ),
    "Resources": Listed(
        "where the template is silent the container asks for 50m of CPU and 96Mi, and gets at most 512Mi",
        "test_resources_are_the_templates_or_ours_and_never_a_mixture",
        adds("]/resources/"),
    ),
    "TemplateAnnotations": Listed(
        "the template's annotations stay; Kubeapps drops them",
        "test_a_templates_annotations_and_labels_stay_beside_ours",
        adds("template/metadata/annotations/"),
    ),
    "OnceEach": Listed(
        "a variable stands once, ours in the template's place; Kubeapps adds it anew to the template it keeps, up to six times",
        "test_a_variable_stands_once_and_ours_replaces_the_templates",
        is_doubled,
    ),
    "JobMetadata": Listed(
        "a Job has its Pod's labels and our annotations; Kubeapps swaps the two, and an annotation that is no label stops all syncs",
        "test_labels_are_labels_and_annotations_are_annotations_on_every_object",
        lambda d: d.kind.endswith("Job") and d.kind != "CronJob" and d.path.startswith(("metadata/labels/", "metadata/annotations/")),
    ),
    "CleanUpSecrets": Listed(
        "a clean-up names no Secret of the repository: with that gone, Kubeapps' Pod waits for ever",
        "test_a_clean_up_names_no_secret_of_the_repository",
        lambda d: (
            d.kind == "clean-up Job" and d.ours == MISSING and any(word in d.path for word in ("AUTHORIZATION", "ca-cert", "/volumes["))
        ),
    ),
    "CleanUpKept": Listed(
        "a clean-up Job is kept for five minutes at least, so that its end is seen",
        "test_a_clean_up_is_kept_until_its_end_was_seen",
        lambda d: (d.kind, d.path, d.ours) == ("clean-up Job", "spec/ttlSecondsAfterFinished", 300),
    ),
    "MountedOnce": Listed(
        "a template with a container and a CA makes valid Jobs; Kubeapps mounts the CA twice, and its Jobs are refused",
        "test_a_container_and_a_custom_ca_make_valid_jobs_however_often_they_are_built",
        lambda d: d.case.startswith("chart-template-chart-default-with-ca:") and (d.kind, d.path) == ("Job", ""),
    ),
    "ValidNames": Listed(
        "a name cut at a dot, a label over 63 characters and a volume named with a dot get a hash of ours; Kubeapps' are refused",
        "test_every_name_is_valid_and_short_enough",
        lambda d: d.kubeapps == MISSING and d.case.startswith(("chart-auth-ca-dotted:", "chart-dbname-label-long:", "names:")),
    ),
    "UnknownFields": Listed(
        "a field that Pods do not have is left for the API server to refuse, and said; Kubeapps drops it silently",
        "test_what_says_nothing_or_is_not_ours_to_judge_is_taken",
        adds("/noSuchField/"),
    ),
    "NoUrl": Listed(
        "an empty `url` is refused with its path; Kubeapps makes Jobs that fail",
        "test_a_wrong_field_is_named_by_its_path",
        lambda d: d.case == "chart-url-empty: apply" and "spec.url" in d.ours,
    ),
    "IntervalSaid": Listed(
        "what Kubernetes does not take as a schedule is `InvalidSchedule`, and the default is used; with Kubeapps nothing is ever synced",
        "test_an_interval_that_kubernetes_cannot_keep_gives_the_default_and_is_said",
        lambda d: d.kind == "interval" and d.kubeapps is None and d.ours[0] == DEFAULT_CRONTAB and bool(d.ours[1]),
    ),
    "IntervalBlanks": Listed(
        "blanks around a duration are passed over; Kubeapps uses the default",
        "test_blanks_around_a_duration_are_passed_over",
        lambda d: d.kind == "interval" and d.path != d.path.strip() and d.ours == ("*/15 * * * *", None),
    ),
    "NeverComes": Listed(
        "a date that never comes is `InvalidSchedule`, and the default is used; Kubeapps' CronJob never starts",
        "test_a_date_that_never_comes_gives_the_default_and_is_said",
        lambda d: (d.kind, d.path) == ("interval", "0 0 31 2 *") and bool(d.ours[1]),
    ),
    "UsageError": Listed(
        "a flag that cannot be used ends the start with exit code 2 and its name; Kubeapps panics, exits with 1, or never syncs",
        "test_a_flag_that_cannot_be_used_is_a_usage_error_that_names_it",
        lambda d: d.kind == "flags" and d.ours == "exit 2" and d.kubeapps in ("exit 1", "exit 2 with a panic", "nothing is made"),
    ),
    "WholeAnnotations": Listed(
        "an annotation keeps what follows a second `=`; Kubeapps cuts it off",
        "test_an_annotation_keeps_all_of_its_value",
        lambda d: d.path.endswith("annotations/link") and d.ours == f"{d.kubeapps}=b",
    ),
    "NoBeta": Listed(
        "`--v1-beta1-cron-jobs` is accepted and ignored; Kubeapps waits for ever where batch/v1beta1 is gone",
        "test_v1beta1_is_accepted_ignored_and_said",
        lambda d: d.case.startswith("v1-beta1-cron-jobs") and d.kubeapps == "nothing is made",
    ),
}


def explanations(found: Iterable[Difference]) -> Counter[str]:
    """How often each listed difference occurs; what none explains stands as itself."""
    return Counter(next((name for name, listed in LISTED.items() if listed.explains(each)), str(each)[:500]) for each in found)


def unlisted(found: Iterable[Difference]) -> list[str]:
    return sorted(explanations(found).keys() - LISTED)


def of_case(name: str) -> Iterator[Difference]:
    for step in steps(OBJECTS / f"{name}.yaml"):
        if name not in REFUSED_ALIKE:
            yield from differences(step)


@pytest.mark.parametrize("case", CASES)
def test_the_objects_are_kubeapps_own_but_for_what_is_listed(case: str) -> None:
    assert unlisted(of_case(case)) == []


def test_what_kubernetes_refuses_of_theirs_and_ours_alike_is_the_same_fault() -> None:
    [step, _] = steps(OBJECTS / "chart-template-invalid.yaml")
    pod = cron_job(desired_of(step.resource), step.settings, "c", held=False)["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    assert step.refused == {"cronjobs"}
    assert "nope" in {mount["name"] for mount in pod["containers"][0]["volumeMounts"]} - {volume["name"] for volume in pod["volumes"]}


# Tables ---------------------------------------------------------------------------------------------------------------


def of_names() -> Iterator[Difference]:
    for row in table("names"):
        key = RepositoryKey(row["namespace"], row["name"])
        for kind, kubeapps, ours in (
            ("CronJob", row["cronJob"], cron_job_name(key)),
            ("sync Job", [name.removesuffix("-") for name in row["oneOffGenerateName"]], cron_job_name(key)),
            ("clean-up Job", row["cleanupGenerateName"], clean_up_prefix(key)),
        ):
            if kubeapps != [ours]:
                yield Difference(f"names: {key}", kind, "metadata/name", kubeapps[0] if kubeapps else MISSING, ours)


def test_the_names_are_kubeapps_own_but_for_what_is_listed() -> None:
    found = list(of_names())
    assert unlisted(found) == []
    # Refused by Kubernetes for its label alone, and once because of the clean-up's name alone: the other names are Kubeapps' here too.
    assert {each.case for each in found} == {
        "names: foo/" + "b" * 64,
        "names: foo/abcdefg.hijklmnopqrstuvw",
        "names: foo/abcde.ghijklmnopqrstu",
    }
    assert label_value("b" * 64) != "b" * 64


def of_intervals() -> Iterator[Difference]:
    for row in table("intervals"):
        text, wrong = cron_job_schedule(row["interval"])
        if (text, bool(wrong)) != (row["schedule"], "controllerSays" in row):
            yield Difference("intervals", "interval", row["interval"], row["schedule"], (text, wrong))


def test_the_schedules_are_kubeapps_own_but_for_what_is_listed() -> None:
    assert len(table("intervals")) == 64
    assert explanations(of_intervals()) == {"IntervalSaid": 13, "IntervalBlanks": 1, "NeverComes": 1}


def of_flags() -> Iterator[Difference]:
    for row in table("flags"):
        environment = {"OCI_CATALOG_URL": "cat:1"} if "OCI_CATALOG_URL" in row["what"] else {}
        settings, result = settings_of(row["flags"], environment)
        kubeapps, ours = behaviour(row), "runs" if settings else f"exit {result.exit_code}"
        if kubeapps != ours:
            yield Difference(row["what"], "flags", "", kubeapps, ours)
        elif settings:
            yield from of_settings(row, settings)


def behaviour(row: dict[str, Any]) -> str:
    """What became of Kubeapps' controller: `kubeapps` and `team-f` are what it made in these namespaces."""
    if row["exitedAtStart"] is not None:
        return f"exit {row['exitedAtStart']}" + " with a panic" * ("panic" in str(row["panicOrError"]))
    return "runs" if row["kubeapps"]["cronJob"] else "nothing is made"


def of_settings(row: dict[str, Any], settings: JobSettings) -> Iterator[Difference]:
    """Objects of one repository in `kubeapps` and of one in `team-f`."""
    for namespace in ("kubeapps", "team-f"):
        watched = not settings.watch_namespaces or namespace in settings.watch_namespaces
        if watched != bool(row[namespace]["cronJob"]):
            yield Difference(row["what"], "flags", "watched", not watched, watched)
        for golden in row[namespace]["cronJob"]:
            args = golden["container"]["args"]
            resource = {"metadata": {"namespace": namespace, "name": args[-3]}, "spec": {"type": args[-1], "url": args[-2]}}
            desired = desired_of(resource)
            cron = cron_job(desired, settings, cron_job_name(desired.key), held=False)
            yield from compared(row["what"], "CronJob", excerpt_as_object(golden), with_excerpted_fields(cron))
            job = {"metadata": {name: sync_job(desired, settings, "j", "first")["metadata"][name] for name in ("labels", "annotations")}}
            for each in row[namespace]["job"] or [{}]:
                yield from compared(row["what"], "sync Job", {"metadata": each}, {**job, "spec": {}})


def excerpt_as_object(golden: dict[str, Any]) -> dict[str, Any]:
    """A row of the table as the CronJob that it is an excerpt of."""
    spec = {name: golden[name] for name in ("schedule", "concurrencyPolicy", "successfulJobsHistoryLimit", "failedJobsHistoryLimit")}
    pod = {"metadata": golden["podMetadata"], "spec": {"containers": [golden["container"]]}}
    job = {"spec": {**golden["jobTemplate"], "template": pod}}
    return {"metadata": {name: golden[name] for name in ("labels", "annotations")}, "spec": {**spec, "jobTemplate": job}}


def with_excerpted_fields(cron: dict[str, Any]) -> dict[str, Any]:
    """Our CronJob with the fields that the table's excerpts have."""
    spec, job = cron["spec"], cron["spec"]["jobTemplate"]["spec"]
    pod, [container, *_] = job["template"]["metadata"], job["template"]["spec"]["containers"]
    return excerpt_as_object(
        {
            **{name: cron["metadata"][name] for name in ("labels", "annotations")},
            **spec,
            "jobTemplate": {name: job.get(name) for name in ("ttlSecondsAfterFinished", "activeDeadlineSeconds")},
            "podMetadata": pod,
            "container": {name: container[name] for name in ("image", "command", "args", "env")},
        }
    )


def test_the_flags_mean_what_they_mean_to_kubeapps_but_for_what_is_listed() -> None:
    found = list(of_flags())
    assert len(table("flags")) == 23
    assert unlisted(found) == []
    assert explanations(found)["UsageError"] == 6


def test_each_listed_difference_occurs() -> None:
    everything = [*(each for case in CASES for each in of_case(case)), *of_names(), *of_intervals(), *of_flags()]
    assert explanations(everything).keys() == LISTED.keys()
