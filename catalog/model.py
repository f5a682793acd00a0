"""The nouns, as frozen values. Nothing here knows PostgreSQL, Kubernetes or HTTP."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

# A held listing is applied by itself once it was read so many times, over so long a time.
HELD_READS, HELD_FOR = 3, timedelta(hours=6)


@dataclass(frozen=True, slots=True, order=True)
class RepositoryKey:
    """A repository's name in the catalogue; the pair is unique."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class SecretRef:
    """A key of a Secret in the repository's own namespace."""

    name: str
    key: str


@dataclass(frozen=True, slots=True)
class FilterRule:
    """Which charts to keep: a jq expression that yields a boolean; variables' names include their `$`."""

    jq: str
    variables: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Repository:
    """What a sync needs to know, whatever kind of resource asked for it.

    `options` carries what only one part of the worker reads (OCI's list of repositories, limits: catalog/options.py), so that nothing
    between need understand it.
    """

    key: RepositoryKey
    type: str
    url: str
    auth: SecretRef | None = None
    ca: SecretRef | None = None
    filter: FilterRule | None = None
    verify_tls: bool = True
    pass_credentials: bool = False
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Applied:
    """What stands for a repository of a source; `mark` is for all that its schedule was made of, whatever the incarnation."""

    key: RepositoryKey
    incarnation: str
    fingerprint: str
    source: str | None
    mark: str


@dataclass(frozen=True, slots=True)
class Problem:
    """A document of a source that cannot be used."""

    file: str
    line: int
    namespace: str | None
    name: str | None
    message: str
