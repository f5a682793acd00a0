"""The bodies of answers, as the OpenAPI document declares them. Pure."""

from datetime import datetime
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import BaseModel, Field

Item = TypeVar("Item")
FileName = Literal["readme", "values", "schema"]


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


class ChartDetail(Chart):
    home: str | None
    keywords: list[str]
    versions: Annotated[int, Field(description="How many are listed.")]
    maintainers: list[Maintainer]
    sources: list[str]
    annotations: dict[str, str]
    files: Annotated[list[FileName], Field(description="Files of the newest version that can be had.")]


class Version(BaseModel):
    version: str
    app_version: str | None
    created: datetime | None
    digest: str | None
    deprecated: bool
    urls: list[str]
    description: str | None


class VersionDetail(Version):
    files: Annotated[list[FileName], Field(description="Files that can be had.")]
    metadata: Annotated[dict[str, Any], Field(description="The entry as listed.")]


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
    phase: Annotated[str | None, Field(description="What a running sync is doing.")]
    notes_total: Annotated[int, Field(description="Entries of the published listing with something to say of them.")]
    files_pending: Annotated[int, Field(description="Archives still to be read.")]
    next_due: datetime | None


class Note(BaseModel):
    """An entry of the listing that is wrong, or worth a word."""

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


class RepositoryDetail(Repository):
    notes: Annotated[list[Note], Field(description="Of the last reading of the listing, the first hundred.")]
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


class Health(BaseModel):
    status: Literal["ok"] = "ok"
