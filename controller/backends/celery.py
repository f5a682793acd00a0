"""Actions → rows: schedules and requests that the schedulers turn into runs. Nothing is sent from here."""

from datetime import UTC, datetime

from sqlalchemy.ext.asyncio import AsyncEngine

from catalog import runs
from catalog.jobs import to_argv
from catalog.model import Applied, Problem, RepositoryKey
from controller.desired import Desired
from controller.plan import Action, EnsureSchedule, Remove, RunNow


class CeleryBackend:
    """The fleet's side of the controller."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def applied(self, source: str) -> dict[RepositoryKey, Applied]:
        """What stands for a source."""
        async with self._engine.begin() as connection:
            return await runs.applied(connection, source)

    async def owner(self, key: RepositoryKey) -> str | None:
        """The source that a name belongs to."""
        async with self._engine.begin() as connection:
            return await runs.owner(connection, key)

    def mark(self, desired: Desired) -> str:
        """All that the schedule's row is made of."""
        made = planned(EnsureSchedule(desired, ""))
        return runs.mark(made.fingerprint, made.argv, made.problem)

    async def apply(self, actions: tuple[Action, ...]) -> None:
        """A repository's actions, in one transaction."""
        async with self._engine.begin() as connection:
            for action in actions:
                match action:
                    case EnsureSchedule():
                        await runs.put_schedule(connection, planned(action), datetime.now(UTC))
                    case RunNow(desired):
                        await runs.request_sync(connection, desired.key)
                    case Remove(job):
                        await runs.queue_removal(connection, job.key, to_argv(job))

    async def say(self, source: str, problems: list[Problem]) -> None:
        """Replace what users are told of a source's documents."""
        async with self._engine.begin() as connection:
            await runs.put_problems(connection, source, problems)


def planned(action: EnsureSchedule) -> runs.Planned:
    """The row of an EnsureSchedule."""
    desired = action.desired
    refused = desired.problem_reason == "InvalidRepository"
    return runs.Planned(
        key=desired.key,
        type=desired.repository.type,
        url=desired.repository.url,
        source=desired.source,
        incarnation=action.incarnation,
        argv=to_argv(action.job),
        fingerprint=desired.fingerprint,
        schedule=desired.schedule,
        problem_reason="Suspended" if desired.suspended and not refused else desired.problem_reason,
        problem="spec.suspend is true" if desired.suspended and not refused else desired.problem,
        runnable=desired.runnable,
    )
