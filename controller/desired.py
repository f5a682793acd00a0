"""What one resource asks for, whatever its kind."""

from dataclasses import dataclass

from catalog.model import Repository, RepositoryKey
from catalog.schedule import Schedule


@dataclass(frozen=True, slots=True)
class Desired:
    """`fingerprint` changes with anything that should make a sync happen; `listing_fingerprint` only with what a listing depends on.

    `problem` is said where the user looks while the rest still holds: an interval that was no interval, a Secret in the URL.
    """

    repository: Repository
    schedule: Schedule
    fingerprint: str
    listing_fingerprint: str
    source: str
    suspended: bool = False
    problem_reason: str | None = None
    problem: str | None = None

    @property
    def key(self) -> RepositoryKey:
        return self.repository.key
