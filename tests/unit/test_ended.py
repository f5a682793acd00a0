"""What Jobs tell: which one was asked for last, and how one ended."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from catalog.report import Summary
from controller.ended import HANDLED, Handled, dated, handled_by, is_outdated, remembered, said_by, told_by_conditions
from controller.manifests import CAUSE, FINGERPRINT, VERSION

NOTHING = Handled()


def job(name: str, second: int, fingerprint: str = "") -> dict[str, Any]:
    annotations = {CAUSE: "change", FINGERPRINT: fingerprint or f"f-{name}"}
    return {"metadata": {"name": name, "creationTimestamp": f"2026-01-01T00:00:{second:02}Z", "annotations": annotations}, "status": {}}


@pytest.mark.parametrize(
    ("jobs", "known", "remembers", "expected"),
    [
        ([], NOTHING, NOTHING, ""),
        ([], NOTHING, Handled("f-a", "a"), "a"),
        ([job("a", 1), job("b", 2)], NOTHING, NOTHING, "b"),
        ([job("a", 1), job("b", 2)], NOTHING, Handled("f-a", "a"), "b"),  # killed before the status was written
        ([job("a", 1), job("b", 1)], NOTHING, Handled("f-a", "a"), "a"),  # both in one second
        ([job("a", 1), job("b", 2)], Handled("f-a", "a"), NOTHING, "b"),  # another controller's
        ([job("a", 1)], Handled("f-b", "b"), NOTHING, "b"),  # b is forgotten
        ([job("b", 2)], NOTHING, Handled("f-a", "a"), "b"),
    ],
)
def test_the_newest_one_off_job_tells_what_was_asked_for_last(
    jobs: list[dict[str, Any]], known: Handled, remembers: Handled, expected: str
) -> None:
    assert handled_by(jobs, known, remembers).job == expected


def test_the_status_remembers_and_without_a_resource_the_cron_job() -> None:
    assert remembered({"lastHandledFingerprint": "f", "lastHandledJob": "j"}, None) == Handled("f", "j")
    assert remembered({}, {"metadata": {"annotations": {HANDLED: "f j"}}}) == Handled("f", "j")
    assert remembered({}, None) == NOTHING


def pod(second: int, *messages: str) -> dict[str, Any]:
    statuses = [{"state": {"terminated": {"message": message}}} for message in messages]
    return {"metadata": {"creationTimestamp": f"2026-01-01T00:00:{second:02}Z"}, "status": {"containerStatuses": statuses}}


def test_the_last_pods_summary_counts_and_other_texts_do_not() -> None:
    first, second = Summary("sync", "a", "failed", error_class="SourceUnavailable"), Summary("sync", "a", "done", charts=1)
    assert said_by([pod(2, second.message()), pod(1, first.message())]) == second
    assert said_by([pod(1, first.message()), pod(2, "panic: no", "")]) == first
    assert said_by([pod(1, "no JSON"), {"metadata": {}, "status": {}}]) is None


def test_a_job_without_a_pod_is_told_by_its_condition() -> None:
    ended = {"type": "Failed", "status": "True", "reason": "DeadlineExceeded", "message": "it was too slow"}
    failed = {**job("a", 1), "status": {"conditions": [{**ended, "lastTransitionTime": "2026-01-01T00:01:00Z"}]}}
    told = told_by_conditions(failed)
    assert (told.error_class, told.error) == ("DeadlineExceeded", "Job a: it was too slow")


END = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
JOB = {
    "metadata": {"name": "a"},
    "status": {"conditions": [{"type": "Complete", "status": "True", "lastTransitionTime": "2026-01-02T03:04:05Z"}]},
}


@pytest.mark.parametrize(
    ("said", "expected"), [(None, END), (END - timedelta(seconds=2), END - timedelta(seconds=2)), (END + timedelta(hours=1), END)]
)
def test_a_result_is_no_later_than_its_job(said: datetime | None, expected: datetime) -> None:
    assert dated(Summary("sync", "", "done", finished_at=said), JOB).finished_at == expected


def test_a_job_made_by_a_newer_resource_tells_that_ours_is_outdated() -> None:
    made = job("a", 1)
    made["metadata"]["annotations"][VERSION] = "7"
    assert [is_outdated(version, [job("b", 2), made]) for version in (6, 7, 8)] == [True, False, False]
    assert not is_outdated(6, [{"metadata": {"name": "by schedule", "annotations": {VERSION: "7"}}}])
