"""Actions → rows: schedules and requests that the schedulers turn into runs. Nothing is sent from here."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from catalog import following, runs
from catalog.errors import StoreUnavailable
from catalog.following import Syncs
from catalog.jobs import CleanUpRepository, to_argv
from catalog.model import Applied, Problem, RepositoryKey
from controller.desired import Desired
from controller.plan import Action, EnsureSchedule, Remove, RunNow
from controller.seen import Object, Use
from controller.status import Standing

FOLLOW_EVERY = 2.0  # seconds
PLACES = {"queued": "its sync waits for a worker", "sent": "its sync waits for a worker", "running": "it is being synced"}
AGAIN = ("failed", "parked")  # states of a clean-up after which another is asked for


@dataclass(slots=True)
class CeleryBackend:
    """The fleet's side of the controller."""

    engine: AsyncEngine

    # What stands ------------------------------------------------------------------------------------------------------

    async def applied(self, source: str) -> dict[RepositoryKey, Applied]:
        """What stands for a source."""
        async with self._connection() as connection:
            return await runs.applied(connection, source)

    async def applied_to(self, key: RepositoryKey, before: Mapping[str, Any] | None = None) -> Applied | None:
        """What stands for a repository; its status is not asked."""
        async with self._connection() as connection:
            return await runs.applied_to(connection, key)

    async def owner(self, key: RepositoryKey) -> str | None:
        """The source that a name belongs to."""
        stands = await self.applied_to(key)
        return stands.source if stands else None

    def mark(self, desired: Desired) -> str:
        """All that the schedule's row is made of."""
        made = planned(EnsureSchedule(desired, ""))
        return runs.mark(made.fingerprint, made.argv, made.problem)

    def needs(self, desired: Desired) -> tuple[dict[Use, tuple[str, ...]], frozenset[Use]]:
        """The repository's own Secrets, in its namespace: the worker reads them when it runs."""
        repository, required = desired.repository, dict[Use, tuple[str, ...]]()
        certificate = repository.options.get("client-certificate")
        named = [(ref.name, ref.key) for ref in (repository.auth, repository.ca) if ref]
        for name, key in [*named, *((certificate, key) for key in ("tls.crt", "tls.key") if certificate)]:
            use = ("secrets", desired.key.namespace, str(name))
            required[use] = (*required.get(use, ()), key)
        return required, frozenset(required)

    async def standing(self, desired: Desired, before: Mapping[str, Any]) -> Standing:
        """How the repository's syncs stand, by its runs."""
        async with self._connection() as connection:
            stands, found = await runs.applied_to(connection, desired.key), await following.syncs(connection, desired.key)
        return standing_of(found, stands.fingerprint if stands else "", str(before.get("lastJob") or ""))

    # What is to be done -----------------------------------------------------------------------------------------------

    async def apply(self, actions: tuple[Action, ...]) -> None:
        """A repository's actions, in one transaction."""
        async with self._connection() as connection:
            for action in actions:
                match action:
                    case EnsureSchedule():
                        await runs.put_schedule(connection, planned(action), datetime.now(UTC))
                    case RunNow(desired):
                        await runs.request_sync(connection, desired.key)
                    case Remove(job):
                        await runs.queue_removal(connection, job.key, to_argv(job))

    async def say(self, source: str, problems: Sequence[Problem]) -> None:
        """Replace what users are told of a source's documents."""
        async with self._connection() as connection:
            await runs.put_problems(connection, source, problems)

    async def clean_up(self, key: RepositoryKey, uid: str) -> str | None:
        """Drop the schedule and have the rows removed; again when that failed."""
        async with self._connection() as connection:
            stands, state, error = await following.removal(connection, key, uid)
            if state == "done" or not (stands or state):
                return None
            if state is None or state in AGAIN:
                await runs.queue_removal(connection, key, to_argv(CleanUpRepository(key, uid)))
        return f"its clean-up failed: {error}" if state in AGAIN else "its clean-up runs"

    async def forget(self, key: RepositoryKey, uid: str) -> None:
        """Nothing is left: its runs went with its row."""

    async def follow(self, look_at: Callable[[RepositoryKey], None]) -> None:
        """Tell whose runs have ended, by asking every two seconds."""
        watched = None
        while True:
            async with self._connection() as connection:
                ended, watched = await following.ended_since(connection, watched)
            for key in ended:
                look_at(key)
            await asyncio.sleep(FOLLOW_EVERY)

    def next_in_line(self, job: Object) -> tuple[RepositoryKey, ...]:
        """Nobody: the fleet has its own queue."""
        return ()

    @asynccontextmanager
    async def _connection(self) -> AsyncGenerator[AsyncConnection]:
        """A transaction. Raises StoreUnavailable."""
        try:
            async with self.engine.begin() as connection:
                yield connection
        except DBAPIError as error:
            if not error.connection_invalidated:
                raise
            raise StoreUnavailable(f"PostgreSQL went away: {str(error.orig).strip()}") from None


def standing_of(found: Syncs, handled: str, told: str) -> Standing:
    """A repository's runs as its status has them; a run that `told` names was told of already."""
    run = f"run {found.run}" if found.run else ""
    news = found.newest if run != told else None
    return Standing(news, run if news else "", handled, "", PLACES.get(found.under_way or "", ""), found.next_due)


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
