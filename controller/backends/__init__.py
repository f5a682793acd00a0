"""One file a way of running jobs: actions in, effects out. Each brings what it is made of, so that a process imports only its own."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from catalog.model import Applied, Problem, RepositoryKey
from controller.desired import Desired
from controller.plan import Action
from controller.seen import Object, Use
from controller.status import Standing


class Backend(Protocol):
    """What both sources of resources, a directory and a cluster, need of a way of running jobs."""

    def mark(self, desired: Desired) -> str:
        """A hash of all that a repository's schedule is made of."""
        ...

    async def applied(self, source: str) -> dict[RepositoryKey, Applied]:
        """What stands for a source."""
        ...

    async def owner(self, key: RepositoryKey) -> str | None:
        """The source that a name belongs to; None when nobody asks for it."""
        ...

    async def applied_to(self, key: RepositoryKey, before: Mapping[str, Any] | None = None) -> Applied | None:
        """What stands for a repository; `before` is its resource's status."""
        ...

    async def apply(self, actions: tuple[Action, ...]) -> None:
        """Carry out a repository's actions; twice is once."""
        ...

    async def say(self, source: str, problems: Sequence[Problem]) -> None:
        """Replace what users are told of a source's documents."""
        ...

    def needs(self, desired: Desired) -> tuple[dict[Use, tuple[str, ...]], frozenset[Use]]:
        """What no job of a repository starts without, each with the keys that must be in it; and all that its jobs refer to."""
        ...

    async def standing(self, desired: Desired, before: Mapping[str, Any]) -> Standing:
        """How a repository's syncs stand, with what the newest said if `before` does not tell of it yet."""
        ...

    async def clean_up(self, key: RepositoryKey, uid: str) -> str | None:
        """Stop what runs for a repository and have its rows removed. None when that is done, else what is waited for."""
        ...

    async def forget(self, key: RepositoryKey, uid: str) -> None:
        """Leave nothing of a repository that is gone."""
        ...

    async def follow(self, look_at: Callable[[RepositoryKey], None]) -> None:
        """Tell, for ever, whose syncs have ended, where no watch of the cluster does."""
        ...

    def next_in_line(self, job: Object) -> tuple[RepositoryKey, ...]:
        """Who may have room now that this Job has ended."""
        ...
