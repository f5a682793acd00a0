"""The watches: what happens in the cluster → shelves → queue → one look at a time at each repository. The only file that knows kopf.

kopf lists, watches, resumes and reconnects; it writes nothing (no annotations, finalizers or Events of its own). What vanished before a
watch listed anew is found by comparing everything, then and now and then.
"""

import asyncio
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, cast

import kopf
import structlog

from catalog.errors import CatalogError
from catalog.model import RepositoryKey
from controller.cluster import ApiRefused, Cluster, Object
from controller.flags import JobSettings
from controller.metrics import Metrics
from controller.reconcile import Reconciler
from controller.seen import NAME_LABEL, Seen
from controller.workqueue import WorkQueue

log = structlog.get_logger()
GROUPS = {
    "apprepositories": ("kubeapps.com", "v1alpha1"),
    "cronjobs": ("batch", "v1"),
    "jobs": ("batch", "v1"),
    "secrets": ("", "v1"),
    "configmaps": ("", "v1"),
}
COMPARE_EVERY = 300.0  # seconds
LISTED_WITHIN = 2.0  # seconds: watches that list anew do so together
RESTART_AFTER = 2.0  # seconds, where a watch gave up


@dataclass(frozen=True, slots=True)
class Scope:
    """What is watched in the same namespaces; none named: all of them."""

    resources: tuple[str, ...]
    namespaces: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)  # resource → selector
    fields: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Operator:
    """Watches and hands. `stopping` ends all of it; `compared` is set once everything was seen, `listed` when a watch lists anew; `refused`
    are namespaces that may not be read: those beside them go on."""

    cluster: Cluster
    seen: Seen
    reconciler: Reconciler
    scopes: tuple[Scope, ...]
    metrics: Metrics
    hands: int = 4
    queue: WorkQueue = field(default_factory=WorkQueue)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    compared: asyncio.Event = field(default_factory=asyncio.Event)
    listed: asyncio.Event = field(default_factory=asyncio.Event)
    refused: set[str] = field(default_factory=set)

    async def run(self) -> None:
        """Work until `stopping`."""
        stopped = asyncio.create_task(self.stopping.wait())
        tasks: list[asyncio.Task[Any]] = [asyncio.create_task(self._compare_now_and_then()), asyncio.create_task(self.compared.wait())]
        await asyncio.wait([tasks[-1], stopped], return_when=asyncio.FIRST_COMPLETED)
        if self.compared.is_set():
            where = self.scopes[0].namespaces or "all"
            log.info("following", action="start", repositories=len(self.seen.repositories.objects), namespaces=where)
        tasks += [asyncio.create_task(self._watch(scope)) for scope in self.scopes]
        tasks.append(asyncio.create_task(self._follow()))
        tasks += [asyncio.create_task(self._work()) for _ in range(self.hands)]
        await stopped
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # Looking ----------------------------------------------------------------------------------------------------------

    async def _compare_now_and_then(self) -> None:
        while not self.stopping.is_set():
            pause = COMPARE_EVERY
            try:
                await self.compare()
                self.compared.set()
            except Exception as error:
                log.warning("the cluster cannot be read", action="wait", error=str(error) or type(error).__name__)
                pause = RESTART_AFTER
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self.listed.wait()
                await asyncio.sleep(LISTED_WITHIN)
            self.listed.clear()

    async def compare(self) -> None:
        """List everything; look at what is there, and at whom a thing that is gone belonged to."""
        concerned: set[RepositoryKey] = set()
        for scope in self.scopes:
            for resource in scope.resources:
                for namespace in scope.namespaces or (None,):
                    concerned |= await self._list(scope, resource, namespace)
        if "apprepositories" not in self.seen.readable:
            raise ApiRefused(f"AppRepositories may be read in none of the namespaces {', '.join(sorted(self.refused))}", 403)
        for key in sorted(concerned | {RepositoryKey(*at) for at in self.seen.repositories.objects}):
            self.queue.add(key)

    async def _list(self, scope: Scope, resource: str, namespace: str | None) -> set[RepositoryKey]:
        selectors = {"labels": scope.labels.get(resource), "fields": scope.fields.get(resource)}
        try:
            listing = await self.cluster.list(resource, namespace, **selectors)
        except ApiRefused as refused:
            if refused.code != 403 or (resource in ("apprepositories", "cronjobs") and len(scope.namespaces) < 2):
                raise
            if namespace and resource == "apprepositories":
                self.refused.add(namespace)
            if not self.compared.is_set():
                log.warning("a right is missing: less is known", action="degrade", resource=resource, error=str(refused))
            return set()
        self.seen.readable.add(resource)
        return self.seen.shelf(resource).replace(listing.objects, int(listing.version), namespace)

    # Watching ---------------------------------------------------------------------------------------------------------

    async def _watch(self, scope: Scope) -> None:
        """kopf's own loop, begun again should it give up. In a thread: at its end it cancels every task of the loop that it runs in."""
        while not self.stopping.is_set():
            stop = threading.Event()
            granted = replace(scope, namespaces=tuple(each for each in scope.namespaces if each not in self.refused))
            try:
                await asyncio.to_thread(asyncio.run, watching(self._registry(scope), granted, stop))
            except asyncio.CancelledError:
                stop.set()
                raise
            except Exception as error:
                log.warning("a watch gave up", action="watch", error=f"{type(error).__name__}: {error}")
            await asyncio.sleep(RESTART_AFTER)

    def _registry(self, scope: Scope) -> kopf.OperatorRegistry:
        registry, ours = kopf.OperatorRegistry(), asyncio.get_running_loop()

        async def login(**_: Any) -> kopf.ConnectionInfo:
            return kopf.ConnectionInfo(**await self.cluster.login())

        async def seen(event: kopf.RawEvent, param: Any = None, **_: Any) -> None:
            if event["type"] is None:
                ours.call_soon_threadsafe(self.listed.set)
            ours.call_soon_threadsafe(self._take, param, event["object"], event["type"] == "DELETED")

        kopf.on.login(registry=registry)(login)
        for resource in scope.resources:
            if resource in self.seen.readable:
                kopf.on.event(*GROUPS[resource], resource, registry=registry, id=resource, param=resource)(seen)
        return registry

    def _take(self, resource: str, thing: Object, gone: bool) -> None:
        """Whatever happened: whom does it concern?"""
        self.metrics.watched.labels(resource).inc()
        for key in self.reconciler.concerned(resource, thing, gone):
            self.queue.add(key)

    async def _follow(self) -> None:
        """What only the backend can tell; begun again should it fail."""
        while not self.stopping.is_set():
            try:
                await self.reconciler.backend.follow(self.queue.add)
                return
            except Exception as error:
                log.warning("the backend does not answer", action="wait", error=f"{type(error).__name__}: {error}")
            await asyncio.sleep(RESTART_AFTER)

    # Working ----------------------------------------------------------------------------------------------------------

    async def _work(self) -> None:
        while True:
            key = await self.queue.take()
            try:
                await self._look_at(key)
            finally:
                self.queue.done(key)

    async def _look_at(self, key: RepositoryKey) -> None:
        """One look. An error concerns this repository alone; it is looked at again, later and later."""
        try:
            with self.metrics.reconcile.time():
                again = await self.reconciler.reconcile(key)
        except Exception as error:
            pause = self.queue.retry(key)
            self.metrics.reconciles.labels("error").inc()
            if isinstance(error, CatalogError):
                log.warning("not in line yet", action="retry", repository=str(key), error=str(error), seconds=pause)
            else:
                log.exception("a defect", action="retry", repository=str(key), seconds=pause)
            return
        self.queue.forget_failures(key)
        self.metrics.reconciles.labels("success").inc()
        if again:
            self.queue.add_later(key, again)


