"""What becomes of a sync that fails and of a resource that cannot be used: conditions, Events, and everybody else going on."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from catalog.report import Held, Summary
from tests.cluster.kube import Kube
from tests.conftest import until
from tests.integration.controlled import DONE, Controlled, controlled

BY_KUBERNETES = "PodFailurePolicy"


@pytest.fixture(scope="module")
def fleet(cluster: Kube) -> Iterator[Controlled]:
    with controlled(cluster) as made:
        made.start()
        yield made


@pytest.fixture
def name(fleet: Controlled) -> str:
    return fleet.name()


def failed(error_class: str, error: str = "it is wrong", **changes: Any) -> Summary:
    return Summary("sync", "", "failed", error_class=error_class, error=error, **changes)


# Syncs that fail ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error_class",
    ["InvalidRepository", "WaitingForSecret", "SourceUnavailable", "SourceRefused", "SourceMalformed", "LimitExceeded", "StoreUnavailable"],
)
def test_a_failed_sync_is_said_with_its_reason_and_the_catalogue_stays(fleet: Controlled, name: str, error_class: str) -> None:
    fleet.apply(name)
    fleet.sync(name)
    fleet.finish(fleet.by_schedule(name), failed(error_class), exit_code=1)
    said = fleet.said(name, error_class)
    assert (said["status"], said["message"]) == ("False", "it is wrong")
    assert fleet.condition(name, "SyncFailed")["reason"] == error_class
    status = fleet.status(name)
    assert (status["charts"], status["revision"]) == (21, "a1b2")
    assert status["lastSyncTime"] >= status["lastSuccessfulSyncTime"]


def test_an_outcome_is_an_event_when_it_changes_and_not_before(fleet: Controlled, name: str) -> None:
    fleet.apply(name)
    job = fleet.finish(fleet.job(name), failed("SourceRefused"), exit_code=1)
    until("the status", lambda: fleet.status(name).get("lastJob") == job["metadata"]["name"])
    for error_class in ("SourceRefused", "SourceRefused", "", ""):
        job = fleet.by_schedule(name)
        fleet.finish(job, failed(error_class) if error_class else DONE, exit_code=1 if error_class else 0)
        until("the status", lambda: fleet.status(name).get("lastJob") == job["metadata"]["name"])  # noqa: B023 - called at once
    assert fleet.condition(name, "SyncFailed") == {}
    assert until("both Events", lambda: found if len(found := fleet.events(name)) > 1 else None) == [
        ("Warning", "SourceRefused"),
        ("Normal", "Synced"),
    ]


def test_a_job_that_left_no_message_is_told_by_kubernetes(fleet: Controlled, name: str) -> None:
    fleet.apply(name)
    job = fleet.finish(fleet.job(name), None, exit_code=1)
    said = fleet.said(name, BY_KUBERNETES, "SyncFailed")
    assert job["metadata"]["name"] in said["message"]
    assert fleet.condition(name)["status"] == "False"


def test_a_job_of_kubeapps_own_syncer_that_succeeds_is_a_success_without_counts(fleet: Controlled, name: str) -> None:
    fleet.apply(name)
    fleet.finish(fleet.job(name), None)
    assert fleet.said(name, "Synced")["status"] == "True"
    assert "charts" not in fleet.status(name)


def test_a_job_that_never_started_holds_up_nothing_that_was_asked_for_after_it(fleet: Controlled, name: str) -> None:
    fleet.apply(name)
    never = fleet.job(name)["metadata"]["name"]
    fleet.apply(name, resyncRequests=1)
    made = until("both Jobs", lambda: found if len(found := fleet.jobs(name)) > 1 else None)
    fleet.finish(next(job for job in made if job["metadata"]["name"] != never), DONE)
    fleet.said(name, "Synced")
    assert fleet.condition(name, "Reconciling") == {}


def test_a_skipped_run_says_nothing_of_the_repository(fleet: Controlled, name: str) -> None:
    fleet.apply(name)
    fleet.sync(name)
    before = fleet.status(name)
    job = fleet.finish(fleet.by_schedule(name), Summary("sync", "", "skipped"))
    until("the status", lambda: fleet.status(name)["lastJob"] == job["metadata"]["name"])
    assert {**fleet.status(name), "lastJob": ""} == {**before, "lastJob": ""}


def test_held_removals_are_a_condition_of_their_own(fleet: Controlled, name: str) -> None:
    fleet.apply(name)
    fleet.sync(name)
    held = failed("RemovalsHeld", "the listing lacks 1,400 of 1,449 versions", held=Held("Shrunk", 1400))
    fleet.finish(fleet.by_schedule(name), held, exit_code=1)
    assert fleet.said(name, "RemovalsHeld", "RemovalsHeld")["message"] == "the listing lacks 1,400 of 1,449 versions"
    assert fleet.condition(name)["status"] == "False"
    fleet.finish(fleet.by_schedule(name), DONE)
    fleet.said(name, "Synced")
    assert fleet.condition(name, "RemovalsHeld") == {}


# Resources that cannot be used ----------------------------------------------------------------------------------------

MALFORMED: dict[str, dict[str, Any]] = {
    "containers a text": {"syncJobPodTemplate": {"spec": {"containers": "none"}}},
    "containers numbers": {"syncJobPodTemplate": {"spec": {"containers": [1]}}},
    "a label a number": {"syncJobPodTemplate": {"metadata": {"labels": {"a": 1}}}},
    "a volume without a name": {"syncJobPodTemplate": {"spec": {"volumes": [{"emptyDir": {}}]}}},
    "env a mapping": {"syncJobPodTemplate": {"spec": {"containers": [{"env": {"a": "b"}}]}}},
    "a url with a password": {"url": "https://user:canary-of-the-url@charts.example.com"},
    "a url of another scheme": {"url": "ftp://charts.example.com"},
    "a url with a line's end": {"url": "https://charts.example.com/a\nb"},
    "a filter of 200 kB": {"filterRule": {"jq": f'.name == "{"x" * 200_000}"'}},
    "a list of 200 kB": {"type": "oci", "ociRepositories": ["x" * 100] * 2000},
}


@pytest.mark.parametrize("kind", MALFORMED)
def test_a_resource_that_cannot_be_used_is_said_once_and_stops_nobody(fleet: Controlled, name: str, kind: str) -> None:
    wrong = fleet.apply(name, **MALFORMED[kind])
    said = fleet.said(name, "InvalidRepository", "Stalled")
    assert said["message"].startswith("spec.")
    assert fleet.status(name)["observedGeneration"] == wrong["metadata"]["generation"]
    fleet.apply(f"{name}-good")
    fleet.sync(f"{name}-good")
    assert fleet.jobs(name) == fleet.cron_jobs(name) == []
    assert fleet.events(name) == [("Warning", "InvalidRepository")]
    assert "canary" not in fleet.log.read_text() + str(fleet.status(name))
    mended = dict(fleet.repository(name))
    mended["metadata"]["resourceVersion"] = fleet.get(name)["metadata"]["resourceVersion"]
    fleet.kube.replace(mended)
    fleet.sync(name)
    fleet.said(name, "Synced")


def test_what_was_valid_once_keeps_its_schedule_when_an_edit_breaks_it(fleet: Controlled, name: str) -> None:
    fleet.apply(name)
    fleet.sync(name)
    fleet.apply(name, url="nonsense")
    fleet.said(name, "InvalidRepository")
    assert len(fleet.cron_jobs(name)) == len(fleet.jobs(name)) == 1


def test_what_the_api_server_refuses_is_said_and_not_tried_again_until_it_changes(fleet: Controlled, name: str) -> None:
    mount = {"name": "nothing", "mountPath": "/x"}
    fleet.apply(name, syncJobPodTemplate={"spec": {"containers": [{"volumeMounts": [mount]}]}})
    said = fleet.said(name, "Rejected", "Stalled")
    assert "nothing" in said["message"]
    tried = len(fleet.logged(name))
    fleet.apply(name, syncJobPodTemplate={"spec": {"containers": [{"volumeMounts": []}]}})
    fleet.sync(name)
    fleet.said(name, "Synced")
    assert tried <= 1


def test_a_field_that_no_pod_has_is_said(fleet: Controlled, name: str) -> None:
    fleet.apply(name, syncJobPodTemplate={"spec": {"nodeSelectorr": {"a": "b"}}})
    assert "nodeSelectorr" in fleet.said(name, "Rejected", "Stalled")["message"]


@pytest.mark.parametrize("depth", [101, 1_500, 9_900])  # Python reads about 1,000 unasked, the API server 10,000
def test_a_template_nested_without_end_hides_nobody_else(fleet: Controlled, name: str, depth: int) -> None:
    document = json.dumps(fleet.repository(name, syncJobPodTemplate={"spec": "HERE"}))
    path = fleet.directory / "deep.json"
    path.write_text(document.replace('"HERE"', '{"a":' * depth + "1" + "}" * depth))
    fleet.kube.kubectl("create", "--raw", f"/apis/kubeapps.com/v1alpha1/namespaces/{fleet.home}/apprepositories", "-f", str(path))
    said = fleet.kube.kubectl("wait", "--for=condition=Stalled", f"apprepository/{name}", "-n", fleet.home, "--timeout=30s", "-o=name")
    assert name in said.stdout
    fleet.apply(f"{name}-beside")
    fleet.job(f"{name}-beside")
    fleet.stop()
    fleet.start()
    fleet.apply(f"{name}-later")
    fleet.job(f"{name}-later")
    fleet.kube.kubectl("delete", "apprepository", name, "-n", fleet.home)


def test_a_quota_is_said_and_waited_for(cluster: Kube) -> None:
    with controlled(cluster) as fleet:
        quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none", "namespace": fleet.home}}
        cluster.apply({**quota, "spec": {"hard": {"count/cronjobs.batch": "0"}}})
        until("the quota", lambda: cluster.get("resourcequotas", "none", fleet.home).get("status", {}).get("hard"))
        fleet.start()
        fleet.apply("over")
        assert "exceeded quota" in fleet.said("over", "Forbidden", "Reconciling")["message"]
        assert fleet.condition("over")["status"] == "False"


def test_the_log_tells_a_repositorys_life(fleet: Controlled, name: str) -> None:
    fleet.apply(name, url="nonsense")
    fleet.said(name, "InvalidRepository")
    fleet.apply(name)
    fleet.sync(name)
    fleet.delete(name)
    fleet.clean_up(name)
    assert fleet.logged('"following"')
    whose = f'"{fleet.whose(name)}"'
    until("the end of its CronJob and of its two Jobs", lambda: len([line for line in fleet.logged(whose) if '"delete"' in line]) == 3)
    told = [json.loads(line) for line in fleet.logged(whose)]
    assert [reason for line in told if (reason := line.get("reason"))] == ["InvalidRepository", "Synced", "Deleting"]
    actions = [line["action"] for line in told if line["action"] not in ("apply", "say")]
    assert actions == ["run", "delete", "clean-up", "release", "delete", "delete"]


def test_an_interval_that_is_none_is_said_and_the_default_holds(fleet: Controlled, name: str) -> None:
    fleet.apply(name, interval="1 day")
    fleet.finish(fleet.job(name), DONE)
    assert "spec.interval" in fleet.said(name, "InvalidSchedule", "Stalled")["message"]
    assert "*" in fleet.cron_job(name)["spec"]["schedule"]
    until("the counts", lambda: fleet.status(name).get("charts") == 21)


def test_a_filter_of_90_kb_is_passed_on(fleet: Controlled, name: str) -> None:
    fleet.apply(name, filterRule={"jq": f'.name == "{"x" * 90_000}"'})
    [argument] = [word for word in fleet.job(name)["spec"]["template"]["spec"]["containers"][0]["args"] if len(word) > 90_000]
    assert len(argument) < 128 * 1024


# Names ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("long", ["a" * 253, "a.b-c." * 40 + "d", "v1.2.3", "dots.in.the.middle.of.a.name"])
def test_long_and_dotted_names_are_synced_and_removed(fleet: Controlled, long: str) -> None:
    fleet.apply(long)
    fleet.sync(long)
    fleet.said(long, "Synced")
    until("the Event", lambda: fleet.events(long))
    fleet.delete(long)
    fleet.clean_up(long)
    assert fleet.cron_jobs(long) == []
