"""The parent's end of worker.icons: hand an icon to the child, take what is stored of it, tell how the child died."""

import asyncio
import hashlib
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from catalog.errors import CatalogError, LimitExceeded, SourceMalformed
from catalog.icons import Icon
from worker.icons import CONTENT_TYPES, ERRORS, HEADER, LENGTH, MOST_CPU

LONGEST_SILENCE = 60.0  # seconds by the clock, besides the child's own limit of CPU


class Decoder:
    """A child that is started with the first icon, decodes one at a time, and is replaced when an icon was too much for it."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        self._child: asyncio.subprocess.Process | None = None

    async def decode(self, data: bytes) -> Icon:
        """Raises SourceMalformed or LimitExceeded, also when the child dies of it."""
        async with self._turn:
            try:
                async with asyncio.timeout(LONGEST_SILENCE):
                    kind, payload = await self._exchange(data)
            except (asyncio.IncompleteReadError, ConnectionError):
                raise _death(await self._ended()) from None
            except TimeoutError:
                await self.close()
                raise LimitExceeded(f"the icon was not decoded in {LONGEST_SILENCE:.0f} s") from None
            except BaseException:  # stopped half-way: what the child still says is of no icon
                await self.close()
                raise
        if kind in ERRORS:
            raise ERRORS[kind](payload.decode())
        return Icon(hashlib.sha256(payload).digest(), CONTENT_TYPES[kind], payload)

    async def close(self) -> None:
        if self._child and self._child.returncode is None:
            self._child.kill()
        await self._ended()

    async def _exchange(self, data: bytes) -> tuple[bytes, bytes]:
        self._child = self._child or await _start()
        assert self._child.stdin
        assert self._child.stdout
        self._child.stdin.write(LENGTH.pack(len(data)) + data)
        await self._child.stdin.drain()
        kind, length = HEADER.unpack(await self._child.stdout.readexactly(HEADER.size))
        return kind, await self._child.stdout.readexactly(length)

    async def _ended(self) -> int:
        child, self._child = self._child, None
        return await child.wait() if child else 0


@asynccontextmanager
async def decoding() -> AsyncGenerator[Decoder]:
    """A decoder whose child ends with the block."""
    decoder = Decoder()
    try:
        yield decoder
    finally:
        await decoder.close()


async def _start() -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "worker.icons"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={"PYTHONPATH": str(Path(__file__).parents[1])},  # nothing of ours, least of all a secret
        cwd="/",
    )


def _death(code: int) -> CatalogError:
    if code in (-signal.SIGXCPU, -signal.SIGKILL):
        return LimitExceeded(f"decoding the icon was ended by {signal.Signals(-code).name} (limit: {MOST_CPU} s of CPU)")
    how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    return SourceMalformed(f"decoding the icon ended its process ({how})")
