"""The schema `chartfleet` as SQLAlchemy Core metadata: the same tables as migrations/schema.sql; a test holds them equal.

Row-level security, roles, functions and comments stand in the migrations alone.
"""

from typing import Any

from sqlalchemy import (
    REAL,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Computed,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TIMESTAMP, TSVECTOR
from sqlalchemy.sql.schema import SchemaItem
from sqlalchemy.types import TypeEngine

metadata = MetaData(schema="chartfleet")
Time = TIMESTAMP(timezone=True)


def _required(name: str, type_: TypeEngine[Any], *more: SchemaItem, default: str | None = None) -> Column[Any]:
    return Column(name, type_, *more, nullable=False, server_default=text(default) if default else None)


def _of(parent: str, column: str) -> ForeignKeyConstraint:
    """A child row hangs on its parent *and* on the parent's namespace, so that the two cannot differ."""
    return ForeignKeyConstraint([column, "namespace"], [f"{parent}.id", f"{parent}.namespace"], ondelete="CASCADE")


def _id(type_: TypeEngine[int]) -> Column[int]:
    return Column("id", type_, Identity(always=True), primary_key=True)


repositories = Table(
    "repositories",
    metadata,
    _id(Integer()),
    _required("namespace", Text()),
    _required("name", Text()),
    _required("type", Text()),
    _required("url", Text()),
    Column("source", Text),
    Column("incarnation", Text),
    Column("applied_fingerprint", Text),
    Column("etag", Text),
    Column("last_modified", Text),
    Column("body_sha256", LargeBinary),
    _required("charts", Integer(), default="0"),
    _required("versions", Integer(), default="0"),
    _required("created_at", Time, default="now()"),
    _required("applied_filter", Text(), default="''"),
    _required("applied_files", Text(), default="'all'"),
    Column("applied_url", Text),
    Column("generated", Time),
    Column("newest_created", Time),
    Column("purge_at", Time),
    UniqueConstraint("namespace", "name"),
    UniqueConstraint("id", "namespace"),
    CheckConstraint("namespace <> '' and namespace !~ '[,*]'"),
    CheckConstraint("name <> ''"),
)

fences = Table(
    "fences",
    metadata,
    _required("namespace", Text()),
    _required("name", Text()),
    _required("incarnation", Text(), default="''"),
    _required("fenced_at", Time, default="now()"),
    PrimaryKeyConstraint("namespace", "name", "incarnation"),
)

schedules = Table(
    "schedules",
    metadata,
    Column("repository_id", Integer, primary_key=True, autoincrement=False),
    _required("namespace", Text()),
    _required("argv", ARRAY(Text)),
    _required("fingerprint", Text()),
    Column("period_seconds", Integer),
    Column("cron", Text),
    Column("next_due_at", Time),
    Column("requested_at", Time),
    Column("problem_reason", Text),
    Column("problem", Text),
    _of("repositories", "repository_id"),
    CheckConstraint("period_seconds > 0"),
    CheckConstraint("(period_seconds is null) <> (cron is null)"),
    Index("schedules_due", "next_due_at"),
    Index("schedules_requested", "requested_at", postgresql_where=text("requested_at is not null")),
)

sync_runs = Table(
    "sync_runs",
    metadata,
    _id(BigInteger()),
    Column("repository_id", Integer, ForeignKey("repositories.id", ondelete="CASCADE")),
    _required("namespace", Text()),
    _required("name", Text()),
    _required("job", Text()),
    _required("cause", Text()),
    _required("argv", ARRAY(Text)),
    Column("tick", Time),
    _required("state", Text()),
    _required("attempt", SmallInteger(), default="0"),
    _required("queued_at", Time, default="now()"),
    Column("sent_at", Time),
    Column("started_at", Time),
    Column("finished_at", Time),
    Column("worker", Text),
    Column("phase", Text),
    Column("result", Text),
    Column("error_class", Text),
    Column("error", Text),
    Column("transient", Boolean),
    Column("charts", Integer),
    Column("versions", Integer),
    Column("added", Integer),
    Column("changed", Integer),
    Column("removed", Integer),
    Column("notes_total", Integer),
    Column("notes", JSONB),
    Column("requests", Integer),
    Column("bytes", BigInteger),
    Column("phases", JSONB),
    UniqueConstraint("repository_id", "job", "tick"),
    CheckConstraint("job in ('sync', 'files', 'delete')"),
    CheckConstraint("cause in ('schedule', 'request', 'command', 'leftover', 'deletion')"),
    CheckConstraint("state in ('queued', 'sent', 'running', 'done', 'failed', 'parked')"),
    CheckConstraint("result in ('changed', 'unchanged')"),
    Index("sync_runs_history", "repository_id", "job", text("id desc")),
    Index("sync_runs_unfinished", "id", postgresql_where=text("state in ('queued', 'sent', 'running')")),
)

charts = Table(
    "charts",
    metadata,
    _id(BigInteger()),
    _required("repository_id", Integer()),
    _required("namespace", Text()),
    _required("name", Text()),
    _required("rollup", LargeBinary()),
    _required("version", Text()),
    Column("app_version", Text),
    Column("description", Text),
    Column("icon", Text),
    Column("home", Text),
    _required("keywords", ARRAY(Text), default="'{}'"),
    _required("deprecated", Boolean(), default="false"),
    Column("created", Time),
    _required("versions", Integer()),
    Column("removed_at", Time),
    _required("words", TSVECTOR(), Computed("chartfleet.chart_words(name, keywords, description)", persisted=True)),
    _required("excluded", Boolean(), default="false"),
    Column("piece_rollup", LargeBinary),
    Column("pieces", LargeBinary),
    UniqueConstraint("repository_id", "name"),
    UniqueConstraint("id", "namespace"),
    _of("repositories", "repository_id"),
    Index("charts_words", "words", postgresql_using="gin", postgresql_where=text("removed_at is null")),
    Index("charts_by_name", "name", "namespace", "id", postgresql_where=text("removed_at is null")),
)

chart_versions = Table(
    "chart_versions",
    metadata,
    Column("id", BigInteger, Identity(always=True)),
    _required("chart_id", BigInteger()),
    _required("namespace", Text()),
    _required("version", Text()),
    _required("order_key", LargeBinary()),
    _required("fingerprint", LargeBinary()),
    Column("app_version", Text),
    Column("digest", Text),
    Column("created", Time),
    _required("deprecated", Boolean(), default="false"),
    _required("urls", ARRAY(Text), default="'{}'"),
    _required("metadata", JSONB()),
    _required("first_seen", Time, default="now()"),
    Column("removed_at", Time),
    UniqueConstraint("chart_id", "version"),
    PrimaryKeyConstraint("id", "namespace"),
    _of("charts", "chart_id"),
    Index(
        "chart_versions_newest_first",
        "chart_id",
        text("order_key desc"),
        text("version desc"),
        postgresql_where=text("removed_at is null"),
    ),
)

blobs = Table(
    "blobs",
    metadata,
    Column("sha256", LargeBinary, primary_key=True),
    _required("size", Integer()),
    _required("content", LargeBinary()),
)

version_files = Table(
    "version_files",
    metadata,
    Column("version_id", BigInteger, primary_key=True, autoincrement=False),
    _required("namespace", Text()),
    _required("names", ARRAY(Text)),
    _required("contents", ARRAY(LargeBinary)),
    _required("digest", Text()),
    Column("as_listed", Boolean),
    Column("signed", Boolean),
    _required("templates", Integer(), default="0"),
    _required("dependencies", JSONB(), default="'[]'"),
    _required("images", ARRAY(Text), default="'{}'"),
    _required("read_at", Time, default="now()"),
    CheckConstraint("cardinality(names) = cardinality(contents)"),
    _of("chart_versions", "version_id"),
)

file_work = Table(
    "file_work",
    metadata,
    Column("version_id", BigInteger, primary_key=True, autoincrement=False),
    _required("namespace", Text()),
    _required("repository_id", Integer(), ForeignKey("repositories.id", ondelete="CASCADE")),
    _required("newest", Boolean()),
    _required("attempts", SmallInteger(), default="0"),
    _required("next_attempt_at", Time, default="now()"),
    Column("error_class", Text),
    Column("error", Text),
    _of("chart_versions", "version_id"),
    Index("file_work_due", "repository_id", "next_attempt_at"),
)

icons = Table(
    "icons",
    metadata,
    Column("sha256", LargeBinary, primary_key=True),
    _required("content_type", Text()),
    _required("content", LargeBinary()),
)

icon_sources = Table(
    "icon_sources",
    metadata,
    _required("repository_id", Integer()),
    _required("namespace", Text()),
    _required("url_sha256", LargeBinary()),
    _required("url", Text()),
    Column("sha256", LargeBinary, ForeignKey("icons.sha256")),
    Column("etag", Text),
    Column("last_modified", Text),
    _required("attempts", SmallInteger(), default="0"),
    Column("next_attempt_at", Time, server_default=text("now()")),
    Column("error_class", Text),
    Column("error", Text),
    PrimaryKeyConstraint("repository_id", "url_sha256"),
    _of("repositories", "repository_id"),
    Index("icon_sources_sha256", "sha256"),
    Index("icon_sources_due", "repository_id", "next_attempt_at"),
)

held_listings = Table(
    "held_listings",
    metadata,
    Column("repository_id", Integer, primary_key=True, autoincrement=False),
    _required("namespace", Text()),
    Column("etag", Text),
    Column("last_modified", Text),
    _required("body_sha256", LargeBinary()),
    _required("reason", Text()),
    _required("removals", Integer()),
    _required("reads", Integer(), default="1"),
    _required("first_read_at", Time, default="now()"),
    _required("last_read_at", Time, default="now()"),
    Column("released_at", Time),
    _required("content", LargeBinary()),
    _required("versions", Integer()),
    _of("repositories", "repository_id"),
)

hosts = Table(
    "hosts",
    metadata,
    Column("host", Text, primary_key=True),
    _required("not_before", Time, default="now()"),
    Column("reason", Text),
    _required("failures", SmallInteger(), default="0"),
    Column("rate", REAL),
    _required("tokens", REAL(), default="0"),
    _required("refilled_at", Time, default="now()"),
)

housekeeping = Table(
    "housekeeping",
    metadata,
    Column("task", Text, primary_key=True),
    _required("wanted", Boolean(), default="false"),
    _required("done_at", Time, default="'-infinity'"),
)

ledger = Table(
    "ledger",
    metadata,
    Column("seq", BigInteger, Identity(always=True), primary_key=True),
    _required("at", Time, default="now()"),
    _required("run_id", BigInteger()),
    _required("namespace", Text()),
    _required("repository", Text()),
    _required("chart", Text()),
    _required("version", Text()),
    _required("change", Text()),
    Column("replaced", JSONB),
    CheckConstraint("change in ('added', 'changed', 'digest-changed', 'host-changed', 'removed', 'reappeared', 'excluded', 'included')"),
    Index("ledger_chart", "namespace", "repository", "chart", "seq"),
)

source_problems = Table(
    "source_problems",
    metadata,
    _required("source", Text()),
    _required("file", Text()),
    _required("line", Integer()),
    Column("namespace", Text),
    Column("name", Text),
    _required("message", Text()),
    PrimaryKeyConstraint("source", "file", "line"),
)
