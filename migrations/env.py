"""How Alembic runs here: as chartfleet_owner, under an advisory lock, with short lock waits, one transaction a migration."""

import os
from pathlib import Path

import psycopg
from alembic import context
from sqlalchemy import create_engine
from sqlalchemy.pool import StaticPool

from catalog.database import MIGRATION_LOCK
from catalog.tables import metadata

ROLES = (Path(__file__).parent / "roles.sql").read_text()


def prepared() -> psycopg.Connection:
    """A connection that holds the migration lock and acts as the schema's owner; roles and schema stand."""
    connection = psycopg.connect(os.environ["CHARTFLEET_DATABASE_URL"], autocommit=True, application_name="chartfleet migrations")
    connection.execute("set client_min_messages = warning")
    connection.execute("select pg_advisory_lock(%s, 0)", (MIGRATION_LOCK,))
    connection.execute(ROLES)  # pyright: ignore[reportArgumentType, reportCallIssue]: a file of ours, not a built string
    connection.execute("set role chartfleet_owner")
    connection.execute("set lock_timeout = '4s'")
    connection.autocommit = False
    return connection


def run() -> None:
    with prepared() as connection:
        engine = create_engine("postgresql+psycopg://", creator=lambda: connection, poolclass=StaticPool)
        with engine.connect() as core:
            context.configure(
                connection=core,
                target_metadata=metadata,
                version_table_schema="chartfleet",
                transaction_per_migration=True,
            )
            with context.begin_transaction():
                context.run_migrations()


run()
