"""A deleted repository's rows go, after whatever is running for it."""

import asyncio

from catalog import store, tick
from catalog.database import SYNC_LOCK, advisory_lock
from catalog.errors import StoreUnavailable
from catalog.jobs import CleanUpRepository
from worker.process import Worker

PATIENCE = 60.0  # seconds to wait for a running sync; its publication is refused once the rows are gone


class StillRunning(StoreUnavailable):
    """A sync holds the repository; the clean-up comes again."""


async def clean_up(worker: Worker, job: CleanUpRepository) -> bool:
    """Remove the repository; False when there was nothing. Raises StillRunning."""
    async with worker.connection.transaction():
        stored = await tick.find(worker.connection, job.key)
    end = asyncio.get_running_loop().time() + PATIENCE
    while stored is not None and asyncio.get_running_loop().time() < end:
        async with advisory_lock(worker.connection, SYNC_LOCK, stored.id) as had:
            if had:
                return await _delete(worker, job)
        await asyncio.sleep(0.5)
    if stored is not None:
        raise StillRunning(f"{job.key} is being synced; its clean-up waits")
    return await _delete(worker, job)


async def _delete(worker: Worker, job: CleanUpRepository) -> bool:
    async with worker.transaction() as connection:
        return await store.delete_repository(connection, job.key, job.incarnation)
