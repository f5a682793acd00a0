"""The parent's end of the walk: start the child, hand it what is known, take its frames, tell how it died."""

import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import BinaryIO

import msgspec
import orjson

from catalog.errors import CatalogError, LimitExceeded, SourceMalformed
from catalog.report import Note
from worker.walk import END, FAILURE, HEADER, MOST_CPU, NOTES, RESTART, ROWS, End, Failure

LONGEST_SILENCE = 300.0  # seconds by the clock, besides the child's own limit of CPU
ERRORS: dict[str, type[CatalogError]] = {"SourceMalformed": SourceMalformed, "LimitExceeded": LimitExceeded}


class Restart:
    """All rows so far are void: the child reads the index again."""


Part = bytes | list[Note] | End | Restart


async def walk(index: BinaryIO, known: Mapping[str, bytes]) -> AsyncIterator[Part]:
    """Rows (COPY lines), then the notes, then the end. Raises the file's error, also when the child is killed."""
    with tempfile.TemporaryFile() as handed:
        handed.write(orjson.dumps({name: rollup.hex() for name, rollup in known.items()}))
        handed.seek(0)
        os.lseek(index.fileno(), 0, os.SEEK_SET)
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "worker.walk", str(handed.fileno())),
            stdin=index.fileno(),
            stdout=asyncio.subprocess.PIPE,
            pass_fds=[handed.fileno()],
            env={"PYTHONPATH": str(Path(__file__).parents[1])},  # nothing of ours, least of all a secret
            cwd="/",
        )
    try:
        async for part in _parts(child):
            yield part
    finally:
        if child.returncode is None:
            child.kill()
        await child.wait()


async def _parts(child: asyncio.subprocess.Process) -> AsyncIterator[Part]:
    assert child.stdout
    while True:
        try:
            async with asyncio.timeout(LONGEST_SILENCE):  # of the child alone: what the consumer takes is not its fault
                kind, length = HEADER.unpack(await child.stdout.readexactly(HEADER.size))
                payload = await child.stdout.readexactly(length)
        except TimeoutError:
            raise LimitExceeded(f"nothing was read of the index for {LONGEST_SILENCE:.0f} s") from None
        except asyncio.IncompleteReadError:
            raise _death(await child.wait()) from None
        part = _decoded(kind, payload)
        yield part
        if isinstance(part, End):
            return


def _decoded(kind: bytes, payload: bytes) -> Part:
    if kind == ROWS:
        return payload
    if kind == NOTES:
        return msgspec.json.decode(payload, type=list[Note])
    if kind == RESTART:
        return Restart()
    if kind == END:
        return msgspec.json.decode(payload, type=End)
    assert kind == FAILURE
    failure = msgspec.json.decode(payload, type=Failure)
    raise ERRORS[failure.reason](failure.message)


def _death(code: int) -> CatalogError:
    if code in (-signal.SIGXCPU, -signal.SIGKILL):
        return LimitExceeded(f"reading the index was ended by {signal.Signals(-code).name} (limit: {MOST_CPU} s of CPU)")
    how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    return SourceMalformed(f"reading the index ended its process ({how})")
