"""A repository as CronJob, sync Job and clean-up Job: plain dicts, always fresh. Pure.

What is Kubeapps' in them (names, labels, arguments, environment, fields from flags) is equal to its own; docs/kubeapps.md lists what
is not.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from catalog.jobs import CleanUpRepository
from catalog.model import RepositoryKey
from catalog.schedule import cron_job_schedule
from controller.desired import Desired
from controller.flags import JobSettings
from controller.pods import Manifest, clean_up_pod, job_namespace, repository_labels, sync_pod

APPLIED = "chartfleet.dev/applied"
REPOSITORY = "chartfleet.dev/repository"
SOURCE = "chartfleet.dev/source"
FINGERPRINT = "chartfleet.dev/fingerprint"
CAUSE = "chartfleet.dev/cause"
VERSION = "chartfleet.dev/version"  # the newest resourceVersion that a one-off Job was made by
INCARNATION = "chartfleet.dev/incarnation"
ATTEMPT = "chartfleet.dev/attempt"

# Without a deadline a CronJob that missed a hundred ticks never starts again; every minute for an hour is sixty.
STARTING_DEADLINE = 3600  # seconds
BACKOFF_LIMIT = 6  # retries, Kubernetes' default
CLEAN_UP_KEPT = 300  # seconds at least, so that its end is seen


def cron_job(desired: Desired, settings: JobSettings, name: str, *, held: bool) -> Manifest:
    """The CronJob of a repository; `held` suspends it, whatever the reason. Its Jobs get their Pods' labels from the API server."""
    key = desired.key
    schedule, _ = cron_job_schedule(desired.interval, settings.crontab, str(key) if settings.spread else None)
    notes = {REPOSITORY: str(key), SOURCE: desired.source}
    manifest: Manifest = {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {**_metadata(name, desired, settings, notes), "labels": repository_labels(key, settings)},
        "spec": {
            "schedule": schedule,
            "concurrencyPolicy": settings.concurrency_policy,
            **({"suspend": True} if held else {}),  # else whoever else suspends it owns the field
            "startingDeadlineSeconds": STARTING_DEADLINE,
            "successfulJobsHistoryLimit": settings.successful_jobs_history_limit,
            "failedJobsHistoryLimit": settings.failed_jobs_history_limit,
            "jobTemplate": {
                "metadata": {"annotations": {**_notes(desired), FINGERPRINT: desired.fingerprint}},
                "spec": _job_spec(sync_pod(desired, settings), settings, settings.ttl_seconds),
            },
        },
    }
    manifest["metadata"]["annotations"][APPLIED] = manifest_hash(manifest)
    return manifest


def sync_job(desired: Desired, settings: JobSettings, name: str, cause: str) -> Manifest:
    """A sync once, now; `cause` is first, change or request."""
    seen = {VERSION: str(desired.version)} if desired.version else {}
    notes = {**_notes(desired), FINGERPRINT: desired.fingerprint, CAUSE: cause, **seen}
    return _job(_metadata(name, desired, settings, notes), sync_pod(desired, settings), settings, settings.ttl_seconds)


def clean_up_job(
    key: RepositoryKey, uid: str, settings: JobSettings, name: str, attempt: int, template: Mapping[str, Any] | None = None
) -> Manifest:
    """The removal of a repository's rows, in the controller's own namespace, where no owner's deletion takes it along.

    `template` is a Desired's; it counts only where the repository's Jobs run in that namespace too: else what it refers to is elsewhere.
    """
    counts = job_namespace(key, settings) == settings.namespace
    pod = clean_up_pod(CleanUpRepository(key, uid), settings, (template or {}) if counts else {})
    notes = {REPOSITORY: str(key), INCARNATION: uid, ATTEMPT: str(attempt)}
    metadata = {"name": name, "namespace": settings.namespace, "annotations": {**settings.custom_annotations, **notes}}
    kept = None if settings.ttl_seconds is None else max(settings.ttl_seconds, CLEAN_UP_KEPT)
    return _job(metadata, pod, settings, kept)


def manifest_hash(manifest: Manifest) -> str:
    """32 hexadecimal digits over a manifest without its own `chartfleet.dev/applied`."""
    metadata = manifest["metadata"]
    annotations = {name: value for name, value in metadata["annotations"].items() if name != APPLIED}
    text = json.dumps({**manifest, "metadata": {**metadata, "annotations": annotations}}, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def annotated(manifest: Manifest, annotations: Mapping[str, str]) -> Manifest:
    """The manifest with annotations of ours besides its own."""
    metadata = manifest["metadata"]
    return {**manifest, "metadata": {**metadata, "annotations": {**metadata.get("annotations", {}), **annotations}}}


def _metadata(name: str, desired: Desired, settings: JobSettings, notes: Mapping[str, str]) -> Manifest:
    namespace = job_namespace(desired.key, settings)
    metadata: Manifest = {
        "name": name,
        "namespace": namespace,
        "annotations": {**settings.custom_annotations, **notes},
    }
    if desired.uid and namespace == desired.key.namespace:  # an owner in another namespace would be deleted as missing
        metadata["ownerReferences"] = [_owner(desired)]
    return metadata


def _notes(desired: Desired) -> dict[str, str]:
    """Whose it is: a repository that was deleted and made again has nothing to do with the Jobs of the one before."""
    return {REPOSITORY: str(desired.key), **({INCARNATION: desired.uid} if desired.uid else {})}


def _owner(desired: Desired) -> Manifest:
    return {
        "apiVersion": "kubeapps.com/v1alpha1",
        "kind": "AppRepository",
        "name": desired.key.name,
        "uid": desired.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }


def _job(metadata: Manifest, pod: Manifest, settings: JobSettings, kept: int | None) -> Manifest:
    """A Job with its Pod's labels."""
    labelled = {**metadata, "labels": dict(pod["metadata"]["labels"])}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": labelled, "spec": _job_spec(pod, settings, kept)}


def _job_spec(pod: Manifest, settings: JobSettings, kept: int | None) -> Manifest:
    """`kept`: seconds after the end, None for ever."""
    deadline = settings.active_deadline_seconds
    return {
        "backoffLimit": BACKOFF_LIMIT,
        "podFailurePolicy": {"rules": _failure_rules(pod["spec"]["containers"][0]["name"])},
        **({"ttlSecondsAfterFinished": kept} if kept is not None else {}),
        **({"activeDeadlineSeconds": deadline} if deadline is not None else {}),
        "template": pod,
    }


def _failure_rules(container: str) -> list[Manifest]:
    """An evicted Pod is no failure; an error that trying again does not mend (1, and 2 of the command line) ends the Job at once."""
    return [
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        {"action": "FailJob", "onExitCodes": {"containerName": container, "operator": "In", "values": [1, 2]}},
    ]
