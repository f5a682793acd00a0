"""The Kubernetes controller from `kubectl apply` to Ready: what is made, what is written, what a person sees."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from controller.reconcile import FINALIZER
from tests.cluster.kube import Kube
from tests.conftest import until
from tests.integration.controlled import CAUSE, DONE, Controlled, controlled, finalizers


@pytest.fixture(scope="module")
def fleet(cluster: Kube) -> Iterator[Controlled]:
    with controlled(cluster) as made:
        made.start()
        yield made


@pytest.fixture
def name(fleet: Controlled) -> str:
    return fleet.name()


# From apply to Ready --------------------------------------------------------------------------------------------------


def test_a_new_repository_gets_a_cron_job_and_one_job_and_becomes_ready(fleet: Controlled, name: str) -> None:
    fleet.apply(name)
    job = fleet.job(name)
    assert job["metadata"]["annotations"][CAUSE] == "first"
    assert fleet.said(name, "Progressing", "Reconciling")["status"] == "True"
    assert finalizers(fleet.get(name)) == [FINALIZER]
    fleet.finish(job, DONE)
    assert fleet.said(name, "Synced")["message"] == "21 charts, 1,449 versions"
    status = fleet.status(name)
    expected = {"charts": 21, "versions": 1449, "notes": 2, "revision": "a1b2", "lastJob": job["metadata"]["name"], "observedGeneration": 1}
    assert expected.items() <= status.items()
    assert status["lastSyncTime"] == status["lastSuccessfulSyncTime"] < status["nextSyncTime"]
    assert [each["type"] for each in status["conditions"]] == ["Ready"]
    assert len(fleet.cron_jobs(name)) == len(fleet.jobs(name)) == 1
    assert fleet.events(name) == [("Normal", "Synced")]


def test_a_person_sees_it_with_kubectl(fleet: Controlled, name: str) -> None:
    fleet.apply(name)
    fleet.sync(name)
    kubectl = fleet.kube.kubectl
    kubectl("wait", "--for=condition=Ready", f"apprepository/{name}", "-n", fleet.home, "--timeout=30s")
    head, row = kubectl("get", "apprepositories", name, "-n", fleet.home).stdout.splitlines()
    assert head.split() == ["NAME", "URL", "TYPE", "READY", "CHARTS", "LAST", "SYNC", "AGE"]
    assert row.split()[:5] == [name, f"https://charts.example.com/{name}", "helm", "True", "21"]
    described = kubectl("describe", "apprepository", name, "-n", fleet.home).stdout
    assert "21 charts, 1,449 versions" in described
    assert "Synced" in described.partition("Events:")[2]


def test_a_repository_costs_six_writes_at_most(fleet: Controlled, name: str) -> None:
    fleet.apply(name)
    fleet.sync(name)
    fleet.said(name, "Synced")
    until("the Event", lambda: fleet.events(name))
    mine = until("the audit log", lambda: found if "events" in str(found := written_for(fleet, name)) else None)
    assert 4 <= len(mine) <= 6, mine


def written_for(fleet: Controlled, name: str) -> list[tuple[str, str]]:
    """Verb and resource of the writes whose object bears the repository's name; an Event's name is not in a POST's record."""
    named = [each for each in fleet.requests() if name in (each["objectRef"].get("name") or name)]
    return [(each["verb"], each["objectRef"]["resource"]) for each in named]


# What starts a sync ---------------------------------------------------------------------------------------------------


def test_a_bump_of_resync_requests_starts_exactly_one_job(fleet: Controlled, name: str) -> None:
    fleet.apply(name)
    fleet.sync(name)
    fleet.apply(name, resyncRequests=1)
    job = fleet.sync(name, 2)
    assert job["metadata"]["annotations"][CAUSE] == "change"
    fleet.said(name, "Synced")
    assert len(fleet.jobs(name)) == 2


