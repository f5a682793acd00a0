"""The migrations, migrations/schema.sql and catalog/tables.py are one schema; roles may do what they are for and no more."""

import re

import psycopg
import pytest
from sqlalchemy import create_engine
from sqlalchemy.pool import StaticPool

from catalog.tables import metadata
from cli.schema import migrated
from cli.servers import postgres_binaries
from tests.conftest import ROOT, Database, migrate

COLUMNS = """
    select table_name, column_name, data_type, is_nullable, column_default, is_identity, generation_expression
    from information_schema.columns where table_schema = 'chartfleet' and table_name <> 'alembic_version' order by 1, ordinal_position
"""
CONSTRAINTS = """
    select conrelid::regclass::text, contype::text, conname, pg_get_constraintdef(oid) from pg_constraint
    where connamespace = 'chartfleet'::regnamespace
      and conrelid <> 'chartfleet.alembic_version'::regclass and contype <> 'n' order by 1, 2, 3
"""
INDEXES = "select indexname, indexdef from pg_indexes where schemaname = 'chartfleet' and tablename <> 'alembic_version' order by 1"


def test_the_tables_of_the_code_are_those_of_the_migrations(database: Database) -> None:
    migrated = [database.rows(query) for query in (COLUMNS, CONSTRAINTS, INDEXES)]
    database.rows("drop schema chartfleet cascade")
    database.rows("create schema chartfleet create table alembic_version (version_num text)")
    words = ROOT.joinpath("migrations/versions/0001_catalogue.sql").read_text()
    database.rows(re.search(r"create function chartfleet\.chart_words.*?\$\$.*?\$\$;", words, re.DOTALL)[0])  # pyright: ignore[reportOptionalSubscript]
    with psycopg.connect(database.admin, autocommit=True) as connection:
        metadata.create_all(create_engine("postgresql+psycopg://", creator=lambda: connection, poolclass=StaticPool))
    assert [database.rows(query) for query in (COLUMNS, CONSTRAINTS, INDEXES)] == migrated


def test_migrating_twice_changes_nothing(database: Database) -> None:
    before = [database.rows(query) for query in (COLUMNS, CONSTRAINTS, INDEXES)]
    migrate(database.admin)
    assert [database.rows(query) for query in (COLUMNS, CONSTRAINTS, INDEXES)] == before


@pytest.mark.skipif(not (postgres_binaries() / "pg_dump").exists(), reason="no pg_dump beside PostgreSQL")
def test_the_schema_to_read_is_the_migrated_one() -> None:
    assert migrated() == ROOT.joinpath("migrations/schema.sql").read_text(), "run `make schema`"


def test_every_table_has_row_level_security(database: Database) -> None:
    without = database.rows("""
        select relname from pg_class where relnamespace = 'chartfleet'::regnamespace and relkind = 'r' and not relrowsecurity
          and relname <> 'alembic_version'""")
    assert without == []


@pytest.mark.parametrize(
    "statement",
    [
        "insert into chartfleet.fences (namespace, name) values ('a', 'b')",
        "delete from chartfleet.charts",
        "select argv from chartfleet.schedules",
    ],
)
def test_the_reader_writes_nothing_and_reads_no_argv(database: Database, statement: str) -> None:
    with psycopg.connect(database.reader) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(statement.encode())


def test_the_ledger_is_append_only(database: Database) -> None:
    for statement in ("update chartfleet.ledger set chart = 'x'", "delete from chartfleet.ledger"):
        with psycopg.connect(database.writer) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(statement.encode())
