"""The bodies of answers, as the OpenAPI document declares them. Pure."""

from datetime import datetime
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import BaseModel, Field

Item = TypeVar("Item")
Shortcut = Literal["readme", "values", "schema"]


class Listed(BaseModel, Generic[Item]):
    """A page of a list."""

    items: list[Item]
    total: Annotated[int, Field(description="Length of the whole list.")]
    next: Annotated[str | None, Field(description="`cursor` of the next page; null at the end.")]


class Chart(BaseModel):
    """A chart by its newest version."""

    namespace: str
    repository: str
    name: str
    version: Annotated[str, Field(description="The newest, in Helm's order.")]
    app_version: str | None
    description: str | None
    icon: Annotated[str | None, Field(description="Address as listed.")]
    deprecated: bool
    created: datetime | None


class Maintainer(BaseModel):
    name: str | None = None
    email: str | None = None
    url: str | None = None


class Archive(BaseModel):
    """What a version's archive held when it was read."""

    digest: Annotated[str, Field(description="SHA-256 of the archive, hexadecimal.")]
    as_listed: Annotated[bool | None, Field(description="Whether the index lists this digest; null: it lists none.")]
    stale: Annotated[bool, Field(description="The index has listed another archive since, which waits to be read.")]
    signed: Annotated[bool | None, Field(description="Whether a provenance file stands beside it; null: not asked.")]
    templates: Annotated[int, Field(description="Members below templates/.")]
    dependencies: Annotated[list[dict[str, Any]], Field(description="As the archive's Chart.yaml or requirements.yaml declares them.")]
    images: Annotated[list[str], Field(description="Of the annotation artifacthub.io/images.")]
    read_at: datetime


class Waiting(BaseModel):
    """An archive that is still to be read, or to be read again."""

    attempts: Annotated[int, Field(description="How many failed so far.")]
    next_attempt_at: datetime
    reason: Annotated[str | None, Field(description="Class of the last attempt's error; null: not tried yet.")]
    message: str | None


class Archived(BaseModel):
    """What is known of a version's archive."""

    files: Annotated[list[str], Field(description="Names of the files that can be had, such as README.md and values-production.yaml.")]
    archive: Annotated[Archive | None, Field(description="Null: not read.")]
    waiting: Annotated[Waiting | None, Field(description="Null: there is nothing to read.")]


class ChartDetail(Archived, Chart):
    """A chart; `files`, `archive` and `waiting` are its newest version's."""

    home: str | None
    keywords: list[str]
    versions: Annotated[int, Field(description="How many are listed.")]
    maintainers: list[Maintainer]
    sources: list[str]
    annotations: dict[str, str]


class Version(BaseModel):
    version: str
    app_version: str | None
    created: datetime | None
    digest: str | None
    deprecated: bool
    urls: list[str]
    description: str | None


class VersionDetail(Archived, Version):
    metadata: Annotated[dict[str, Any], Field(description="The entry as listed.")]


class Replaced(BaseModel):
    """What a change took the place of; only what differs."""

    digest: str | None
    hosts: Annotated[list[str], Field(description="Of the urls, when those were replaced.")]
    fields: Annotated[dict[str, Any], Field(description="The entry's other fields, with the values they had.")]


class Change(BaseModel):
    """A row of the ledger: what a run saw become of a version."""

    at: datetime
    run: int
    version: str
    change: Literal["added", "changed", "digest-changed", "host-changed", "removed", "reappeared", "excluded", "included"]
    replaced: Annotated[Replaced | None, Field(description="Null: the change replaced nothing.")]


class Held(BaseModel):
    """A listing whose removals look like an accident: what it would remove is kept until it repeats or a person releases it."""

    reason: Annotated[str, Field(description="Empty, Shrunk or Stale.")]
    removals: Annotated[int, Field(description="How many versions it would remove.")]
    versions: Annotated[int, Field(description="How many it lists: so many would be left.")]
    reads: Annotated[int, Field(description="How many times it was read.")]
    first_read_at: datetime
    last_read_at: datetime
    release_due_at: Annotated[datetime, Field(description="From here on it is applied when it is read, for the third time or later.")]
    released_at: Annotated[datetime | None, Field(description="A person released it: the next sync applies it.")]


class Repository(BaseModel):
    """A repository and how its syncs stand."""

    namespace: str
    name: str
    type: str
    url: str
    charts: int
    versions: int
    ready: Annotated[bool, Field(description="The newest finished sync succeeded and the schedule has no problem.")]
    reason: Annotated[str, Field(description="Synced, Pending, Syncing, or the class of what went wrong.")]
    message: str
    last_sync: Annotated[datetime | None, Field(description="End of the newest finished sync.")]
    last_success: Annotated[datetime | None, Field(description="End of the newest successful sync.")]
    revision: Annotated[str | None, Field(description="SHA-256 of the published listing.")]
    state: Annotated[
        Literal["queued", "sent", "running", "done", "failed", "parked"] | None,
        Field(description="Of the newest sync; null before the first."),
    ]
    phase: Annotated[str | None, Field(description="What a running job is doing: a sync, or the reading of archives.")]
    held: Held | None
    notes_total: Annotated[int, Field(description="Entries of the published listing with something to say of them.")]
    files_pending: Annotated[int, Field(description="Archives still to be read.")]
    next_due: datetime | None


class Note(BaseModel):
    """A version that is wrong, or worth a word: as it is listed, or as its archive is."""

    chart: str
    version: str
    reason: str
    message: str


class Run(BaseModel):
    """One job that ran, runs or is to run."""

    id: int
    job: Literal["sync", "files", "delete"]
    cause: str
    state: Literal["queued", "sent", "running", "done", "failed", "parked"]
    attempt: int
    queued_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    phase: Annotated[str | None, Field(description="What it is doing, or was doing last.")]
    result: Literal["changed", "unchanged"] | None
    error_class: str | None
    error: str | None
    transient: bool | None
    charts: int | None
    versions: int | None
    added: int | None
    changed: int | None
    removed: int | None
    notes_total: int | None
    requests: int | None
    bytes: int | None
    phases: Annotated[dict[str, float] | None, Field(description="Milliseconds by phase.")]


class FailingFiles(BaseModel):
    """Archives whose last attempt failed for one reason."""

    reason: str
    archives: int
    message: Annotated[str, Field(description="Of one of them.")]
    next_attempt_at: Annotated[datetime, Field(description="Of the first of them.")]


class RepositoryDetail(Repository):
    notes: Annotated[list[Note], Field(description="Of the last reading of the listing, the first hundred.")]
    file_notes: Annotated[list[Note], Field(description="Of the last reading of archives, the first hundred.")]
    file_notes_total: int
    files_failing: Annotated[list[FailingFiles], Field(description="Of `files_pending`, those that failed, by reason.")]
    runs: Annotated[list[Run], Field(description="The last twenty, newest first.")]


class Problem(BaseModel):
    """A document of a manifest source that cannot be used."""

    source: str
    file: str
    line: int
    namespace: str | None
    name: str | None
    message: str


class Problems(BaseModel):
    items: list[Problem]


class SyncRequested(BaseModel):
    requested_at: datetime


class Released(BaseModel):
    released_at: datetime


class Health(BaseModel):
    status: Literal["ok"] = "ok"
