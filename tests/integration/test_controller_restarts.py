"""Controllers that are restarted, killed, doubled or cut off: the same end, and no sync more than was asked for."""

import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from catalog.report import Summary
from controller.reconcile import FINALIZER
from tests.cluster.cluster import Cluster
from tests.cluster.fixtures import apply_crds
from tests.cluster.kube import Kube, writes
from tests.conftest import ROOT, until
from tests.fakes.api_relay import relayed
from tests.integration.controlled import DONE, KUBEAPPS_CLUSTER_ROLE, KUBEAPPS_ROLE, Controlled, controlled, documented_rules, finalizers

MANY = 12


@pytest.fixture
def own(cluster: Kube) -> Iterator[Controlled]:
    """A controller of this test alone, not started."""
    with controlled(cluster) as made:
        yield made


def all_synced(own: Controlled, names: list[str]) -> None:
    for name in names:
        own.sync(name)
    for name in names:
        own.said(name, "Synced")


def test_a_restart_starts_nothing_writes_nothing_and_reads_little(own: Controlled) -> None:
    own.start()
    names = [f"r{number}" for number in range(MANY)]
    for name in names:
        own.apply(name)
    all_synced(own, names)
    until("the Events", lambda: all(own.events(name) for name in names))
    own.stop()
    before = own.requests(("get", "list", "watch", "create", "update", "patch", "delete"))
    own.start("--health-port=0")
    own.apply("after")
    own.job("after")  # whose Job shows that all was looked at
    own.stop()
    events = own.requests(("get", "list", "watch", "create", "update", "patch", "delete"))[len(before) :]
    own_writes = [event for event in writes(events) if "after" not in str(event["objectRef"].get("name", "after"))]
    assert own_writes == []
    assert len([event for event in events if event["verb"] != "watch"]) - len(writes(events)) <= 30
    assert sum(len(own.jobs(name)) for name in names) == MANY


def test_a_restart_after_the_jobs_are_forgotten_starts_nothing(own: Controlled) -> None:
    own.start()
    own.apply("old")
    job = own.sync("old")
    own.said("old", "Synced")
    own.kube.delete("jobs", job["metadata"]["name"], own.home)
    until("no Job", lambda: not own.jobs("old"))
    own.stop()
    own.start()
    own.apply("new")
    own.job("new")
    assert own.jobs("old") == []
    assert own.condition("old")["status"] == "True"


@pytest.mark.parametrize("last", range(1, 7))
def test_a_controller_killed_after_any_write_ends_where_others_end(own: Controlled, tmp_path: Path, last: int) -> None:
    with relayed(own.kubeconfig, tmp_path) as (relay, through):
        process = own.start(kubeconfig=through)
        relay.after_write = lambda number: process.kill() if number == last else None
        own.apply("killed")
        if last > 3:  # what follows from the Job's end
            own.finish(own.job("killed"), DONE)
        assert process.wait(60) == -signal.SIGKILL
        relay.after_write = lambda _: None
        own.processes.clear()
        own.start(kubeconfig=through)
        own.sync("killed") if last <= 3 else None
        own.said("killed", "Synced")
        assert finalizers(own.get("killed")) == [FINALIZER]
        assert len(own.cron_jobs("killed")) == len(own.jobs("killed")) == 1


@pytest.mark.parametrize("last", range(1, 6))
def test_a_controller_killed_after_any_write_of_a_deletion_still_removes_it_once(own: Controlled, tmp_path: Path, last: int) -> None:
    own.start()
    own.apply("killed")
    own.sync("killed")
    own.said("killed", "Synced")
    own.stop()
    own.delete("killed")
    with relayed(own.kubeconfig, tmp_path) as (relay, through):
        process = own.start(kubeconfig=through)
        relay.after_write = lambda number: process.kill() if number == last else None
        if last > 3:
            [job] = until("the clean-up", lambda: own.clean_ups("killed"))
            until("what is said", lambda: own.condition("killed").get("reason") == "Deleting")
            own.finish(job, Summary("delete", "", "done"))
        assert process.wait(60) == -signal.SIGKILL
        own.processes.clear()
        relay.after_write = lambda _: None
        own.start(kubeconfig=through)
        if last <= 3:
            [job] = until("the clean-up", lambda: own.clean_ups("killed"))
            own.finish(job, Summary("delete", "", "done"))
        until("its end", lambda: own.gone("killed"))
        made = [
            each for each in own.requests(("create",)) if each["objectRef"]["resource"] == "jobs" and each["responseStatus"]["code"] == 201
        ]
        assert len(made) == 2, "a sync and a clean-up"
        assert len(own.clean_ups("killed")) <= 1  # killed before it could delete its last Job, it leaves that to its TTL
        assert own.cron_jobs("killed") == []


