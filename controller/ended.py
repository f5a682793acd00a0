"""What the Jobs of a repository tell: what was asked for, how one ended, what its Pods said. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from catalog.report import Summary, summary_in
from controller.manifests import CAUSE, FINGERPRINT, VERSION
from controller.seen import Object, annotation, created

START_WITHIN = timedelta(seconds=20)
STARTING = ("ContainerCreating", "PodInitializing")
HANDLED = "chartfleet.dev/handled"  # of a CronJob whose repository has no resource to remember it


class Handled(NamedTuple):
    """The last sync that was asked for by a Job of its own: for what, that Job's name, and when it was made if that is known."""

    fingerprint: str = ""
    job: str = ""
    made: str = ""


def handled_by(jobs: Sequence[Object], known: Handled, remembered: Handled) -> Handled:
    """As the newest one-off Job says; what this process has `known`, or the cluster `remembered`, counts where no newer Job is there.

    Times are in whole seconds: of two Jobs of one second, the one that is known or remembered was the last.
    """
    asked = {job["metadata"]["name"]: job for job in jobs if annotation(job, CAUSE)}
    last = known if known.fingerprint else remembered
    if last.job in asked:
        last = last._replace(made=created(asked[last.job]))
    newer = [Handled(annotation(job, FINGERPRINT), name, created(job)) for name, job in asked.items() if created(job) > last.made]
    if not newer or (known.fingerprint and not last.made):  # known, and its Job was never seen
        return last
    return newer[-1]


def is_outdated(version: int, jobs: Sequence[Object]) -> bool:
    """Whether another controller made a Job by a newer resource than the one of this version: ours is on its way."""
    return any(int(annotation(job, VERSION) or 0) > version for job in jobs if annotation(job, CAUSE))


def remembered(before: Mapping[str, Any], cron_job: Object | None) -> Handled:
    """As the status `before` or the CronJob remembers."""
    if before.get("lastHandledFingerprint"):
        return Handled(before["lastHandledFingerprint"], before.get("lastHandledJob") or "")
    fingerprint, _, job = annotation(cron_job, HANDLED).partition(" ") if cron_job else ("", "", "")
    return Handled(fingerprint, job)


def said_by(pods: Iterable[Object]) -> Summary | None:
    """The last summary among the Pods' termination messages; None when there is none."""
    texts = [text for pod in sorted(pods, key=created) for text in messages(pod)]
    return next((summary for text in reversed(texts) if (summary := summary_in(text))), None)


def condition(job: Object, kind: str) -> Mapping[str, Any] | None:
    found = (each for each in job["status"].get("conditions") or () if each["type"] == kind and each["status"] == "True")
    return next(found, None)


def succeeded(job: Object) -> bool:
    return condition(job, "Complete") is not None


def finished(job: Object) -> str:
    """When the Job ended, "" while it has not."""
    ended = condition(job, "Complete") or condition(job, "Failed")
    return (ended or {}).get("lastTransitionTime", "")


def messages(pod: Object) -> list[str]:
    """The termination messages of a Pod's containers, the last attempt's after those before."""
    states = (pod.get("status") or {}).get("containerStatuses") or ()
    ended = [(each.get(name) or {}).get("terminated") for each in states for name in ("lastState", "state")]
    return [each["message"] for each in ended if each and each.get("message")]


def dated(said: Summary, job: Object) -> Summary:
    """With the time of its end, no later than the Job's: a node whose clock is ahead would hide the next Jobs' results."""
    end = moment(finished(job))
    return replace(said, finished_at=min((said.finished_at or end).astimezone(UTC), end))


def stuck(jobs: Iterable[Object], now: datetime) -> list[Object]:
    """One-off Jobs that have had no running Pod: their image or a Secret may come hours later, when what they ask for is long past."""
    return [job for job in jobs if annotation(job, CAUSE) and never_ran(job, now)]


def never_ran(job: Object, now: datetime) -> bool:
    """Whether a Job of some age has neither ended nor a running Pod."""
    before = (now - START_WITHIN).strftime("%Y-%m-%dT%H:%M:%SZ")
    return not finished(job) and not job["status"].get("ready") and created(job) < before


def kept_from_starting(job: Object, pods: Sequence[Object], now: datetime) -> str:
    """Why a Job of some age has no running Pod, in Kubernetes' own words; "" where it has one, or will in a moment."""
    if not never_ran(job, now):
        return ""
    if not pods:
        return f"Job {job['metadata']['name']} has no Pod yet: its Events say why"
    pod = max(pods, key=created)
    status = pod.get("status") or {}
    containers = [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
    waiting = [(each.get("state") or {}).get("waiting") or {} for each in containers]
    unscheduled = [each for each in status.get("conditions") or () if (each["type"], each["status"]) == ("PodScheduled", "False")]
    why = next((each for each in (*waiting, *unscheduled) if each.get("reason") not in (None, *STARTING)), None)
    if status.get("phase") != "Pending" or why is None:
        return ""
    return f"Pod {pod['metadata']['name']} does not start: {why['reason']}: {why.get('message', '')}".rstrip(": ")


def told_by_conditions(job: Object) -> Summary:
    """A Job of which no Pod tells any more, or that a syncer of Kubeapps' ran."""
    failed = condition(job, "Failed")
    if failed is None:
        return Summary("sync", "", "done", finished_at=moment(finished(job)))
    text = f"Job {job['metadata']['name']}: {failed.get('message') or 'it failed'}"
    reason = failed.get("reason") or "JobFailed"
    return Summary("sync", "", "failed", finished_at=moment(finished(job)), error_class=reason, error=text)


def moment(text: str) -> datetime:
    """A time as Kubernetes writes it."""
    return datetime.fromisoformat(text)
