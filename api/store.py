"""One transaction a request, in which row-level security knows who asks."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, Request
from sqlalchemy.ext.asyncio import AsyncConnection

from api.auth import VisibleNamespaces
from catalog.search import seeing


async def transaction(request: Request, namespaces: VisibleNamespaces) -> AsyncIterator[AsyncConnection]:
    """A connection that sees what the request may see."""
    async with seeing(request.app.state.engine, namespaces) as connection:
        yield connection


# Ends before the answer goes out, so that an answer tells what is committed.
Connection = Annotated[AsyncConnection, Depends(transaction, scope="function")]