def test_two_controllers_double_no_job_and_do_not_fight(own: Controlled) -> None:
    own.start("--max-concurrent-first-syncs=100")
    own.start("--max-concurrent-first-syncs=100")
    names = [f"r{number}" for number in range(30)]
    for name in names:
        own.apply(name)
    until("all CronJobs", lambda: all(own.cron_jobs(name) for name in names))
    for name in names[:5]:
        own.sync(name)
        own.apply(name, resyncRequests=1)
    for name in names[:5]:
        own.sync(name, 2)
        own.said(name, "Synced")
    for name in names[5:]:
        own.job(name)
    for name in names[:5]:
        until("both Events", lambda: len(own.events(name)) >= 1)  # noqa: B023 - called at once
    settled = [own.get(name)["metadata"]["resourceVersion"] for name in names]
    own.apply("after")
    own.sync("after")
    own.said("after", "Synced")
    assert [own.get(name)["metadata"]["resourceVersion"] for name in names] == settled
    assert sum(len(own.jobs(name)) for name in names) == 35
    times = Counter(
        (event["objectRef"]["resource"], event["objectRef"].get("name")) for event in own.requests() if "name" in event["objectRef"]
    )
    assert max(times.values()) <= 20, times.most_common(3)


def test_a_watch_that_is_too_old_begins_anew(own: Controlled, tmp_path: Path) -> None:
    with relayed(own.kubeconfig, tmp_path) as (relay, through):
        relay.stale = 4
        own.start(kubeconfig=through)
        own.apply("late")
        own.sync("late")
        own.said("late", "Synced")
        assert relay.stale == 0


def test_what_vanished_before_a_watch_listed_anew_is_noticed(own: Controlled, tmp_path: Path) -> None:
    with relayed(own.kubeconfig, tmp_path) as (relay, through):
        own.start(kubeconfig=through)
        own.apply("a")
        own.sync("a")
        own.said("a", "Synced")
        relay.deaf.set()
        gone = own.cron_job("a")["metadata"]
        own.kube.delete("cronjobs", gone["name"], own.home)
        until("the silence", lambda: b'"DELETED"' in b"".join(relay.swallowed))
        relay.stale = 6
        relay.deaf.clear()
        relay.cut()
        until("another one", lambda: [each for each in own.cron_jobs("a") if each["metadata"]["uid"] != gone["uid"]], 30)
        assert len(own.jobs("a")) == 1


def test_a_conflicting_writer_costs_another_look_and_nothing_else(own: Controlled, tmp_path: Path) -> None:
    with relayed(own.kubeconfig, tmp_path) as (relay, through):
        own.start(kubeconfig=through)

        def meddle(number: int) -> None:
            if number < 4:
                own.kube.patch("apprepositories", "shared", own.home, {"metadata": {"labels": {"others": str(number)}}})

        relay.after_write = meddle
        own.apply("shared")
        own.sync("shared")
        own.said("shared", "Synced")
        metadata = own.get("shared")["metadata"]
        assert (metadata["labels"], metadata["finalizers"]) == ({"others": "3"}, [FINALIZER])
        assert len(own.jobs("shared")) == 1


def test_first_syncs_keep_to_their_room_and_an_edit_does_not_wait_behind_them(own: Controlled) -> None:
    own.start("--max-concurrent-first-syncs=2")
    own.apply("known")
    own.sync("known")
    own.stop()
    names = [f"r{number}" for number in range(6)]
    for name in names:
        own.apply(name)
    own.start("--max-concurrent-first-syncs=2")  # which finds them all at once
    until("all CronJobs", lambda: all(own.cron_jobs(name) for name in names))
    own.apply("known", resyncRequests=1)
    own.sync("known", 2)
    done: set[str] = set()
    while len(done) < len(names):
        running = until("a Job", lambda: [name for name in names if name not in done and own.jobs(name)])
        assert len(running) <= 2
        own.finish(own.jobs(running[0])[0], DONE)
        done.add(running[0])
    for name in names:
        own.said(name, "Synced")


def test_jobs_beside_their_repositories_use_the_secrets_there(own: Controlled) -> None:
    own.start_everywhere()
    auth = {"header": {"secretKeyRef": {"name": "login", "key": "authorizationHeader"}}}
    own.secret("login", own.away, authorizationHeader="Bearer x")
    own.apply("beside", own.away, auth=auth)
    job = own.job("beside", namespace=own.away, within=own.away)
    assert own.cron_job("beside", own.away, own.away)["metadata"]["ownerReferences"][0]["kind"] == "AppRepository"
    env = {each["name"]: each for each in job["spec"]["template"]["spec"]["containers"][0]["env"]}
    assert env["AUTHORIZATION_HEADER"]["valueFrom"]["secretKeyRef"]["name"] == "login"
    own.finish(job, DONE)
    own.said("beside", "Synced", namespace=own.away)


