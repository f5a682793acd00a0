"""What Jobs tell, without a cluster."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from controller.ended import START_WITHIN, kept_from_starting, stuck
from controller.manifests import CAUSE

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def job(name: str, age: timedelta = 2 * START_WITHIN, cause: str = "change", **status: Any) -> dict[str, Any]:
    made = (NOW - age).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"metadata": {"name": name, "creationTimestamp": made, "annotations": {CAUSE: cause} if cause else {}}, "status": status}


def test_stuck_are_old_one_off_jobs_that_neither_run_nor_have_ended() -> None:
    ended = {"conditions": [{"type": "Failed", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}
    others = [job("young", timedelta()), job("runs", ready=1), job("ended", **ended), job("by schedule", cause="")]
    assert [each["metadata"]["name"] for each in stuck([*others, job("waits"), job("failed once", failed=1)], NOW)] == [
        "waits",
        "failed once",
    ]


def pod(phase: str = "Pending", waiting: dict[str, str] | None = None, **status: Any) -> dict[str, Any]:
    containers = [{"state": {"waiting": waiting}}] if waiting else []
    return {
        "metadata": {"name": "pod", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "status": {"phase": phase, "containerStatuses": containers, **status},
    }


UNSCHEDULED = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no nodes available"}


@pytest.mark.parametrize(
    ("pods", "said"),
    [
        ([], "Job sync has no Pod yet: its Events say why"),
        (
            [pod(waiting={"reason": "ImagePullBackOff", "message": "no such host"})],
            "Pod pod does not start: ImagePullBackOff: no such host",
        ),
        ([pod(waiting={"reason": "CreateContainerConfigError"})], "Pod pod does not start: CreateContainerConfigError"),
        ([pod(conditions=[UNSCHEDULED])], "Pod pod does not start: Unschedulable: no nodes available"),
        ([pod(waiting={"reason": "ContainerCreating"})], ""),
        ([pod("Running")], ""),
        ([pod("Failed")], ""),
    ],
)
def test_why_a_pod_does_not_start_is_kubernetes_own_words(pods: list[dict[str, Any]], said: str) -> None:
    assert kept_from_starting(job("sync"), pods, NOW) == kept_from_starting(job("sync", cause=""), pods, NOW) == said
    assert kept_from_starting(job("sync", timedelta()), pods, NOW) == ""
    assert kept_from_starting(job("sync", ready=1), pods, NOW) == ""
