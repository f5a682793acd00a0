"""A connection to PostgreSQL, by psycopg alone: what a one-shot process can afford to import."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Literal

import psycopg
from psycopg import AsyncConnection

from catalog.errors import InvalidJob, SchemaMissing, SchemaTooOld, StoreUnavailable

Role = Literal["chartfleet_owner", "chartfleet_writer", "chartfleet_reader"]
SCHEMA_REVISION = "0002"  # the migration that this code was written for

# Classes of advisory locks: the first of two integers, the second is the repository's id.
SYNC_LOCK, FILES_LOCK = 0x6366_0001, 0x6366_0002
LEDGER_LOCK, MIGRATION_LOCK, CONTENTS_LOCK = 0x6366_0003, 0x6366_0004, 0x6366_0005  # with 0; MIGRATION_LOCK with 1: see worker/schema.py


# A peer that went without a word is noticed within a minute, on either side; its locks go with its connection.
_KEPT_ALIVE = "-c tcp_keepalives_idle=30 -c tcp_keepalives_interval=10 -c tcp_keepalives_count=3"


async def connect(url: str, role: Role | Literal["none"], process: str, *, autocommit: bool = False) -> AsyncConnection:
    """A connection that acts as `role` (none: as its own user); `process` is its application_name. Raises StoreUnavailable."""
    options = f"-c role={role} -c timezone=UTC -c search_path=pg_catalog,pg_temp -c client_min_messages=warning {_KEPT_ALIVE}"
    try:
        return await AsyncConnection.connect(
            url,
            autocommit=autocommit,
            application_name=f"chartfleet {process}",
            options=options,
            connect_timeout=10,
            keepalives_idle=30,
            keepalives_interval=10,
            keepalives_count=3,
        )
    except psycopg.ProgrammingError:  # whose text quotes the piece that it cannot read, which may be the password
        raise InvalidJob(
            "the database's address cannot be read: it is postgresql://USER:PASSWORD@HOST:PORT/NAME, percent-encoded"
        ) from None
    except psycopg.OperationalError as error:
        if "chartfleet_" in str(error) and "role" in str(error):
            raise SchemaMissing(f"the database has no role {role} for this user: run `python -m migrations` first") from None
        raise StoreUnavailable(f"PostgreSQL does not answer: {_first_line(error)}") from None


async def schema_revision(connection: AsyncConnection) -> str | None:
    """The database's migration, or None when the schema is absent."""
    cursor = await connection.execute("select to_regclass('chartfleet.alembic_version') is not null")
    if (await cursor.fetchone()) != (True,):
        return None
    row = await (await connection.execute("select version_num from chartfleet.alembic_version")).fetchone()
    return row[0] if row else None


async def require_schema(connection: AsyncConnection) -> None:
    """See that the schema is there and as new as this code, or newer. Raises SchemaMissing or SchemaTooOld."""
    found = await _usable_revision(connection)
    if found is None or found < SCHEMA_REVISION:
        async with connection.transaction():  # wait for a migration that is under way
            await connection.execute("select pg_advisory_xact_lock_shared(%s, 0)", (MIGRATION_LOCK,))
        found = await _usable_revision(connection)
    if found is None:
        raise SchemaMissing("the database has no schema of ours yet: run `python -m migrations`")
    if found < SCHEMA_REVISION:
        raise SchemaTooOld(f"the database's schema is too old ({found}, not {SCHEMA_REVISION}): run `python -m migrations` of this release")


async def _usable_revision(connection: AsyncConnection) -> str | None:
    """The revision; None as long as this role may not look, as in the midst of the first migration."""
    try:
        async with connection.transaction():
            return await schema_revision(connection)
    except psycopg.errors.InsufficientPrivilege:
        return None


@asynccontextmanager
async def advisory_lock(connection: AsyncConnection, kind: int, number: int) -> AsyncGenerator[bool]:
    """Try for a session lock; yields whether it was had. It dies with the connection."""
    async with connection.transaction():
        cursor = await connection.execute("select pg_try_advisory_lock(%s, %s)", (kind, number))
        had = (await cursor.fetchone()) == (True,)
    try:
        yield had
    finally:
        if had and not connection.closed:
            await release_locks(connection)


async def release_locks(connection: AsyncConnection) -> None:
    """Give back what a job locked: a worker's connection does one job at a time."""
    async with connection.transaction():
        await connection.execute("select pg_advisory_unlock_all()")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