def test_an_api_server_that_is_away_during_changes_is_caught_up_with(own_cluster: Cluster) -> None:
    apply_crds(own_cluster.kube)
    with controlled(own_cluster.kube) as own:
        own.start("--max-concurrent-first-syncs=100")
        names = [f"r{number}" for number in range(8)]
        for name in names[:4]:
            own.apply(name)
        all_synced(own, names[:3])
        own.delete(names[0])
        own_cluster.api_server.kill()
        own_cluster.api_server.start()
        for name in names[4:]:
            own.apply(name)
        own.delete(names[1])
        own.clean_up(names[0])
        own.clean_up(names[1])
        for name in names[3:]:
            until(f"{name}'s Job", lambda: own.jobs(name), 30)  # noqa: B023 - called at once
            assert len(own.jobs(name)) == len(own.cron_jobs(name)) == 1
        assert len(own.jobs(names[2])) == 1


def test_a_namespace_that_may_not_be_read_stops_no_other(cluster: Kube) -> None:
    nothing = [{"apiGroups": [""], "resources": ["namespaces"], "verbs": ["get"]}]
    everything = [*documented_rules("jobRules"), *documented_rules("repositoryRules")]
    with controlled(cluster, rules=everything, cluster_rules=nothing) as own:
        own.apply("unseen", own.away)
        own.start()
        own.apply("seen")
        own.sync("seen")
        own.apply("seen", resyncRequests=1)
        own.sync("seen", 2)
        assert any(own.away in line for line in own.logged("a right is missing"))
        assert not own.logged("a watch gave up")


# Under Kubeapps' definition and Role ----------------------------------------------------------------------------------


def test_under_kubeapps_definition_the_status_is_an_annotation_and_said_once(own_cluster: Cluster) -> None:
    apply_crds(own_cluster.kube, ROOT / "tests" / "data" / "kubeapps-crd.yaml")
    with controlled(own_cluster.kube) as own:
        own.start()
        for name in ("a", "b"):
            own.apply(name)
            own.finish(own.job(name), DONE)
            until("the status", lambda: annotated(own, name).get("charts") == 21)  # noqa: B023 - called at once
        assert len(own.logged("status goes to the annotation")) == 1
        assert until("the Event", lambda: own.events("a")) == [("Normal", "Synced")]
        own.stop()
        written = own.get("a")["metadata"]["resourceVersion"]
        own.kube.delete("jobs", own.job("a")["metadata"]["name"], own.home)
        own.start()
        own.apply("c")
        own.job("c")
        assert own.jobs("a") == []
        assert own.get("a")["metadata"]["resourceVersion"] == written
        own.delete("a")
        own.clean_up("a")


def annotated(own: Controlled, name: str) -> dict[str, object]:
    return yaml.safe_load(own.get(name)["metadata"].get("annotations", {}).get("chartfleet.dev/status") or "{}")


def test_under_kubeapps_own_role_repositories_are_made_changed_and_removed(cluster: Kube) -> None:
    with controlled(cluster, rules=KUBEAPPS_ROLE, cluster_rules=KUBEAPPS_CLUSTER_ROLE) as own:
        own.start(drop_in=True)
        for number in (1, 2):
            own.apply(f"r{number}", own.away)
            own.job(f"r{number}", namespace=own.away)
        own.apply("r1", own.away, interval="2h")
        own.job("r1", 2, own.away)
        until("the schedule", lambda: "/2 * * *" in own.cron_job("r1", own.away)["spec"]["schedule"])
        until("the status", lambda: own.get("r1", own.away)["metadata"].get("annotations", {}).get("chartfleet.dev/status"))
        own.stop()
        own.start(drop_in=True)
        own.apply("r3", own.away)
        own.job("r3", namespace=own.away)
        assert len(own.jobs("r1", own.away)) == 2
        own.delete("r1", own.away)
        until("its end", lambda: own.gone("r1", own.away))
        assert own.cron_jobs("r1", own.away) == []
        assert len(own.clean_ups("r1", own.away)) == 1
        for resource in ("jobs", "secrets", "configmaps", "cronjobs"):
            lines = [
                line for line in own.logged("a right is missing") if f'"resource": "{resource}"' in line or f"resource={resource}" in line
            ]
            assert 1 <= len(lines) <= 2, (resource, own.log.read_text()[-3000:])  # once each start
