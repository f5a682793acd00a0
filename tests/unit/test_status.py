"""A repository's status: conditions as kstatus reads them, facts that last, and an Event when the outcome changes."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from catalog.model import Repository, RepositoryKey
from catalog.report import Summary
from catalog.schedule import Every
from controller.desired import Desired
from controller.status import LONGEST_MESSAGE, Standing, Trouble, change, event, status

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
METADATA = {"generation": 3}
WANTED = Desired(Repository(RepositoryKey("team", "a"), "helm", "http://x"), Every(timedelta(hours=1)), "f1", "l1", "kubernetes")
DONE = Summary("sync", "team/a", "done", charts=21, versions=1449, notes=2, revision="r1", finished_at=NOW)
FAILED = Summary("sync", "team/a", "failed", error_class="SourceRefused", error="403 from x", finished_at=LATER)


def said(
    before: dict[str, Any] | None = None, standing: Standing | None = None, trouble: Trouble | None = None, now: datetime = NOW
) -> dict[str, Any]:
    return status(METADATA, before or {}, WANTED, trouble, standing or Standing(), now)


def types(given: dict[str, Any]) -> dict[str, tuple[str, str]]:
    return {each["type"]: (each["status"], each["reason"]) for each in given["conditions"]}


SYNCED = said(standing=Standing(DONE, "j1", "f1", "j1"))
BROKEN = said(SYNCED, Standing(FAILED, "j2", "f1", "j1"), now=LATER)


def test_a_sync_under_way_is_reconciling_and_ready_is_not_known() -> None:
    given = said(standing=Standing(handled="f1", handled_job="j1", under_way="it is being synced"))
    assert types(given) == {"Ready": ("Unknown", "Progressing"), "Reconciling": ("True", "Progressing")}


def test_a_success_is_ready_with_its_facts() -> None:
    assert types(SYNCED) == {"Ready": ("True", "Synced")}
    assert {name: SYNCED[name] for name in ("charts", "versions", "notes", "revision")} == {
        "charts": 21,
        "versions": 1449,
        "notes": 2,
        "revision": "r1",
    }
    assert SYNCED["lastSyncTime"] == SYNCED["lastSuccessfulSyncTime"] == "2026-01-02T03:04:05Z"
    assert (SYNCED["lastHandledFingerprint"], SYNCED["lastHandledJob"], SYNCED["lastJob"]) == ("f1", "j1", "j1")


def test_a_failure_is_said_and_the_facts_of_the_last_success_stay() -> None:
    assert types(BROKEN) == {"Ready": ("False", "SourceRefused"), "SyncFailed": ("True", "SourceRefused")}
    assert (BROKEN["charts"], BROKEN["lastSuccessfulSyncTime"]) == (21, "2026-01-02T03:04:05Z")
    assert BROKEN["lastSyncTime"] == "2026-01-02T04:04:05Z"


def test_a_look_that_learns_nothing_changes_nothing() -> None:
    assert change(SYNCED, said(SYNCED, Standing(handled="f1", handled_job="j1"), now=LATER)) == {}
    assert change(BROKEN, said(BROKEN, Standing(handled="f1", handled_job="j1"), now=LATER + timedelta(days=1))) == {}


def test_a_transition_has_its_time_and_another_reason_alone_is_none() -> None:
    other = said(BROKEN, Standing(Summary("sync", "", "failed", error_class="LimitExceeded", error="x", finished_at=LATER)), now=LATER)
    [ready] = [each for each in other["conditions"] if each["type"] == "Ready"]
    assert (ready["reason"], ready["lastTransitionTime"]) == ("LimitExceeded", "2026-01-02T04:04:05Z")
    again = said(BROKEN, Standing(DONE, "j3"), now=LATER + timedelta(hours=1))
    assert again["conditions"][0]["lastTransitionTime"] == "2026-01-02T05:04:05Z"


def test_what_only_a_person_mends_is_stalled_and_what_mends_itself_is_reconciling() -> None:
    assert types(said(trouble=Trouble("InvalidRepository", "spec.url: is required")))["Stalled"] == ("True", "InvalidRepository")
    assert types(said(trouble=Trouble("WaitingForSecret", "x", lasting=False)))["Reconciling"] == ("True", "WaitingForSecret")


def test_a_message_has_its_length() -> None:
    assert len(said(trouble=Trouble("Rejected", "x" * 5000))["conditions"][0]["message"]) == LONGEST_MESSAGE


def test_a_request_is_answered_when_its_sync_has_ended() -> None:
    metadata = {**METADATA, "annotations": {"chartfleet.dev/requested-at": "now"}}
    under_way = status(metadata, {}, WANTED, None, Standing(handled="f1", under_way="it is being synced"), NOW)
    assert "lastHandledRequest" not in under_way
    not_started = status(metadata, {}, WANTED, None, Standing(DONE, "j1", handled="f0"), NOW)
    assert "lastHandledRequest" not in not_started
    assert status(metadata, {}, WANTED, None, Standing(DONE, "j1", "f1", "j1"), NOW)["lastHandledRequest"] == "now"


def test_the_patch_takes_away_what_is_gone() -> None:
    assert change({"a": 1, "b": 2}, {"a": 1, "c": 3}) == {"b": None, "c": 3}


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({}, SYNCED, "Normal Synced"),
        (SYNCED, SYNCED, ""),
        (SYNCED, said(SYNCED, Standing(Summary("sync", "", "done", revision="r2", finished_at=LATER))), "Normal Synced"),
        (SYNCED, BROKEN, "Warning SourceRefused"),
        (BROKEN, said(BROKEN, Standing(FAILED, "j3")), ""),
        (BROKEN, said(BROKEN, Standing(DONE, "j3")), "Normal Synced"),
        ({}, said(standing=Standing(under_way="it is being synced")), ""),
        ({}, said(trouble=Trouble("InvalidRepository", "x")), "Warning InvalidRepository"),
        (SYNCED, said(SYNCED, trouble=Trouble("Deleting", "x", lasting=False)), "Normal Deleting"),
    ],
)
def test_an_event_is_said_when_the_outcome_changes(before: dict[str, Any], after: dict[str, Any], expected: str) -> None:
    found = event(before, after)
    assert (" ".join(found[:2]) if found else "") == expected
