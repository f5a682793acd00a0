"""The scheduler: due schedules and requests become runs, runs become messages. Any number may run; PostgreSQL decides who claims what."""

import asyncio
import signal
from contextlib import suppress
from datetime import UTC, datetime

import psycopg
import structlog
from celery import Celery
from kombu.exceptions import OperationalError as BrokerError
from psycopg import AsyncConnection
from redis.exceptions import RedisError
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from catalog import runs
from catalog.database import connect
from catalog.engine import pooled_engine
from catalog.errors import InvalidJob, StoreUnavailable
from worker import queues
from worker.settings import Settings

log = structlog.get_logger()
BATCH = 200
UNDER_WAY = 100  # runs sent and not finished: what more than a worker could want, and little enough for a request to overtake
LONGEST_WAIT = 2.0  # seconds between looks, when nobody notifies


async def tick(engine: AsyncEngine, broker: Celery) -> float:
    """One round. Returns the seconds until there may be more to do."""
    now = datetime.now(UTC)
    async with engine.begin() as connection:
        claimed = await runs.claim_due(connection, now, BATCH)
        await runs.queue_files(connection, BATCH)
        recovered = await runs.recover(connection)
    if recovered:
        log.warning("runs queued again", action="recover", runs=recovered)
    sent = await send(engine, broker)
    if claimed == BATCH:
        return 0.0
    async with engine.begin() as connection:
        return await runs.seconds_to_next(connection, LONGEST_WAIT if not sent else LONGEST_WAIT / 4)


async def send(engine: AsyncEngine, broker: Celery) -> int:
    """Send queued runs: first the message, then the commit. A message without its commit finds the run queued, and may start it."""
    async with engine.begin() as connection:
        batch = await runs.take_queued(connection, UNDER_WAY)
        for each in batch:
            queue = queues.queue_of(each.job, each.cause)
            broker.send_task(queues.TASK, args=(list(each.argv), each.id), queue=queue, retry=False)
            log.info("sent", action="send", run=each.id, job=each.job, cause=each.cause, repository=each.repository, queue=queue)
    return len(batch)


async def notified(connection: AsyncConnection, seconds: float) -> None:
    """Wait for a notification, at most so long."""
    async for _ in connection.notifies(timeout=seconds, stop_after=1):
        return


async def schedule(settings: Settings, stop: asyncio.Event) -> None:
    """Rounds until told to stop; servers that are away are waited for."""
    engine = pooled_engine(settings.database_url, "chartfleet_writer", "scheduler", size=2)
    broker = Celery("chartfleet")
    broker.config_from_object(queues.settings(settings.broker_url))
    housekeeping = asyncio.create_task(forget(engine))
    while not stop.is_set():
        try:
            await rounds(settings, engine, broker, stop)
        except (StoreUnavailable, DBAPIError, psycopg.OperationalError) as error:
            log.warning("PostgreSQL is away", action="wait", error=str(error).splitlines()[0])
            await pause(stop)
        except (BrokerError, RedisError, OSError) as error:
            log.warning("the broker is away", action="wait", error=str(error))
            await pause(stop)
    housekeeping.cancel()
    await engine.dispose()


async def rounds(settings: Settings, engine: AsyncEngine, broker: Celery, stop: asyncio.Event) -> None:
    ears = await connect(settings.database_url, "chartfleet_writer", "scheduler", autocommit=True)
    async with ears:
        await ears.execute(f"listen {runs.CHANNEL}".encode())
        while not stop.is_set():
            seconds = await tick(engine, broker)
            waiting = asyncio.create_task(notified(ears, seconds))
            stopping = asyncio.create_task(stop.wait())
            await asyncio.wait({waiting, stopping}, return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            if waiting.cancel():
                await asyncio.wait({waiting})
            else:
                waiting.result()  # a lost connection is said here


async def forget(engine: AsyncEngine) -> None:
    """At the start and once an hour: drop the records of old runs."""
    while True:
        with suppress(StoreUnavailable, DBAPIError, psycopg.Error):  # the next hour does as well
            async with engine.begin() as connection:
                await runs.forget_old_runs(connection)
        await asyncio.sleep(3600)


async def pause(stop: asyncio.Event, seconds: float = 1.0) -> None:
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return


async def _main(settings: Settings) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await schedule(settings, stop)


def main(settings: Settings) -> int:
    if not settings.broker_url:
        raise InvalidJob("no broker: set CHARTFLEET_BROKER_URL, for instance redis://host:6379/0")
    asyncio.run(_main(settings))
    return 0