def test_there_and_back_syncs_each_time(fleet: Controlled, name: str) -> None:
    for number, url in enumerate(("a", "b", "a", "b"), 1):
        fleet.apply(name, url=f"https://charts.example.com/{url}")
        fleet.sync(name, number)
    assert len({job["metadata"]["name"] for job in fleet.jobs(name)}) == 4


@pytest.mark.parametrize("change", [{"url": "https://other.example.com"}, {"filterRule": {"jq": '.name == "x"'}}, {"interval": "2h"}])
def test_an_edited_field_reaches_the_cron_job_and_is_synced(fleet: Controlled, name: str, change: dict[str, Any]) -> None:
    fleet.apply(name)
    fleet.sync(name)
    before = fleet.cron_job(name)["spec"]
    fleet.apply(name, **change)
    fleet.job(name, 2)
    until("another CronJob", lambda: fleet.cron_job(name)["spec"] != before)
    if "interval" in change:
        assert "/2 * * *" in fleet.cron_job(name)["spec"]["schedule"]
    else:
        assert next(iter(change.values())) == change.get("url") or "filter-rules" in str(fleet.cron_job(name)["spec"])


def test_requested_at_starts_a_job_and_is_answered(fleet: Controlled, name: str) -> None:
    fleet.apply(name)
    fleet.sync(name)
    fleet.apply(name, annotations={"chartfleet.dev/requested-at": "now, please"})
    job = fleet.job(name, 2)
    assert "lastHandledRequest" not in fleet.status(name)
    fleet.finish(job, DONE)
    until("the answer", lambda: fleet.status(name).get("lastHandledRequest") == "now, please")


def test_the_result_of_a_scheduled_job_reaches_the_status(fleet: Controlled, name: str) -> None:
    fleet.apply(name)
    fleet.sync(name)
    job = fleet.by_schedule(name)
    fleet.finish(job, DONE, charts=22, revision="c3d4")
    until("22 charts", lambda: fleet.status(name).get("charts") == 22)
    assert fleet.status(name)["lastJob"] == job["metadata"]["name"]
    assert len(fleet.jobs(name)) == 1


def test_a_suspended_repository_rests_and_a_resumed_one_goes_on(fleet: Controlled, name: str) -> None:
    fleet.apply(name, suspend=True)
    assert fleet.cron_job(name)["spec"]["suspend"] is True
    fleet.said(name, "Suspended")
    assert fleet.jobs(name) == []
    fleet.apply(name, suspend=False)
    fleet.sync(name)
    until("the schedule", lambda: not fleet.cron_job(name)["spec"].get("suspend"))
    assert fleet.status(name)["nextSyncTime"]
    fleet.apply(name, suspend=True)
    until("the word", lambda: fleet.condition(name)["message"] == "21 charts, 1,449 versions; suspended")
    assert fleet.condition(name)["status"] == "True"
    assert "nextSyncTime" not in fleet.status(name)


# Secrets and ConfigMaps -----------------------------------------------------------------------------------------------


def test_a_missing_secret_is_named_and_waited_for(fleet: Controlled, name: str) -> None:
    auth = {"header": {"secretKeyRef": {"name": f"{name}-login", "key": "authorizationHeader"}}}
    fleet.apply(name, auth=auth)
    said = fleet.said(name, "WaitingForSecret", "Reconciling")
    assert f"Secret {fleet.home}/{name}-login does not exist" in said["message"]
    assert "nextSyncTime" not in fleet.status(name)
    assert fleet.cron_job(name)["spec"]["suspend"] is True
    assert fleet.jobs(name) == []
    fleet.secret(f"{name}-login", other="x")
    until("the key", lambda: "has no key 'authorizationHeader'" in fleet.condition(name)["message"])
    assert fleet.jobs(name) == []
    fleet.secret(f"{name}-login", authorizationHeader="Bearer canary-of-the-secret", other="x")
    fleet.sync(name)
    fleet.said(name, "Synced")
    assert not fleet.cron_job(name)["spec"].get("suspend")
    assert not fleet.logged("canary-of-the-secret")


