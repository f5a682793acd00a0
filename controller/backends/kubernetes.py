"""Actions → CronJobs and Jobs. What stands is read from what the API server said (seen.py), so nothing here needs a database.

A one-off Job's name follows from what is asked for and from the one-off Job before it: the name is the lock. Whoever else creates it
meanwhile, also this controller before it was killed, has done our work.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

import structlog

from catalog.model import Applied, RepositoryKey
from catalog.report import Summary
from catalog.schedule import Cron, next_due
from controller import manifests, names, pods
from controller.adoption import taken_over
from controller.backends.jobs import Jobs
from controller.backends.removal import Removal
from controller.cluster import MANAGER, Cluster, Object, ResourceConflict
from controller.desired import Desired
from controller.ended import (
    HANDLED,
    Handled,
    finished,
    handled_by,
    is_outdated,
    remembered,
    stuck,
)
from controller.flags import JobSettings
from controller.manifests import APPLIED, ATTEMPT, CAUSE, INCARNATION, SOURCE
from controller.plan import Action, EnsureSchedule, Remove, RunNow
from controller.pods import Manifest
from controller.seen import NAME_LABEL, Seen, Use, annotation, created, of_job, owner, place
from controller.status import Standing

log = structlog.get_logger()
KINDS = {"Secret": "secrets", "ConfigMap": "configmaps"}
STUCK_AFTER = timedelta(minutes=10)  # a Job that is older takes no place from those that wait


@dataclass(slots=True)
class KubernetesBackend:
    """The cluster's side of the controller. `waiting` are those whose first sync waits for room, in their order."""

    cluster: Cluster
    seen: Seen
    settings: JobSettings
    handled: dict[RepositoryKey, Handled] = field(default_factory=dict)
    waiting: dict[RepositoryKey, None] = field(default_factory=dict)
    jobs: Jobs = field(init=False)
    starting: dict[RepositoryKey, str] = field(default_factory=dict)
    claimed: dict[tuple[str, str], RepositoryKey] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.jobs = Jobs(self.cluster, self.seen)

    # What stands ------------------------------------------------------------------------------------------------------

    async def look(self) -> None:
        """Read the CronJobs and Jobs anew, where no watch tells of them."""
        namespace = self.settings.namespace if self.settings.job_namespace == "release" else None
        for resource in ("cronjobs", "jobs"):
            listing = await self.cluster.list(resource, namespace, labels=NAME_LABEL)
            self.seen.shelf(resource).replace(listing.objects, int(listing.version), namespace)
            self.seen.readable.add(resource)

    async def applied(self, source: str) -> dict[RepositoryKey, Applied]:
        """What stands for a source."""
        await self.look()
        shelf = self.seen.cron_jobs
        keys = {key for thing in shelf.objects.values() if annotation(thing, SOURCE) == source and (key := shelf.owner(thing))}
        return {key: found for key in keys if (found := await self.applied_to(key))}

    async def owner(self, key: RepositoryKey) -> str | None:
        """The source that a name belongs to."""
        return next((annotation(thing, SOURCE) for thing in self.seen.cron_jobs.of(key)), None)

    async def applied_to(self, key: RepositoryKey, before: Mapping[str, Any] | None = None) -> Applied | None:
        """What stands for a repository; `before` is its resource's status."""
        cron_job = self._cron_job(key)
        handled = self._handled(key, before or {})
        if cron_job is None and not handled.fingerprint:
            return None
        written = annotation(cron_job, APPLIED) if cron_job else ""
        mark, _, generation = written.partition("/")
        drifted = cron_job is None or generation != str(cron_job["metadata"].get("generation"))
        source, uid = (annotation(cron_job, name) if cron_job else "" for name in (SOURCE, INCARNATION))
        return Applied(key, uid, handled.fingerprint, source or None, "" if drifted else mark)

    def needs(self, desired: Desired) -> tuple[dict[Use, tuple[str, ...]], frozenset[Use]]:
        """What no Pod of the repository starts without, each with the keys that must be in it; and all that its Pods refer to."""
        required: dict[Use, tuple[str, ...]] = dict.fromkeys(map(use_of, pods.needs(desired, self.settings)), ())
        for reference, key in pods.keys(desired, self.settings):
            required[use_of(reference)] = (*required[use_of(reference)], key)
        return required, frozenset(map(use_of, pods.uses(desired, self.settings)))

    def mark(self, desired: Desired) -> str:
        """A hash of all that the CronJob is made of."""
        return manifests.manifest_hash(self._manifest(desired))

    async def standing(self, desired: Desired, before: Mapping[str, Any]) -> Standing:
        """How the repository's syncs stand, with what the newest finished Job said if `before` does not tell of it yet."""
        handled = self._handled(desired.key, before)
        if handled.fingerprint == desired.fingerprint or not desired.runnable:
            self.waiting.pop(desired.key, None)  # what it waited to sync is not asked for any more
        jobs = [job for job in self.seen.jobs.of(desired.key) if not annotation(job, ATTEMPT)]
        jobs = [job for job in jobs if annotation(job, INCARNATION) in ("", desired.uid)]
        asked = [job for job in jobs if annotation(job, CAUSE) and not finished(job) and job["metadata"]["name"] == handled.job]
        told, summary = await self._news(jobs, before)
        under_way = await self.jobs.course(asked[-1], "it is being synced", progress(before)) if asked else ""
        if desired.key in self.waiting:
            under_way = "its sync waits for room"
        since = (summary and summary.finished_at) or (before.get("lastSyncTime") and datetime.fromisoformat(before["lastSyncTime"]))
        due = next_due(Cron(self._manifest(desired)["spec"]["schedule"]), "", since) if since else None
        return Standing(summary, told, handled.fingerprint, handled.job, under_way, due)

    async def _news(self, jobs: list[Object], before: Mapping[str, Any]) -> tuple[str, Summary | None]:
        """The newest Job that has ended since `before` and had its turn, and what it said; without such a one the newest that ended."""
        since, told = str(before.get("lastSyncTime") or ""), str(before.get("lastJob") or "")
        ended = sorted((job for job in jobs if finished(job) >= (since or "0")), key=lambda job: (finished(job), place(job)), reverse=True)
        for job in ended:
            if job["metadata"]["name"] == told:
                break
            if summary := await self.jobs.summary(job):
                return job["metadata"]["name"], summary
        return (ended[0]["metadata"]["name"] if ended else ""), None

    # What is to be done -----------------------------------------------------------------------------------------------

    async def apply(self, actions: tuple[Action, ...]) -> None:
        """A repository's actions. Raises ResourceConflict, ApiRefused, ApiUnavailable."""
        for action in actions:
            match action:
                case EnsureSchedule(desired):
                    await self._ensure(desired)
                case RunNow(desired):
                    await self._run(desired)
                case Remove(job):
                    await self._remove(job.key, job.incarnation)

    async def say(self, source: str, problems: Iterable[object]) -> None:
        """Problems of documents are in the log; there is no place in the cluster for them."""

    async def clean_up(self, key: RepositoryKey, uid: str) -> str | None:
        """Stop what runs for a repository and have its rows removed. None when that is done, else what is waited for."""
        await self.jobs.delete(key, "cronjobs", self.seen.cron_jobs.of(key))
        self.handled.pop(key, None)
        return await Removal(self.jobs, self.settings).step(key, uid)

    async def forget(self, key: RepositoryKey, uid: str) -> None:
        """Nothing remains of a repository that is gone: no Job either, whatever became of it."""
        gone = [job for job in self.seen.jobs.of(key) if annotation(job, INCARNATION) in ("", uid)]
        await self.jobs.delete(key, "jobs", gone)
        self.handled.pop(key, None)
        self.waiting.pop(key, None)
        self.claimed = {name: whose for name, whose in self.claimed.items() if whose != key}

    async def follow(self, look_at: Callable[[RepositoryKey], None]) -> None:
        """The watch of Jobs tells."""

    def next_in_line(self, job: Object) -> tuple[RepositoryKey, ...]:
        """Who may have room now that this Job has ended, or is gone."""
        ended = finished(of_job(job)) or place(job) not in self.seen.jobs.objects
        return tuple(islice(self.waiting, 2)) if ended else ()

    def room(self, cause: str, now: datetime) -> bool:
        """Whether another Job of this cause may start."""
        newest = (now - STUCK_AFTER).strftime("%Y-%m-%dT%H:%M:%SZ")
        jobs = (job for job in self.seen.jobs.objects.values() if annotation(job, CAUSE) == cause and created(job) > newest)
        whose = self.seen.jobs.owner
        running = {whose(job) for job in jobs if not finished(job)} | {key for key, why in self.starting.items() if why == cause}
        return len(running - {None}) < self.settings.max_concurrent_first_syncs

    async def _ensure(self, desired: Desired) -> None:
        manifest = self._manifest(desired)
        known = self._cron_job(desired.key)
        if known and not annotation(known, APPLIED):
            known = await self._adopt(known)
        if known is None:
            await self._refuse_foreign(manifest)
        generation = known["metadata"]["generation"] + 1 if known else 1
        written = await self._apply_cron_job(desired, manifest, generation)
        if written["metadata"]["generation"] != generation:  # what changed was no part of the spec
            await self._apply_cron_job(desired, manifest, written["metadata"]["generation"])

    async def _apply_cron_job(self, desired: Desired, manifest: Manifest, generation: int) -> Object:
        ours = {APPLIED: f"{manifests.manifest_hash(manifest)}/{generation}", **({INCARNATION: desired.uid} if desired.uid else {})}
        written = await self.cluster.apply("cronjobs", manifests.annotated(manifest, ours))
        self.seen.cron_jobs.put(written)
        log.info("applied", action="apply", repository=str(desired.key), cron_job=written["metadata"]["name"])
        return written

    async def _adopt(self, known: Object) -> Object | None:
        """Kubeapps' controller wrote this CronJob whole: what it set becomes ours, so that what we do not set goes."""
        live = await self.cluster.get("cronjobs", *place(known))
        if live is None:
            return None
        change = {name: live["metadata"].get(name) for name in ("resourceVersion", "managedFields")}
        change["managedFields"] = taken_over(change["managedFields"] or (), MANAGER)
        return await self.cluster.merge("cronjobs", live["metadata"], {"metadata": change})

    async def _refuse_foreign(self, manifest: Object) -> None:
        namespace, name = manifest["metadata"]["namespace"], manifest["metadata"]["name"]
        there = await self.cluster.get("cronjobs", namespace, name)
        if there and owner(there) != owner(manifest):
            raise ResourceConflict(f"CronJob {namespace}/{name} exists and is not this repository's: rename or delete one of them")

    async def _run(self, desired: Desired) -> None:
        """Create the one-off Job, or wait for room; nothing where the last one was for the same."""
        key, before = desired.key, self._handled(desired.key, {})
        if before.fingerprint == desired.fingerprint or (desired.version and is_outdated(desired.version, self.seen.jobs.of(key))):
            return
        cause = "change" if before.fingerprint else "first"
        if not self.room(cause, datetime.now(UTC)):
            self.waiting[key] = None
            return
        self.waiting.pop(key, None)
        name = names.one_off_name(self._place(desired)[1], desired.fingerprint, before.job)
        self.starting[key] = cause
        try:
            made = await self.jobs.create(manifests.sync_job(desired, self.settings, name, cause))
        finally:
            del self.starting[key]
        if made:
            log.info("a sync starts", action="run", repository=str(key), job=name, cause=cause)
        self.handled[key] = Handled(desired.fingerprint, name)
        others = (job for job in self.seen.jobs.of(key) if job["metadata"]["name"] != name)
        await self.jobs.delete(key, "jobs", stuck(others, datetime.now(UTC)))
        if not desired.uid and (known := self._cron_job(key)):  # no resource to remember it
            note = {"metadata": {"annotations": {HANDLED: f"{desired.fingerprint} {name}"}}}
            self.seen.cron_jobs.put(await self.cluster.merge("cronjobs", known["metadata"], note))

    async def _remove(self, key: RepositoryKey, incarnation: str) -> None:
        """For a resource that holds nothing back: the CronJob goes last, so that what fails is seen again."""
        for cron_job in self.seen.cron_jobs.of(key):
            if not cron_job["spec"].get("suspend"):
                self.seen.cron_jobs.put(await self.cluster.merge("cronjobs", cron_job["metadata"], {"spec": {"suspend": True}}))
        if await Removal(self.jobs, self.settings).step(key, incarnation) is None:
            await self.jobs.delete(key, "cronjobs", self.seen.cron_jobs.of(key))
            await self.forget(key, incarnation)

    # Names and what follows from them ---------------------------------------------------------------------------------

    def _cron_job(self, key: RepositoryKey) -> Object | None:
        return next(iter(self.seen.cron_jobs.of(key)), None)

    def _place(self, desired: Desired) -> tuple[str, str]:
        """Namespace and name of the repository's CronJob: the one that it has, its name by the rules, or a spare one."""
        namespace = pods.job_namespace(desired.key, self.settings)
        if known := self._cron_job(desired.key):
            return namespace, known["metadata"]["name"]
        name = names.cron_job_name(desired.key)
        there = self.seen.cron_jobs.objects.get((namespace, name))
        whose = self.claimed.setdefault((namespace, name), (self.seen.cron_jobs.owner(there) if there else None) or desired.key)
        return namespace, name if whose == desired.key else names.spare_name(name, desired.key)

    def _manifest(self, desired: Desired) -> Manifest:
        held = desired.suspended or desired.problem_reason == "WaitingForSecret"
        return manifests.cron_job(desired, self.settings, self._place(desired)[1], held=held)

    def _handled(self, key: RepositoryKey, before: Mapping[str, Any]) -> Handled:
        """What was last asked for: as this process knows, or as the cluster remembers."""
        known = handled_by(self.seen.jobs.of(key), self.handled.get(key, Handled()), remembered(before, self._cron_job(key)))
        if known.fingerprint:
            self.handled[key] = known
        return known


def progress(before: Mapping[str, Any]) -> str:
    """What the status says of the sync that is waited for."""
    said = (each for each in before.get("conditions") or () if each["type"] == "Reconciling" and each["reason"] == "Progressing")
    return next((each["message"] for each in said), "")


def use_of(reference: tuple[str, str, str]) -> Use:
    kind, namespace, name = reference
    return KINDS[kind], namespace, name
