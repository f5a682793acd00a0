"""A Pod's database may be empty, as for Kubeapps' syncer: then its job makes the schema, if its user may. The fleet's workers never do."""

import asyncio
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE
from pathlib import Path

import structlog

from catalog.database import MIGRATION_LOCK, connect, require_schema
from catalog.errors import SchemaMissing
from worker.process import Worker
from worker.settings import Settings

log = structlog.get_logger()


async def ready_worker(settings: Settings) -> Worker:
    """A worker on a database that has our schema. Raises StoreUnavailable; SchemaMissing when it can be neither found nor made."""
    try:
        return await _checked_worker(settings)
    except SchemaMissing:
        await _migrate_alone(settings)
        return await _checked_worker(settings)


async def _checked_worker(settings: Settings) -> Worker:
    worker = await Worker.open(settings)
    try:
        await require_schema(worker.connection)
    except BaseException:
        await worker.close()
        raise
    return worker


async def _migrate_alone(settings: Settings) -> None:
    """Migrate, unless another job does so meanwhile: of many that start on an empty database one starts a migration, the others wait."""
    connection = await connect(settings.database_url, "none", "worker", autocommit=True)
    async with connection:
        await connection.execute("select pg_advisory_lock(%s, 1)", (MIGRATION_LOCK,))
        try:
            await (await _checked_worker(settings)).close()
        except SchemaMissing:
            await _migrate(settings)


async def _migrate(settings: Settings) -> None:
    """As a process of its own, which has Alembic and nothing of the repository's. Raises SchemaMissing with its last words."""
    log.info("the database has no schema yet", action="migrate")
    ours = {"CHARTFLEET_DATABASE_URL": settings.database_url, "PYTHONPATH": str(Path(__file__).parents[1])}
    libpq = {name: value for name, value in os.environ.items() if name.startswith("PG") or name == "HOME"}
    migrating = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "migrations"), env={**libpq, **ours}, cwd="/", stdin=DEVNULL, stdout=DEVNULL, stderr=PIPE
    )
    try:
        _, said = await migrating.communicate()
    finally:
        if migrating.returncode is None:
            migrating.kill()
    if migrating.returncode:
        why = (said.decode(errors="replace").partition("cannot migrate: ")[2].splitlines() or ["the migration died"])[0]
        raise SchemaMissing(f"the database has no schema of ours ({why}): run `python -m migrations` as a user who may create roles")
