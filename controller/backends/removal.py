"""The removal of a repository's rows: clean-up Jobs, one after another until one succeeds."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import structlog

from catalog.model import RepositoryKey
from controller import manifests, names
from controller.backends.jobs import Jobs
from controller.cluster import ApiRefused, Object
from controller.ended import finished, moment, succeeded
from controller.flags import JobSettings
from controller.kinds.pod_template import template_of
from controller.manifests import ATTEMPT, INCARNATION
from controller.seen import annotation

log = structlog.get_logger()
FIRST_PAUSE, LONGEST_PAUSE = 10, 600  # seconds before a failed clean-up is tried again


@dataclass(slots=True)
class Removal:
    """Works by what the Jobs in the cluster say; nothing is remembered here."""

    jobs: Jobs
    settings: JobSettings

    async def step(self, key: RepositoryKey, uid: str) -> str | None:
        """End running syncs, and have a clean-up Job run. None when one has succeeded, else what is waited for."""
        of_key = self.jobs.seen.jobs.of(key)
        await self.jobs.delete(key, "jobs", [job for job in of_key if not annotation(job, ATTEMPT) and not finished(job)])
        attempts = [job for job in of_key if annotation(job, INCARNATION) == uid and annotation(job, ATTEMPT)]
        if any(succeeded(job) for job in attempts):
            return None
        if not attempts:
            await self._create(key, uid, 1)
            return "its clean-up Job runs" if "jobs" in self.jobs.seen.readable else None  # whose end would never be seen
        return await self._again(key, uid, max(attempts, key=attempt))

    async def _again(self, key: RepositoryKey, uid: str, newest: Object) -> str:
        """Wait for the newest attempt or, some time after it has failed, make another."""
        tried = attempt(newest)
        if not finished(newest):
            return await self.jobs.course(newest, "its clean-up Job runs" if tried == 1 else f"its clean-up Job runs, attempt {tried}")
        pause = timedelta(seconds=min(FIRST_PAUSE * 2 ** (tried - 1), LONGEST_PAUSE))
        said = await self.jobs.summary(newest)
        if datetime.now(UTC) - moment(finished(newest)) >= pause:
            await self._create(key, uid, tried + 1)
        times = "once" if tried == 1 else f"{tried} times"
        return f"its clean-up failed {times}: {said.error if said else ''}"

    async def _create(self, key: RepositoryKey, uid: str, number: int) -> None:
        """With the resource's template or, where the API server refuses that, without."""
        name = names.clean_up_name(key, uid, number)
        template = template_of(self.jobs.seen.repositories.objects.get((key.namespace, key.name)))
        try:
            made = await self.jobs.create(manifests.clean_up_job(key, uid, self.settings, name, number, template))
        except ApiRefused as refused:
            if not template or not refused.malformed:
                raise
            made = await self.jobs.create(manifests.clean_up_job(key, uid, self.settings, name, number))
        if made:
            log.info("a clean-up starts", action="clean-up", repository=str(key), job=name, attempt=number)


def attempt(job: Object) -> int:
    return int(annotation(job, ATTEMPT) or 1)
