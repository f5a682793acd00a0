"""Jobs and CronJobs in the cluster: created, deleted, and what the Jobs and their Pods tell."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

import structlog

from catalog.model import RepositoryKey
from catalog.report import Summary
from controller.cluster import ApiRefused, Cluster, Object
from controller.ended import START_WITHIN, dated, kept_from_starting, never_ran, said_by, told_by_conditions
from controller.pods import Manifest
from controller.seen import Place, Seen, place

log = structlog.get_logger()


@dataclass(slots=True)
class Jobs:
    """What is written is seen at once, not when a watch tells of it. `met` says since when this process knows a Job that has not ended."""

    cluster: Cluster
    seen: Seen
    met: dict[Place, datetime] = field(default_factory=dict)

    async def create(self, manifest: Manifest) -> bool:
        """False when one of its name is there."""
        made = await self.cluster.create("jobs", manifest)
        if made and "jobs" in self.seen.readable:  # else its end would never be seen
            self.seen.jobs.put(made)
            self.met[place(made)] = datetime.now(UTC)
        return made is not None

    async def delete(self, key: RepositoryKey, resource: str, things: Iterable[Object]) -> None:
        for thing in things:
            namespace, name = place(thing)
            await self.cluster.delete(resource, namespace, name)
            self.seen.shelf(resource).drop((namespace, name))
            self.met.pop((namespace, name), None)
            log.info("deleted", action="delete", repository=str(key), resource=resource, name=name)

    async def summary(self, job: Object) -> Summary | None:
        """What the Job's Pod said at its end, else what the Job's conditions say. None: it was not its turn."""
        self.met.pop(place(job), None)
        said = said_by(await self._pods(job) or ()) or told_by_conditions(job)
        return None if said.state == "skipped" else dated(said, job)

    async def course(self, job: Object, runs: str, before: str = "") -> str:
        """How a Job goes that has not ended; `runs` where nothing keeps it from starting.

        For some seconds what was said `before` holds of one from before this process was started: a restart asks for no Pods.
        """
        now = datetime.now(UTC)
        if not never_ran(job, now):
            return runs
        if now - self.met.setdefault(place(job), now) < START_WITHIN:
            return before or runs
        pods = await self._pods(job)
        return (kept_from_starting(job, pods, now) if pods is not None else "") or runs

    async def _pods(self, job: Object) -> list[Object] | None:
        """A Job's Pods; None where they may not be read."""
        namespace, name = place(job)
        try:
            # the older of the label's two names: Kubernetes 1.25 and 1.26 have no other
            return (await self.cluster.list("pods", namespace, labels=f"job-name={name}")).objects
        except ApiRefused as refused:
            if refused.code != 403:
                raise
            return None
