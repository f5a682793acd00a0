"""Decide, then do: what is wanted against what was applied → actions. Pure; the shell around it applies them."""

from collections.abc import Mapping
from dataclasses import dataclass

from catalog.jobs import CleanUpRepository, SyncRepository
from catalog.model import Applied, RepositoryKey
from controller.desired import Desired


@dataclass(frozen=True, slots=True)
class EnsureSchedule:
    """Let the repository be synced by its schedule, in this incarnation."""

    desired: Desired
    incarnation: str

    @property
    def key(self) -> RepositoryKey:
        return self.desired.key

    @property
    def job(self) -> SyncRepository:
        return SyncRepository(self.desired.repository, self.incarnation, self.desired.listing_fingerprint)


@dataclass(frozen=True, slots=True)
class RunNow:
    """Sync once, as soon as there is room."""

    desired: Desired

    @property
    def key(self) -> RepositoryKey:
        return self.desired.key


@dataclass(frozen=True, slots=True)
class Remove:
    """Drop the schedule, then clean up."""

    job: CleanUpRepository

    @property
    def key(self) -> RepositoryKey:
        return self.job.key


Action = EnsureSchedule | RunNow | Remove


def plan(desired: Desired, applied: Applied | None, mark: str, new_incarnation: str) -> tuple[Action, ...]:
    """A repository's actions: none when nothing differs, so that a restart writes nothing and starts nothing.

    `mark` is the backend's word for all that the schedule is made of. A resource's uid is its incarnation; a document has none.
    """
    incarnation = desired.uid or (applied.incarnation if applied else new_incarnation)
    actions: list[Action] = []
    if applied is None or (applied.mark, applied.incarnation) != (mark, incarnation):
        actions.append(EnsureSchedule(desired, incarnation))
    if (applied is None or applied.fingerprint != desired.fingerprint) and desired.runnable:
        actions.append(RunNow(desired))
    return tuple(actions)


def plan_removals(gone: Mapping[RepositoryKey, Applied]) -> tuple[Action, ...]:
    """The actions for repositories that nobody asks for any more."""
    return tuple(Remove(CleanUpRepository(key, applied.incarnation)) for key, applied in sorted(gone.items()))
