"""The end of a repository: its schedule and running syncs go, its rows are removed, and only then the resource."""

import secrets
from collections.abc import Iterator
from contextlib import suppress

import pytest

from catalog.report import Summary
from controller.reconcile import FINALIZER
from tests.cluster.kube import Kube, Refused
from tests.conftest import until
from tests.integration.controlled import Controlled, controlled, finalizers


@pytest.fixture(scope="module")
def fleet(cluster: Kube) -> Iterator[Controlled]:
    with controlled(cluster) as made:
        made.start()
        yield made


@pytest.fixture
def own(cluster: Kube) -> Iterator[Controlled]:
    """A controller of this test alone, not started."""
    with controlled(cluster) as made:
        yield made


@pytest.fixture
def name(fleet: Controlled) -> str:
    return fleet.name()


FAILED = Summary("delete", "", "failed", error_class="StoreUnavailable", error="PostgreSQL does not answer")


def test_a_deleted_repository_goes_when_its_rows_are_gone(fleet: Controlled, name: str) -> None:
    fleet.apply(name)
    fleet.sync(name)
    fleet.delete(name)
    [job] = until("the clean-up", lambda: fleet.clean_ups(name))
    assert "its clean-up Job runs" in fleet.said(name, "Deleting", "Reconciling")["message"]
    assert fleet.cron_jobs(name) == []
    assert finalizers(fleet.get(name)) == [FINALIZER]
    assert job["spec"]["template"]["spec"]["containers"][0]["args"][0] == "delete"
    fleet.clean_up(name)
    assert fleet.cron_jobs(name) == []
    until("the garbage collector", lambda: fleet.jobs(name) == [])


@pytest.mark.parametrize("where", ["home", "away"])
def test_a_repository_deleted_while_it_is_synced_stops_the_sync_first(fleet: Controlled, name: str, where: str) -> None:
    namespace = getattr(fleet, where)
    fleet.apply(name, namespace)
    fleet.job(name, namespace=namespace)
    fleet.delete(name, namespace)
    until("the clean-up", lambda: fleet.clean_ups(name, namespace))
    assert fleet.jobs(name, namespace) == []
    fleet.clean_up(name, namespace)


def test_a_clean_up_that_fails_is_said_and_tried_again(fleet: Controlled, name: str) -> None:
    fleet.apply(name)
    fleet.sync(name)
    fleet.delete(name)
    [job] = until("the clean-up", lambda: fleet.clean_ups(name))
    fleet.finish(job, FAILED, exit_code=1)
    until("the reason", lambda: "failed once: PostgreSQL does not answer" in fleet.condition(name).get("message", ""))
    assert finalizers(fleet.get(name)) == [FINALIZER]
    _, second = until("another attempt", lambda: found if len(found := fleet.clean_ups(name)) == 2 else None)
    fleet.finish(second, Summary("delete", "", "done"))
    until("its end", lambda: fleet.gone(name))


def test_a_clean_up_runs_under_the_resources_own_template(fleet: Controlled, name: str) -> None:
    fleet.apply(name, syncJobPodTemplate={"spec": {"nodeSelector": {"disk": "fast"}}})
    fleet.sync(name)
    fleet.delete(name)
    [job] = until("the clean-up", lambda: fleet.clean_ups(name))
    assert job["spec"]["template"]["spec"]["nodeSelector"] == {"disk": "fast"}
    fleet.clean_up(name)


def test_a_template_that_the_api_server_refuses_holds_no_deletion_up(fleet: Controlled, name: str) -> None:
    fleet.apply(name)
    fleet.sync(name)
    fleet.apply(name, syncJobPodTemplate={"spec": {"containers": [{"volumeMounts": [{"name": "nothing", "mountPath": "/x"}]}]}})
    fleet.said(name, "Rejected")
    fleet.delete(name)
    fleet.clean_up(name)


def test_force_delete_lets_it_go_at_once_and_says_what_may_remain(fleet: Controlled, name: str) -> None:
    fleet.apply(name)
    fleet.sync(name)
    fleet.delete(name)
    until("the clean-up", lambda: fleet.clean_ups(name))
    fleet.kube.patch("apprepositories", name, fleet.home, {"metadata": {"annotations": {"chartfleet.dev/force-delete": "true"}}})
    until("its end", lambda: fleet.gone(name))
    assert ("Warning", "CleanUpSkipped") in fleet.events(name)
    until("no Job left", lambda: not fleet.clean_ups(name) and not fleet.jobs(name))


def test_a_clean_up_is_given_up_after_its_time(own: Controlled) -> None:
    own.start("--cleanup-timeout=1s")
    own.apply("late")
    own.sync("late")
    own.delete("late")
    until("its end", lambda: own.gone("late"))
    assert ("Warning", "CleanUpSkipped") in own.events("late")


