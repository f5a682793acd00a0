"""What one worker process keeps for its life: a connection, a client, a name. Nothing of it is set up per job."""

import os
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING

from psycopg import AsyncConnection

from catalog.database import connect
from catalog.report import Report
from worker.http import Http
from worker.secrets import Secrets
from worker.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection as CoreConnection
    from sqlalchemy.ext.asyncio import AsyncEngine

    from worker.child import WalkServer


@dataclass(slots=True)
class Worker:
    """The connection also holds the advisory locks, so they end with the process."""

    settings: Settings
    connection: AsyncConnection
    http: Http
    secrets: Secrets
    name: str
    _engine: "AsyncEngine | None" = None
    _walks: "WalkServer | None" = None

    @classmethod
    async def open(cls, settings: Settings) -> "Worker":
        """Raises StoreUnavailable."""
        connection = await connect(settings.database_url, "chartfleet_writer", "worker")
        return cls(settings, connection, Http(settings), Secrets(settings), f"{socket.gethostname()}:{os.getpid()}")

    async def connected(self) -> AsyncConnection:
        """The connection; another if a statement that was cut off has cost the first, and the locks it held. Raises StoreUnavailable."""
        if self.connection.closed:
            self._engine = None
            self.connection = await connect(self.settings.database_url, "chartfleet_writer", "worker")
        return self.connection

    async def close(self) -> None:
        await self.http.close()
        await self.secrets.close()
        if self._walks:
            await self._walks.close()
        await self.connection.close()

    @property
    def walks(self) -> "WalkServer":
        """The process that reads indexes, which starts when the first one is to be read."""
        if self._walks is None:
            from worker.child import WalkServer  # noqa: PLC0415 - an unchanged run does without it

            self._walks = WalkServer()
        return self._walks

    @asynccontextmanager
    async def transaction(self) -> "AsyncGenerator[CoreConnection]":
        """One transaction for SQLAlchemy's statements, on the same connection."""
        if self._engine is None:
            from catalog.engine import engine_over  # noqa: PLC0415 - an unchanged run does without SQLAlchemy

            self._engine = engine_over(self.connection)
        async with self._engine.begin() as connection:
            yield connection


@asynccontextmanager
async def timed(report: Report, phase: str) -> AsyncGenerator[None]:
    """Add what the block takes to the report, in milliseconds."""
    start = monotonic()
    try:
        yield
    finally:
        report.phases[phase] = report.phases.get(phase, 0) + round((monotonic() - start) * 1000)
