"""The worker's end of the walk: its fork server, the child of one index, their frames, and how a child died."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from socket import send_fds, socket, socketpair
from subprocess import DEVNULL, Popen
from typing import BinaryIO

import msgspec
import orjson

from catalog.errors import CatalogError, LimitExceeded, SourceMalformed
from catalog.report import Note
from worker.frames import ASK, END, FAILURE, HEADER, KNOWN, MOST_CPU, NOTES, NUMBER, PIECES, RESTART, ROWS, TAIL, End, Failure, Request

LONGEST_SILENCE = 300.0  # seconds by the clock, besides the child's own limit of CPU
ERRORS: dict[str, type[CatalogError]] = {"SourceMalformed": SourceMalformed, "LimitExceeded": LimitExceeded}


class ReaderLost(CatalogError):
    """The fork server itself died: nothing that an index can bring about."""

    transient = True


class Restart:
    """All rows so far are void: the child reads the index again."""


@dataclass(frozen=True, slots=True)
class Rows:
    """COPY lines. `tail`: of versions that are not their chart's newest, where those were asked for apart."""

    lines: bytes
    tail: bool = False


@dataclass(frozen=True, slots=True)
class Question:
    """The child wants the stored pieces of these charts; asked at most once and before any rows."""

    charts: Sequence[str]


Part = Rows | Question | list[Note] | End | Restart
Answer = Callable[[Sequence[str]], Awaitable[Mapping[str, bytes]]]


class WalkServer:
    """A process that forks one child an index; started when it is first needed, kept as long as its worker."""

    def __init__(self) -> None:
        self._process: Popen[bytes] | None = None
        self._control: socket | None = None
        self._owes = False  # numbers, of a child: if its reading was cut off, they would be taken for the next one's

    @asynccontextmanager
    async def child(self, index: BinaryIO) -> AsyncGenerator["Child"]:
        """A child that reads `index`; it is dead when the block ends. Raises ReaderLost."""
        control = await self._started()
        ours, theirs = socketpair()
        child = None
        with ours:
            with theirs:
                os.lseek(index.fileno(), 0, os.SEEK_SET)
                _hand_over(control, index, theirs)
            self._owes = True
            reader, writer = await asyncio.open_unix_connection(sock=ours)
            try:
                child = Child(await self._number(), reader, writer, self._number)
                yield child
            finally:
                writer.close()
                with suppress(OSError):
                    await writer.wait_closed()
                if child:
                    await child.end()
                    self._owes = False

    async def close(self) -> None:
        if self._control:
            self._control.close()
            self._control = None
        if self._process:
            self._process.kill()  # its child goes with it
            self._process.wait()
            self._process = None
        self._owes = False

    async def _started(self) -> socket:
        if self._owes or self._control is None or self._process is None or self._process.poll() is not None:
            await self.close()
            self._control, theirs = socketpair()
            self._control.setblocking(False)
            with theirs:
                self._process = Popen(  # noqa: ASYNC220 - a millisecond, once in the worker's life
                    [sys.executable, "-m", "worker.walk_server", str(theirs.fileno())],
                    pass_fds=[theirs.fileno()],
                    stdin=DEVNULL,
                    env={"PYTHONPATH": str(Path(__file__).parents[1])},  # nothing of ours, least of all a secret
                    cwd="/",
                )
        return self._control

    async def _number(self) -> int:
        """What the server says next: a pid or a status. Raises ReaderLost."""
        if self._control is None:
            raise ReaderLost("the process that reads indexes is not there")
        said = b""
        while len(said) < NUMBER.size:
            more = b""
            with suppress(ConnectionError):
                more = await asyncio.get_running_loop().sock_recv(self._control, NUMBER.size - len(said))
            if not more:
                await self.close()
                raise ReaderLost("the process that reads indexes ended; it is started anew")
            said += more
        return NUMBER.unpack(said)[0]


class Child:
    """The process that reads one index."""

    def __init__(self, pid: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: Callable[[], Awaitable[int]]) -> None:
        self.pid = pid
        self._reader, self._writer, self._number = reader, writer, number
        self._status: int | None = None

    async def parts(self, request: Request) -> AsyncIterator[Part]:
        """Rows, then the notes, then the end. Raises the file's error, also when the child is killed."""
        known = {name: known.rollup.hex() + (known.piece_rollup or b"").hex() for name, known in request.known.items()}
        self._send(KNOWN, orjson.dumps({"known": known, "early": request.early, "most_versions": request.most_versions}))
        while True:
            part = decoded(*await self._frame())
            yield part
            if isinstance(part, End):
                return

    def answer(self, pieces: Mapping[str, bytes]) -> None:
        """To its question."""
        self._send(PIECES, orjson.dumps({name: data.hex() for name, data in pieces.items()}))

    async def end(self) -> None:
        """Kill it if it lives, and wait until it is gone."""
        if self._status is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)  # it cannot have been reaped: its status was not told
            with suppress(ReaderLost):
                self._status = await self._number()

    async def _frame(self) -> tuple[bytes, bytes]:
        try:
            async with asyncio.timeout(LONGEST_SILENCE):  # of the child alone: what the consumer takes is not its fault
                kind, length = HEADER.unpack(await self._reader.readexactly(HEADER.size))
                return kind, await self._reader.readexactly(length)
        except TimeoutError:
            raise LimitExceeded(f"nothing was read of the index for {LONGEST_SILENCE:.0f} s") from None
        except (asyncio.IncompleteReadError, ConnectionError):
            self._status = await self._number()
            raise death(self._status) from None

    def _send(self, kind: bytes, payload: bytes) -> None:
        self._writer.write(HEADER.pack(kind, len(payload)) + payload)


def _hand_over(control: socket, index: BinaryIO, theirs: socket) -> None:
    try:
        send_fds(control, [b"i"], [index.fileno(), theirs.fileno()])
    except OSError as error:
        raise ReaderLost(f"the process that reads indexes is not there: {error}") from None


def decoded(kind: bytes, payload: bytes) -> Part:
    """A frame's meaning. Raises the error that it tells."""
    if kind in (ROWS, TAIL):
        return Rows(payload, kind == TAIL)
    if kind == NOTES:
        return msgspec.json.decode(payload, type=list[Note])
    if kind == RESTART:
        return Restart()
    if kind == END:
        return msgspec.json.decode(payload, type=End)
    if kind == ASK:
        return Question(msgspec.json.decode(payload, type=list[str]))
    assert kind == FAILURE
    failure = msgspec.json.decode(payload, type=Failure)
    raise ERRORS[failure.reason](failure.message)


def death(status: int) -> CatalogError:
    """What a child's wait status says of its index."""
    code = os.waitstatus_to_exitcode(status)
    if code in (-signal.SIGXCPU, -signal.SIGKILL):
        return LimitExceeded(f"reading the index was ended by {signal.Signals(-code).name} (limit: {MOST_CPU} s of CPU)")
    how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    return SourceMalformed(f"reading the index ended its process ({how})")