def test_a_clients_certificate_without_its_key_is_waited_for(fleet: Controlled, name: str) -> None:
    fleet.secret(f"{name}-tls", **{"tls.crt": "x"})
    fleet.apply(name, annotations={"chartfleet.dev/client-certificate": f"{name}-tls"})
    assert "has no key 'tls.key'" in fleet.said(name, "WaitingForSecret")["message"]
    fleet.secret(f"{name}-tls", **{"tls.crt": "x", "tls.key": "y"})
    fleet.sync(name)


def rotate_secret(fleet: Controlled, name: str, text: str) -> None:
    fleet.secret(name, authorizationHeader=text)


def rotate_config_map(fleet: Controlled, name: str, text: str) -> None:
    fleet.secret(name, kind="ConfigMap", proxy=text)


@pytest.mark.parametrize("rotate", [rotate_secret, rotate_config_map])
def test_what_a_repository_names_is_synced_once_when_it_changes(
    fleet: Controlled, name: str, rotate: Callable[[Controlled, str, str], None]
) -> None:
    rotate(fleet, name, "one")
    if rotate is rotate_secret:
        fleet.apply(name, auth={"header": {"secretKeyRef": {"name": name, "key": "authorizationHeader"}}})
    else:
        template = {"spec": {"containers": [{"envFrom": [{"configMapRef": {"name": name}}]}]}}
        fleet.apply(name, syncJobPodTemplate=template)
    fleet.sync(name)
    rotate(fleet, name, "two")
    fleet.sync(name, 2)
    rotate(fleet, name, "two")  # says nothing new
    fleet.apply(name + "x")
    fleet.job(name + "x")
    assert len(fleet.jobs(name)) == 2


# CronJobs by hand -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["home", "away"])
def test_a_deleted_cron_job_comes_back_and_starts_no_sync(fleet: Controlled, name: str, where: str) -> None:
    namespace = getattr(fleet, where)
    fleet.apply(name, namespace)
    fleet.sync(name, namespace=namespace)
    before = fleet.cron_job(name, namespace)
    fleet.kube.delete("cronjobs", before["metadata"]["name"], fleet.home)
    until(
        "another one", lambda: [each for each in fleet.cron_jobs(name, namespace) if each["metadata"]["uid"] != before["metadata"]["uid"]]
    )
    assert len(fleet.jobs(name, namespace)) == 1


def test_an_edited_cron_job_is_put_right_and_what_is_not_ours_stays(fleet: Controlled, name: str) -> None:
    fleet.apply(name)
    fleet.sync(name)
    made = fleet.cron_job(name)
    at = (made["metadata"]["name"], fleet.home)
    fleet.kube.patch("cronjobs", *at, {"spec": {"schedule": "1 1 1 1 *", "suspend": True, "timeZone": "Etc/UTC"}})
    until("the schedule", lambda: fleet.kube.get("cronjobs", *at)["spec"]["schedule"] == made["spec"]["schedule"])
    spec = fleet.kube.get("cronjobs", *at)["spec"]
    assert (spec["suspend"], spec["timeZone"]) == (True, "Etc/UTC")
    assert len(fleet.jobs(name)) == 1


def test_a_foreign_cron_job_of_our_name_is_left_alone_also_by_a_deletion(fleet: Controlled, name: str) -> None:
    foreign = {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": f"apprepo-{fleet.home}-sync-{name}", "namespace": fleet.home},
        "spec": {
            "schedule": "1 1 1 1 *",
            "jobTemplate": {"spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}}},
        },
    }
    there = fleet.kube.create(foreign)
    fleet.apply(name)
    said = fleet.said(name, "ResourceConflict", "Stalled")
    assert f"CronJob {fleet.home}/{there['metadata']['name']}" in said["message"]
    assert fleet.jobs(name) == []
    fleet.delete(name)
    fleet.clean_up(name)
    assert fleet.kube.get("cronjobs", there["metadata"]["name"], fleet.home)["metadata"]["generation"] == 1
