"""python -m controller: follow a directory of manifests. The wiring: settings → engine → backend → directory."""

import asyncio
import signal
import sys
from pathlib import Path

import click
import psycopg
import structlog
from pydantic import ValidationError
from sqlalchemy.exc import DBAPIError

from catalog.engine import pooled_engine
from catalog.errors import StoreUnavailable
from catalog.telemetry import set_up_logging
from controller.backends import BACKENDS
from controller.directory import Directory
from controller.settings import Settings

log = structlog.get_logger()


async def control(settings: Settings, directory: Path) -> None:
    """Follow the directory until told to stop; while PostgreSQL is away, wait."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    engine = pooled_engine(settings.database_url.get_secret_value(), "chartfleet_writer", "controller", size=1)
    source = Directory(directory, settings.source or f"directory:{directory}", BACKENDS["celery"](engine))
    while not stop.is_set():
        try:
            await source.follow(stop)
        except (StoreUnavailable, DBAPIError, psycopg.OperationalError) as error:
            log.warning("PostgreSQL is away", action="wait", error=str(error).splitlines()[0])
            await asyncio.sleep(1)
    await engine.dispose()


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--directory", type=click.Path(path_type=Path), help="Directory of AppRepository manifests (or CHARTFLEET_DIRECTORY).")
def main(directory: Path | None) -> None:
    """Turn AppRepository manifests into scheduled syncs."""
    set_up_logging("controller")
    try:
        settings = Settings()  # pyright: ignore[reportCallIssue] - filled from the environment
    except ValidationError as error:
        names = ", ".join("CHARTFLEET_" + str(each["loc"][0]).upper() for each in error.errors())
        raise click.UsageError(f"set {names}") from None
    chosen = directory or settings.directory
    if chosen is None:
        raise click.UsageError("give --directory, or set CHARTFLEET_DIRECTORY")
    asyncio.run(control(settings, chosen.absolute()))


if __name__ == "__main__":
    sys.exit(main())
