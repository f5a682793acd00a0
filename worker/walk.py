"""The walk: an index's bytes → COPY rows of the charts that changed, in a process of its own that may die.

python -m worker.walk KNOWN_FD < INDEX > FRAMES

Hostile input meets limits of CPU seconds and address space besides those of the readers; whatever kills this process is told by its parent
as an error of that index, and nothing else notices. Frames go to standard output: a kind, a length, a payload (COPY
lines, or JSON).
"""

import gc
import os
import resource
import struct
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

import orjson
import yaml

from catalog.errors import LimitExceeded, SourceError, SourceMalformed
from catalog.report import MOST_NOTES, Note
from worker.entries import MOST_NAME, copy_rows, read_chart, rollup
from worker.index import Entries, YamlReader

MOST_MEMORY = 768 * 1024 * 1024
MOST_CPU = 120  # seconds
MOST_JSON = 64 * 1024 * 1024  # bytes
BATCH = 1 << 20

# Frames
ROWS, NOTES, RESTART, END, FAILURE = b"R", b"N", b"X", b"E", b"F"
HEADER = struct.Struct(">cI")


@dataclass(frozen=True, slots=True)
class End:
    """What the walk saw in all: `gone` are known charts that are no longer listed."""

    charts: int
    versions: int
    gone: list[str]
    notes_total: int


@dataclass(frozen=True, slots=True)
class Failure:
    """Why the file is no index; `reason` is the name of an error of ours."""

    reason: str
    message: str


class RepeatedChart(Exception):
    """The index names a chart twice: it has to be read again, gathering such charts."""


def charts_of(file: BinaryIO) -> Entries:
    """The reader that fits: JSON by its first byte, if it is JSON; else YAML."""
    head = file.read(512).lstrip(b"\xef\xbb\xbf \t\r\n")
    file.seek(0)
    if not head:
        raise SourceMalformed("the index is empty")
    if head.startswith(b"<"):
        raise SourceMalformed("an HTML or XML page came instead of an index: is this the repository's URL, or a login page?")
    if head.startswith(b"{") and os.fstat(file.fileno()).st_size <= MOST_JSON:
        from worker.index_json import json_charts, json_index  # noqa: PLC0415 - its imports are not a YAML index's

        if index := json_index(file):  # else a flow mapping of YAML, which may begin like JSON
            yield from json_charts(index)
            return
    yield from YamlReader(file).charts()


def gathered(charts: Entries, repeated: set[str]) -> Entries:
    """The same charts, those of `repeated` joined to one each, at the end."""
    parts: dict[str, list[Any]] = {}
    for name, versions in charts:
        if name in repeated:
            parts.setdefault(name, []).extend(versions)
        else:
            yield name, versions
    yield from parts.items()


class Walk:
    """One pass over an index, writing frames."""

    def __init__(self, known: Mapping[str, bytes], write: Callable[[bytes, bytes], None]) -> None:
        self._known, self._write = known, write
        self._listed: set[str] = set()
        self.repeated: set[str] = set()
        self._rows = bytearray()
        self._notes: list[Note] = []
        self._notes_total = self._versions = self._charts = 0

    def run(self, charts: Entries) -> None:
        """Write the rows of what changed, then the notes and the end. Raises RepeatedChart once all names are known."""
        for name, raw in charts:
            if name in self._listed:
                self.repeated.add(name)
                self._note(
                    Note(name[:MOST_NAME], "", "DuplicateChart", "the index names this chart more than once: its versions were joined")
                )
            self._listed.add(name)
            if not self.repeated:
                self._chart(name, raw)
        if self.repeated:
            raise RepeatedChart
        self._flush()
        self._write(NOTES, orjson.dumps(self._notes))
        gone = sorted(self._known.keys() - self._listed)
        self._write(END, orjson.dumps(End(self._charts, self._versions, gone, self._notes_total)))

    def remember(self, repeated: set[str]) -> None:
        for name in sorted(repeated):
            self._note(Note(name[:MOST_NAME], "", "DuplicateChart", "the index names this chart more than once: its versions are joined"))

    def _chart(self, name: str, raw: Iterable[Any]) -> None:
        if not name or len(name) > MOST_NAME or "\0" in name:
            self._note(
                Note(name[:80].replace("\0", "␀"), "", "OddName", f"a chart's name must have 1 to {MOST_NAME} characters and no NUL")
            )
            self._listed.discard(name)
            return
        entries, notes = read_chart(name, raw)
        for note in notes:
            self._note(note)
        if not entries:
            self._listed.discard(name)
            return
        self._charts += 1
        self._versions += len(entries)
        now = rollup(entries)
        if self._known.get(name) != now:
            self._rows += copy_rows(name, now, entries)
            if len(self._rows) > BATCH:
                self._flush()

    def _note(self, note: Note) -> None:
        self._notes_total += 1
        if len(self._notes) < MOST_NOTES:
            self._notes.append(note)

    def _flush(self) -> None:
        if self._rows:
            self._write(ROWS, bytes(self._rows))
            self._rows.clear()


def walk(file: BinaryIO, known: Mapping[str, bytes], write: Callable[[bytes, bytes], None]) -> None:
    """Walk an index, again if it names a chart twice. Every failure of the file becomes a frame."""
    try:
        first = Walk(known, write)
        try:
            first.run(charts_of(file))
        except RepeatedChart:
            write(RESTART, b"")
            file.seek(0)
            second = Walk(known, write)
            second.remember(first.repeated)
            second.run(gathered(charts_of(file), first.repeated))
    except SourceError as error:
        _fail(write, "SourceMalformed", str(error))
    except LimitExceeded as error:
        _fail(write, "LimitExceeded", str(error))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"line {mark.line + 1}: " if mark else ""
        _fail(write, "SourceMalformed", f"the index is not YAML: {place}{error.problem or error.context}")
    except (yaml.YAMLError, UnicodeError, ValueError) as error:
        _fail(write, "SourceMalformed", f"the index cannot be read: {str(error).splitlines()[0][:200]}")
    except RecursionError:
        _fail(write, "LimitExceeded", "the index is nested too deeply")
    except MemoryError:
        _fail(write, "LimitExceeded", f"reading the index takes more than {MOST_MEMORY // 2**20} MiB of memory")


def _fail(write: Callable[[bytes, bytes], None], reason: str, message: str) -> None:
    write(FAILURE, orjson.dumps(Failure(reason, message)))


def main() -> None:
    """The process: limits first, then the walk."""
    gc.disable()  # what is read is trees, freed by reference counts
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (MOST_CPU, MOST_CPU))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with os.fdopen(int(sys.argv[1]), "rb") as handed:
        known = {name: bytes.fromhex(text) for name, text in orjson.loads(handed.read()).items()}
    output = sys.stdout.buffer

    def write(kind: bytes, payload: bytes) -> None:
        output.write(HEADER.pack(kind, len(payload)))
        output.write(payload)
        output.flush()

    with os.fdopen(0, "rb", buffering=1 << 18) as file:
        walk(file, known, write)
    os._exit(0)  # the system frees faster than the interpreter's shutdown


if __name__ == "__main__":
    main()