async def watching(registry: kopf.OperatorRegistry, scope: Scope, stop: threading.Event) -> None:
    """kopf until `stop`, or until it gives up; then too `stop` is set: a thread of kopf's waits for it, and asyncio.run for that thread."""
    try:
        await kopf.operator(
            registry=registry,
            settings=settings_for(scope),
            standalone=True,
            clusterwide=not scope.namespaces,
            namespaces=scope.namespaces,
            stop_flag=stop,
        )
    finally:
        stop.set()


def scopes(jobs: JobSettings, *, runs_jobs: bool) -> tuple[Scope, ...]:
    """What is watched where: the resources, and beside them or in the controller's own namespace what their Jobs need."""
    needed = ("cronjobs", "jobs", "secrets", "configmaps") if runs_jobs else ("secrets",)
    labels, fields = {"cronjobs": NAME_LABEL, "jobs": NAME_LABEL}, {"secrets": "type!=helm.sh/release.v1"}
    resources = Scope(("apprepositories",), jobs.watch_namespaces)
    if runs_jobs and jobs.job_namespace == "release":
        return resources, Scope(needed, (jobs.namespace,), labels, fields)
    own = (jobs.namespace,) if runs_jobs else ()  # where clean-up Jobs run
    theirs = tuple(dict.fromkeys((*jobs.watch_namespaces, *own))) if jobs.watch_namespaces else ()
    return resources, Scope(needed, theirs, labels, fields)


class NothingToCompare(kopf.DiffBaseStorage):
    """kopf's memory of an object, which it would copy whole, twice an event, for handlers that we do not have."""

    def build(self, **_: Any) -> kopf.BodyEssence:
        return cast("kopf.BodyEssence", {})

    def fetch(self, **_: Any) -> kopf.BodyEssence | None:
        return None

    def store(self, **_: Any) -> None:
        """Nothing."""


def settings_for(scope: Scope) -> kopf.OperatorSettings:
    """kopf that watches and does nothing else."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.persistence.diffbase_storage = NothingToCompare()
    settings.scanning.disabled = True
    settings.queueing.idle_timeout = 1.0
    settings.process.ultimate_exiting_timeout = None
    for resource, selector in scope.labels.items():
        settings.watching.label_selectors[*GROUPS[resource], resource] = selector
    for resource, selector in scope.fields.items():
        settings.watching.field_selectors[*GROUPS[resource], resource] = selector
    return settings
