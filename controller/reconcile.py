"""One look at one resource: what it asks for, what stands, what follows, and what to say of it. The same for create, update and restart.

Nothing is remembered between two looks that could not be read again from the API server or from the backend.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any

import structlog

from catalog.jobs import CleanUpRepository
from catalog.model import RepositoryKey
from controller.backends import Backend
from controller.cluster import ApiRefused, Cluster, Object, ResourceConflict
from controller.desired import Desired
from controller.kinds import KINDS
from controller.kinds.fields import InvalidDocument
from controller.plan import Remove, plan
from controller.seen import Seen, Use, annotation, place, version
from controller.status import Standing, Trouble, change, event, status

log = structlog.get_logger()
FINALIZER = "apprepositories.kubeapps.com/apprepo-cleanup-finalizer"
FORCE_DELETE, STATUS = "chartfleet.dev/force-delete", "chartfleet.dev/status"
SINGULAR = {"secrets": "Secret", "configmaps": "ConfigMap"}
LOOK_AGAIN = 30.0  # seconds, where an event that is waited for may have been missed
DELETED_AGAIN = 5.0  # seconds: a clean-up's pause and time-out end without an event


@dataclass(slots=True)
class Reconciler:
    """`users` says which repositories a Secret or ConfigMap concerns; `rejected` what of them the API server refuses for good;
    `subresource` whether the CRD has a status of its own that may be
    written, `mute` whether it was said that Events may not."""

    cluster: Cluster
    seen: Seen
    backend: Backend
    source: str
    cleanup_timeout: float = 0.0  # seconds; 0: for ever
    users: dict[Use, set[RepositoryKey]] = field(default_factory=dict)
    rejected: dict[RepositoryKey, tuple[str, Trouble]] = field(default_factory=dict)
    subresource: bool = True
    mute: bool = False

    def concerned(self, resource: str, thing: Object, gone: bool) -> set[RepositoryKey]:
        """Put an object on its shelf, or take it off; returns the repositories that should be looked at."""
        shelf, at = self.seen.shelf(resource), place(thing)
        if resource in ("secrets", "configmaps"):
            news = version(thing) > version(shelf.objects[at]) if at in shelf.objects else True
            shelf.gone(thing) if gone else shelf.put(thing)
            return set(self.users.get((resource, *at), ())) if news else set()
        key = shelf.gone(thing) if gone else shelf.put(thing)
        line = self.backend.next_in_line(thing) if resource == "jobs" and key else ()
        return {key, *line} if key else set(line)

    async def reconcile(self, key: RepositoryKey) -> float | None:
        """Bring everything of a repository in line; returns the seconds after which to look again whatever happens, None for never."""
        resource = self.seen.repositories.objects.get((key.namespace, key.name))
        if resource is None:
            return await self._without_resource(key)
        if resource["metadata"].get("deletionTimestamp"):
            return await self._clean_up(key, resource)
        before = self._status(resource)
        desired, trouble = self._wanted(resource)
        standing = Standing()
        if desired:
            resource = await self._hold(resource)
            trouble = await self._act(desired, before) or trouble
            standing = await self.backend.standing(desired, before)
        await self._say(resource, before, status(resource["metadata"], before, desired, trouble, standing, datetime.now(UTC)))
        return LOOK_AGAIN if standing.under_way or (trouble and not trouble.lasting) else None

    def _wanted(self, resource: Object) -> tuple[Desired | None, Trouble | None]:
        """What a resource asks for, with the versions of the Secrets and ConfigMaps that it names; or why it cannot be used."""
        parse = KINDS[(resource["apiVersion"], resource["kind"])]
        try:
            desired = parse(resource, unhashed, self.source)
            required, used = self.backend.needs(desired)
        except InvalidDocument as error:
            return None, Trouble("InvalidRepository", str(error))
        for use in used:
            self.users.setdefault(use, set()).add(desired.key)
        if missing := self._missing(required):
            return replace(desired, problem_reason="WaitingForSecret", problem=missing), Trouble("WaitingForSecret", missing, lasting=False)
        found = [self._version(use) for use in sorted(used)]
        versions = [str(each) for each in found]
        desired = replace(
            desired,
            fingerprint=combined(desired.fingerprint, [desired.uid, *versions]),  # one that was deleted and made again is another
            listing_fingerprint=combined(desired.listing_fingerprint, versions),
            version=max([version(resource), *(int(each) for each in found if each)]),
        )
        said = Trouble(desired.problem_reason, desired.problem or "") if desired.problem_reason else None
        return desired, said

    def _missing(self, required: Mapping[Use, tuple[str, ...]]) -> str | None:
        """What a repository cannot be opened without, and is not there."""
        for (resource, namespace, name), keys in sorted(required.items()):
            if resource not in self.seen.readable:
                continue
            found = self.seen.shelf(resource).objects.get((namespace, name))
            if found is None:
                return f"{SINGULAR[resource]} {namespace}/{name} does not exist"
            if lacking := [key for key in keys if key not in found["keys"]]:
                return f"{SINGULAR[resource]} {namespace}/{name} has no key {lacking[0]!r}"
        return None

    def _version(self, use: Use) -> str | None:
        resource, namespace, name = use
        found = self.seen.shelf(resource).objects.get((namespace, name))
        return found["metadata"]["resourceVersion"] if found else None

    async def _act(self, desired: Desired, before: Mapping[str, Any]) -> Trouble | None:
        """Plan and apply. What the API server refuses for good is said, and tried again when the resource changes."""
        mark = self.backend.mark(desired)
        asked = f"{mark} {desired.fingerprint}"
        refused_before, trouble = self.rejected.get(desired.key, ("", None))
        if refused_before == asked:
            return trouble
        try:
            applied = await self.backend.applied_to(desired.key, before)
            await self.backend.apply(plan(desired, applied, mark, ""))
        except ResourceConflict as conflict:
            return Trouble(conflict.reason, str(conflict))
        except ApiRefused as refused:
            if refused.transient and not refused.malformed:
                raise
            if refused.malformed:
                trouble = Trouble("Rejected", f"the API server refuses what follows from the resource: {refused}")
                self.rejected[desired.key] = (asked, trouble)
                return trouble
            return Trouble("Forbidden", f"the API server refuses: {refused}", lasting=False)
        return None

    # The resource itself ----------------------------------------------------------------------------------------------

    async def _hold(self, resource: Object) -> Object:
        """With our finalizer; nothing else of the resource is touched."""
        finalizers = resource["metadata"].get("finalizers") or []
        return resource if FINALIZER in finalizers else await self._finalizers(resource, [*finalizers, FINALIZER])

    async def _finalizers(self, resource: Object, finalizers: list[str]) -> Object:
        """Replace the list, unless the resource has changed meanwhile (then ApiRefused with 409, and the next look)."""
        metadata = resource["metadata"]
        change = {"metadata": {"resourceVersion": metadata["resourceVersion"], "finalizers": finalizers}}
        written = await self.cluster.merge("apprepositories", metadata, change)
        self.seen.repositories.put(written)
        return written

    def _status(self, resource: Object) -> Mapping[str, Any]:
        """The status as it was written, wherever it could be written."""
        return known_status(resource, self.subresource)

    async def _say(self, resource: Object, before: Mapping[str, Any], after: dict[str, Any]) -> None:
        """Write what is new of the status, and an Event when the outcome changed."""
        if change(before, after):
            await self._write_status(resource, after)
        if said := event(before, after):
            await self._event(resource, after, *said)

    async def _write_status(self, resource: Object, after: dict[str, Any]) -> None:
        metadata = resource["metadata"]
        if self.subresource:
            difference = change(resource.get("status") or {}, after)
            try:
                self.seen.repositories.put(await self.cluster.merge_status(metadata, {"status": difference}))
                return
            except ApiRefused as refused:
                if refused.code not in (403, 404) or not await self.cluster.get("apprepositories", *place(resource)):
                    raise
                said = "the CRD has no status subresource" if refused.code == 404 else str(refused)
            self.subresource = False
            log.warning(f"status goes to the annotation: {said}", action="degrade", annotation=STATUS)
        written = json.dumps(after, separators=(",", ":"))
        self.seen.repositories.put(await self.cluster.merge("apprepositories", metadata, {"metadata": {"annotations": {STATUS: written}}}))

    async def _event(self, resource: Object, after: Mapping[str, Any], kind: str, reason: str, message: str) -> None:
        """An Event whose name follows from what it says, so that two controllers say it once."""
        metadata, now = resource["metadata"], datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        tell = log.warning if kind == "Warning" else log.info
        tell(message, action="say", repository="{namespace}/{name}".format(**metadata), reason=reason)
        what = blake2b(repr((metadata["uid"], reason, message, after.get("lastJob"))).encode(), digest_size=8).hexdigest()
        identity = {name: metadata[name] for name in ("namespace", "name", "uid")}
        manifest = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"namespace": metadata["namespace"], "name": f"{metadata['name'][:200]}.{what}"},
            "involvedObject": {"apiVersion": resource["apiVersion"], "kind": resource["kind"], **identity},
            "type": kind,
            "reason": reason,
            "message": message,
            "count": 1,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "source": {"component": "chartfleet-controller"},
        }
        try:
            await self.cluster.create("events", manifest)
        except ApiRefused as refused:
            if refused.code != 403:
                raise
            if not self.mute:  # or its namespace is going
                log.warning("an Event may not be written", action="degrade", error=str(refused))
            self.mute = True

    # Its end ----------------------------------------------------------------------------------------------------------

    async def _clean_up(self, key: RepositoryKey, resource: Object) -> float | None:
        """Let the resource go when its rows are gone, or when somebody forces it."""
        metadata = resource["metadata"]
        finalizers = metadata.get("finalizers") or []
        if FINALIZER not in finalizers:
            return None
        forced = self._forced(metadata, datetime.now(UTC))
        waited = None if forced else await self.backend.clean_up(key, metadata["uid"])
        if waited is None:
            if forced:
                await self._event(resource, {}, "Warning", "CleanUpSkipped", forced)
            await self._finalizers(resource, [each for each in finalizers if each != FINALIZER])
            log.info("it may go", action="release", repository=str(key))
            await self._forget(key, metadata["uid"])
            return None
        before = self._status(resource)
        trouble = Trouble("Deleting", waited, lasting=False)
        await self._say(resource, before, status(metadata, before, None, trouble, Standing(), datetime.now(UTC)))
        return DELETED_AGAIN

    async def _forget(self, key: RepositoryKey, uid: str) -> None:
        await self.backend.forget(key, uid)
        self.rejected.pop(key, None)
        for keys in self.users.values():
            keys.discard(key)

    def _forced(self, metadata: Object, now: datetime) -> str | None:
        """Why the clean-up is not waited for."""
        if (metadata.get("annotations") or {}).get(FORCE_DELETE) == "true":
            return f"{FORCE_DELETE} is set: rows may remain"
        since = now - datetime.fromisoformat(metadata["deletionTimestamp"])
        if 0 < self.cleanup_timeout < since.total_seconds():
            return f"no clean-up succeeded within {self.cleanup_timeout:g} s: rows may remain"
        return None

    async def _without_resource(self, key: RepositoryKey) -> float | None:
        """A schedule of ours whose resource vanished past its finalizer: it goes, and the rows with it."""
        applied = await self.backend.applied_to(key)
        if applied is None or applied.source != self.source:
            return None
        if await self.cluster.get("apprepositories", key.namespace, key.name):
            return None  # in a namespace that is not watched, or the watch is about to tell of it
        await self.backend.apply((Remove(CleanUpRepository(key, applied.incarnation)),))
        return LOOK_AGAIN


def known_status(resource: Object, subresource: bool) -> Mapping[str, Any]:
    """What we last wrote. Kubeapps' definition lets anybody give a `status`: one without `observedGeneration` is not ours."""
    own = resource.get("status") or {}
    return own if subresource and "observedGeneration" in own else stored(annotation(resource, STATUS)) or own


def stored(text: str) -> Mapping[str, Any]:
    """The status that an annotation holds; {} for anything else."""
    try:
        value = json.loads(text or "{}")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def unhashed(_namespace: str, _name: str, _key: str) -> str:
    """Secrets count by their resourceVersions here, see `combined`."""
    return ""


def combined(fingerprint: str, versions: list[str]) -> str:
    """The fingerprint with the versions of what is named besides; the same where nothing is."""
    return blake2b(" ".join((fingerprint, *versions)).encode(), digest_size=16).hexdigest() if versions else fingerprint
