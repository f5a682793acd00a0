"""SQLAlchemy Core over psycopg connections of ours, so that both speak on the same connection."""

from collections.abc import Awaitable, Callable

from psycopg import AsyncConnection
from sqlalchemy.ext.asyncio import AsyncConnection as CoreConnection
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import StaticPool

from catalog.database import Role, connect


def pooled_engine(url: str, role: Role, process: str, size: int = 5) -> AsyncEngine:
    """An engine for a serving process: up to `size` connections, tested before use."""
    return create_async_engine("postgresql+psycopg://", async_creator=_connector(url, role, process), pool_size=size, pool_pre_ping=True)


def engine_over(connection: AsyncConnection) -> AsyncEngine:
    """An engine whose one connection is `connection`; closing it stays the caller's."""

    async def same() -> AsyncConnection:
        return connection

    return create_async_engine("postgresql+psycopg://", async_creator=same, poolclass=StaticPool)


async def driver(connection: CoreConnection) -> AsyncConnection:
    """psycopg's connection below SQLAlchemy's: for COPY and LISTEN."""
    raw = (await connection.get_raw_connection()).driver_connection
    assert isinstance(raw, AsyncConnection)
    return raw


def _connector(url: str, role: Role, process: str) -> Callable[[], Awaitable[AsyncConnection]]:
    async def new() -> AsyncConnection:
        return await connect(url, role, process)

    return new