def test_a_finalizer_of_others_stays_and_so_does_all_else(fleet: Controlled, name: str) -> None:
    fleet.apply(name, description="a  text", syncJobPodTemplate={"metadata": {}, "spec": {"tolerations": []}})
    fleet.kube.patch("apprepositories", name, fleet.home, {"metadata": {"finalizers": ["example.com/theirs"]}})
    until("our finalizer", lambda: FINALIZER in finalizers(fleet.get(name)))
    before = fleet.get(name)["spec"]
    fleet.sync(name)
    fleet.delete(name)
    [job] = until("the clean-up", lambda: fleet.clean_ups(name))
    fleet.finish(job, Summary("delete", "", "done"))
    until("ours gone", lambda: finalizers(fleet.get(name)) == ["example.com/theirs"])
    assert fleet.get(name)["spec"] == before
    assert before["syncJobPodTemplate"] == {"metadata": {}, "spec": {"tolerations": []}}
    fleet.kube.patch("apprepositories", name, fleet.home, {"metadata": {"finalizers": None}})
    until("its end", lambda: fleet.gone(name))


def test_a_finalizer_removed_by_hand_leaves_neither_schedule_nor_rows(fleet: Controlled, name: str) -> None:
    fleet.apply(name)
    fleet.sync(name)
    fleet.delete(name)
    until("the clean-up", lambda: fleet.clean_ups(name))
    fleet.kube.patch("apprepositories", name, fleet.home, {"metadata": {"finalizers": None}})
    until("its end", lambda: fleet.gone(name))
    until("no schedule", lambda: not fleet.cron_jobs(name))


def test_a_repository_that_vanished_while_nobody_watched_is_cleaned_up(own: Controlled) -> None:
    own.start()
    own.apply("lost", own.away)  # in its own namespace the garbage collector would take the CronJob along
    own.sync("lost", namespace=own.away)
    own.stop()
    own.delete("lost", own.away)
    own.kube.patch("apprepositories", "lost", own.away, {"metadata": {"finalizers": None}})
    until("its end", lambda: own.gone("lost", own.away))
    own.start()
    [job] = until("the clean-up", lambda: own.clean_ups("lost", own.away))
    assert own.cron_job("lost", own.away)["spec"]["suspend"] is True
    own.finish(job, Summary("delete", "", "done"))
    until("no schedule", lambda: not own.cron_jobs("lost", own.away))


def test_a_repository_deleted_while_the_controller_was_away_gets_no_sync_at_its_start(own: Controlled) -> None:
    own.start()
    own.apply("late")
    own.sync("late")
    own.stop()
    own.apply("late", resyncRequests=5)
    own.delete("late")
    own.start()
    own.clean_up("late")
    assert [job["metadata"]["annotations"].get("chartfleet.dev/cause") for job in own.kube.all("jobs", own.home)].count("change") == 0


def test_a_repository_made_again_under_its_name_is_synced_anew(fleet: Controlled, name: str) -> None:
    fleet.apply(name)
    first = fleet.sync(name)
    fleet.delete(name)
    fleet.clean_up(name)
    fleet.apply(name)
    until("a Job", lambda: [job for job in fleet.jobs(name) if job["metadata"]["uid"] != first["metadata"]["uid"]])
    assert "charts" not in fleet.status(name)
    fleet.finish(fleet.jobs(name)[-1], Summary("sync", "", "done", charts=3, versions=4))
    until("the new counts", lambda: fleet.status(name).get("charts") == 3)


def test_two_repositories_that_share_a_cron_jobs_name_have_one_each_and_a_deletion_takes_one(own: Controlled) -> None:
    short = f"t{secrets.token_hex(2)}"
    (first, second) = places = ((short, "b-sync-c"), (f"{short}-sync-b", "c"))
    for namespace, _ in places:
        own.kube.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    try:
        own.start(f"--watch-namespaces={short},{short}-sync-b")
        for namespace, called in places:
            own.apply(called, namespace)
            own.sync(called, namespace=namespace)
        names = [own.cron_job(called, namespace)["metadata"]["name"] for namespace, called in places]
        assert names[1].startswith(names[0][:30])
        assert len(set(names)) == 2
        own.delete(first[1], first[0])
        own.clean_up(first[1], first[0])
        assert own.cron_jobs(first[1], first[0]) == []
        assert own.cron_job(second[1], second[0])["metadata"]["name"] == names[1]
    finally:
        for namespace, called in places:
            own.kube.delete("namespaces", namespace)
            with suppress(Refused):
                own.kube.patch("apprepositories", called, namespace, {"metadata": {"finalizers": None}})


@pytest.mark.parametrize("layout", ["release", "repository"])
def test_a_deleted_namespace_goes_after_the_clean_up_of_its_repositories(own: Controlled, layout: str) -> None:
    own.start_everywhere() if layout == "repository" else own.start()
    own.apply("leaving", own.away)
    within = own.away if layout == "repository" else own.home
    job = until("the Job", lambda: own.jobs("leaving", own.away, within))[0]
    own.finish(job, Summary("sync", "", "done", charts=1, versions=1))
    own.kube.delete("namespaces", own.away)
    own.clean_up("leaving", own.away)
    assert own.cron_jobs("leaving", own.away, within) == []
    own.kube.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "alive", "namespace": own.home}})
