"""A resource and how its syncs stand → its status, as kstatus and `kubectl wait` read it. Pure.

Conditions (Kubernetes API conventions): Ready is always there; Reconciling, Stalled, SyncFailed and RemovalsHeld only while they are true.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from catalog.report import Summary
from controller.desired import Desired

REQUESTED_AT = "chartfleet.dev/requested-at"
LONGEST_MESSAGE = 1024  # characters; the API allows 32,768, a terminal does not
LASTING = ("status", "lastSyncTime", "lastSuccessfulSyncTime", "revision", "charts", "versions", "notes", "lastHandledRequest")
LASTING_TOO = ("lastHandledFingerprint", "lastHandledJob", "lastJob")


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a resource is not acted on, or not in full: `reason` for machines, the text for people.

    `lasting`: only a person's change helps (Stalled); otherwise it is waited for.
    """

    reason: str
    message: str
    lasting: bool = True


@dataclass(frozen=True, slots=True)
class Standing:
    """How a repository's syncs stand.

    `summary` is the newest finished run's, told by `job`; `handled` the fingerprint that was last asked for by a job of its own, which
    is `handled_job`; `under_way` says what is being waited for, "" for nothing.
    """

    summary: Summary | None = None
    job: str = ""
    handled: str = ""
    handled_job: str = ""
    under_way: str = ""
    next_due: datetime | None = None


def status(
    metadata: Mapping[str, Any],
    before: Mapping[str, Any],
    desired: Desired | None,
    trouble: Trouble | None,
    standing: Standing,
    now: datetime,
) -> dict[str, Any]:
    """The whole status of the resource with this metadata; what this look did not learn stays as it was `before`."""
    facts = {name: before[name] for name in (*LASTING, *LASTING_TOO) if name in before} | _facts(standing)
    generation = metadata.get("generation", 0)
    answered = not standing.under_way and desired and standing.handled == desired.fingerprint
    if answered and (asked := (metadata.get("annotations") or {}).get(REQUESTED_AT)):
        facts["lastHandledRequest"] = asked
    if standing.handled:
        facts["lastHandledFingerprint"] = standing.handled
    if standing.handled_job:
        facts["lastHandledJob"] = standing.handled_job
    if standing.next_due and desired and desired.runnable:
        facts["nextSyncTime"] = timestamp(standing.next_due)
    told = Told.of(standing.summary) if standing.summary else remembered(before)
    found = conditions(desired, trouble, standing, told, facts)
    return {**facts, "observedGeneration": generation, "conditions": dated(found, before.get("conditions") or (), generation, now)}


def conditions(
    desired: Desired | None, trouble: Trouble | None, standing: Standing, told: "Told | None", facts: Mapping[str, Any]
) -> list[tuple[str, str, str, str]]:
    """Type, status, reason and message of each condition that applies."""
    found = [("Ready", *_ready(desired, trouble, standing, told, facts))]
    if trouble and trouble.lasting:
        found.append(("Stalled", "True", trouble.reason, trouble.message))
    elif trouble or standing.under_way:
        waited = trouble or Trouble("Progressing", standing.under_way)
        found.append(("Reconciling", "True", waited.reason, waited.message))
    if told and told.error_class:
        found.append(("SyncFailed", "True", told.error_class, told.error))
    if told and told.held:
        found.append(("RemovalsHeld", "True", "RemovalsHeld", told.held))
    return found


def _ready(
    desired: Desired | None, trouble: Trouble | None, standing: Standing, told: "Told | None", facts: Mapping[str, Any]
) -> tuple[str, str, str]:
    if trouble:
        return "False", trouble.reason, trouble.message
    if standing.under_way:
        return "Unknown", "Progressing", standing.under_way
    if told is None:
        suspended = desired is not None and desired.suspended
        return ("Unknown", "Suspended", "spec.suspend is true") if suspended else ("Unknown", "Progressing", "not synced yet")
    if told.error_class:
        return "False", told.error_class, told.error
    known = "charts" in facts and "versions" in facts  # Kubeapps' syncer tells neither
    counts = f"{facts['charts']:,} charts, {facts['versions']:,} versions" if known else "the last sync went well"
    return "True", "Synced", f"{counts}; suspended" if desired is not None and desired.suspended else counts


@dataclass(frozen=True, slots=True)
class Told:
    """What the last run that the status tells of said, in short; `held` of a listing whose removals wait, whatever became of the run."""

    error_class: str = ""
    error: str = ""
    held: str = ""

    @classmethod
    def of(cls, summary: Summary) -> "Told":
        error_class, error, held = summary.error_class or "", summary.error or "", summary.held
        waits = f"{held.removals:,} removals are held ({held.reason})" if held else ""
        return cls(error_class, error, error if error_class == "RemovalsHeld" else waits)


def remembered(before: Mapping[str, Any]) -> Told | None:
    """The last run as the conditions have it; None when no run was told of yet."""
    if "lastSyncTime" not in before:
        return None
    failed, held = _condition(before, "SyncFailed"), _condition(before, "RemovalsHeld")
    return Told(failed.get("reason", ""), failed.get("message", ""), held.get("message", ""))


def _facts(standing: Standing) -> dict[str, Any]:
    """What a finished run says of the repository."""
    summary, facts = standing.summary, {"lastJob": standing.job} if standing.job else {}
    if summary is None or summary.finished_at is None:
        return facts
    facts["lastSyncTime"] = timestamp(summary.finished_at)
    if not summary.error_class:
        facts["lastSuccessfulSyncTime"] = facts["lastSyncTime"]
    numbers = {"charts": summary.charts, "versions": summary.versions, "notes": summary.notes, "revision": summary.revision}
    return facts | {name: value for name, value in numbers.items() if value is not None}


def dated(
    found: Iterable[tuple[str, str, str, str]], before: Iterable[Mapping[str, Any]], generation: int, now: datetime
) -> list[dict[str, Any]]:
    """Conditions as metav1.Condition; lastTransitionTime stays while the status does."""
    known = {each.get("type"): each for each in before}
    return [
        {
            "type": kind,
            "status": value,
            "reason": reason,
            "message": message[:LONGEST_MESSAGE],
            "observedGeneration": generation,
            "lastTransitionTime": since if (since := _since(known.get(kind), value)) else timestamp(now),
        }
        for kind, value, reason, message in found
    ]


def _since(known: Mapping[str, Any] | None, value: str) -> str | None:
    return known.get("lastTransitionTime") if known and known.get("status") == value else None


def timestamp(moment: datetime) -> str:
    """As Kubernetes writes times: RFC 3339 in UTC, whole seconds."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def change(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """The merge patch from one status to the other; {} for none. What is gone is null."""
    gone = {name: None for name in before if name not in after}
    return gone | {name: value for name, value in after.items() if before.get(name) != value}


def event(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[str, str, str] | None:
    """Type, reason and message of the Event that the change deserves: an outcome that differs from the one before it; None for none."""
    ready, was = _condition(after, "Ready"), _condition(before, "Ready")
    told = remembered(before)
    if ready["status"] == "True" and (told is None or told.error_class or before.get("revision") != after.get("revision")):
        return "Normal", ready["reason"], ready["message"]
    if ready["status"] == "False" and ready["reason"] not in (was.get("reason"), told and told.error_class):
        return "Normal" if ready["reason"] == "Deleting" else "Warning", ready["reason"], ready["message"]
    return None


def _condition(status: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    return next((each for each in status.get("conditions") or () if each.get("type") == kind), {})
