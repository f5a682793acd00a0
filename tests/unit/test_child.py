"""The walk's fork server, as its worker uses it: whatever happened to one index, the next one has a child and a status of its own."""

import asyncio
import os
import signal
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.fakes.helm_repo import index
from worker.child import WalkServer
from worker.frames import End, Request


@pytest.fixture
async def walks() -> AsyncIterator[WalkServer]:
    server = WalkServer()
    yield server
    await server.close()


async def read(walks: WalkServer) -> tuple[int, End]:
    """Read a small index: the child's parent and the end it told."""
    with tempfile.TemporaryFile() as file:
        file.write(index({"a": [{"version": "1.0.0"}]}))
        file.flush()
        async with walks.child(file) as child:
            status = Path(f"/proc/{child.pid}/stat").read_text()
            parts = [part async for part in child.parts(Request({}))]
    assert isinstance(parts[-1], End)
    return int(status.rpartition(")")[2].split()[1]), parts[-1]


def server_of(pid: int) -> int:
    [server] = [
        int(child)
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        if b"walk_server" in Path(f"/proc/{child}/cmdline").read_bytes()
    ]
    return server


async def test_a_server_serves_one_index_after_the_other(walks: WalkServer) -> None:
    first, _ = await read(walks)
    second, end = await read(walks)
    assert (first, end.versions) == (second, 1)
    assert first == server_of(os.getpid())


@pytest.mark.parametrize("turns", [0, 1, 2, 3, 5, 20])
async def test_a_reading_cut_off_before_its_child_is_there_leaves_nothing_for_the_next(walks: WalkServer, turns: int) -> None:
    """As a sync is that has taken too long. The server is stopped, so it is certain that no child was there."""
    await read(walks)
    server = server_of(os.getpid())
    os.kill(server, signal.SIGSTOP)
    task = asyncio.create_task(read(walks))
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    os.kill(server, signal.SIGCONT)
    for _ in range(2):
        parent, end = await read(walks)
        assert (parent, end.versions) == (server_of(os.getpid()), 1)


async def test_a_reading_cut_off_with_its_child_at_work_leaves_nothing_for_the_next(walks: WalkServer) -> None:
    with tempfile.TemporaryFile() as file:
        async with walks.child(file) as child:
            os.kill(child.pid, 0)
    parent, end = await read(walks)
    assert (parent, end.versions) == (server_of(os.getpid()), 1)
