"""The reader that fits a file, and the file's raw pieces beside it."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

from catalog.errors import SourceMalformed
from worker.entries import Item
from worker.index import Entries, YamlReader
from worker.segments import RawChart, Segments, Unrecognised

MOST_JSON = 64 * 1024 * 1024  # bytes


@dataclass(frozen=True, slots=True)
class Frame:
    """What an index has beside its entries; filled while they are read."""

    fields: Mapping[str, Any]
    repeated: Sequence[str] = ()


class InStep:
    """The raw pieces of a file beside its walk, as long as both see the same charts, with entries that begin on the same lines."""

    def __init__(self, segments: Segments, reader: YamlReader) -> None:
        self._reader = reader
        self._charts: Iterator[RawChart] | None = segments.charts(checked=True)

    def begin(self) -> None:
        self._reader.plain = True

    def pieces(self, name: str, lines: list[int]) -> RawChart | None:
        """The pieces of the chart that the walk has just read, if they stand for its entries."""
        try:
            chart = next(self._charts, None) if self._charts else None
        except Unrecognised:
            chart = None
        if chart is None or (chart.name, chart.lines) != (name, lines):
            self._charts = None
            return None
        return chart if chart.plain and self._reader.plain else None


def reader_of(file: BinaryIO) -> tuple[Entries, Frame, InStep | None]:
    """The reader that fits: JSON by its first byte, if it is JSON; else YAML, with the file's pieces in step."""
    head = file.read(512).lstrip(b"\xef\xbb\xbf \t\r\n")
    file.seek(0)
    if not head:
        raise SourceMalformed("the index is empty")
    if head.startswith(b"<"):
        raise SourceMalformed("an HTML or XML page came instead of an index: is this the repository's URL, or a login page?")
    if head.startswith(b"{") and os.fstat(file.fileno()).st_size <= MOST_JSON:
        from worker.index_json import json_charts, json_index  # noqa: PLC0415 - its imports are not a YAML index's

        if index := json_index(file):  # else a flow mapping of YAML, which may begin like JSON
            return json_charts(index), Frame({"generated": index.generated}), None
    reader = YamlReader(file)
    return reader.charts(), Frame(reader.top, reader.repeated), InStep(Segments(_from_the_start(file.fileno())), reader)


def _from_the_start(descriptor: int) -> Callable[[int], bytes]:
    """A `read` with a place of its own in an open file."""
    place = 0

    def read(size: int) -> bytes:
        nonlocal place
        data = os.pread(descriptor, size, place)
        place += len(data)
        return data

    return read


def gathered(charts: Entries, repeated: set[str]) -> Entries:
    """The same charts, those of `repeated` joined to one each, at the end."""
    parts: dict[str, list[Item]] = {}
    for name, versions in charts:
        if name in repeated:
            parts.setdefault(name, []).extend(versions)
        else:
            yield name, versions
    yield from parts.items()
