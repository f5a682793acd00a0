"""What one resource asks for, whatever its kind."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from catalog.model import Repository, RepositoryKey
from catalog.schedule import Schedule


@dataclass(frozen=True, slots=True)
class Desired:
    """`fingerprint` changes with anything that should make a sync happen; `listing_fingerprint` only with what a listing depends on.

    `problem` is said where the user looks while the rest still holds: an interval that was no interval, a Secret in the URL.
    `interval` is the text that the schedule was read from, `uid` the resource's, "" where resources have none, and `pod_template` its
    syncJobPodTemplate: what a CronJob is made of besides. `version` is the newest resourceVersion among the resource and what it names.
    """

    repository: Repository
    schedule: Schedule
    fingerprint: str
    listing_fingerprint: str
    source: str
    suspended: bool = False
    problem_reason: str | None = None
    problem: str | None = None
    interval: str = ""
    uid: str = ""
    pod_template: Mapping[str, Any] = field(default_factory=dict)
    version: int = 0

    @property
    def runnable(self) -> bool:
        """Whether a sync may be asked for now."""
        return not self.suspended and self.problem_reason not in ("InvalidRepository", "WaitingForSecret")

    @property
    def key(self) -> RepositoryKey:
        return self.repository.key
