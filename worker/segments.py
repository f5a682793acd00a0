"""The fast path in front of the walk: an index's raw bytes, cut where Helm itself begins an entry, known or unknown by their hash.

A piece is what stands between two cuts. Pieces whose hash is known need no parsing; an unknown one is parsed alone, and *proves* itself:
followed by a stand-in it must parse to exactly one mapping and the stand-in, so that neither a quote nor a block runs out of it. The frame
(what stands before the first piece and after the last) is parsed every time. Whatever is not of this layout raises Unrecognised, and the
whole file goes to the walk. Looser rules were wrong under fuzzing; the test that compares both readers is the judge of any change here.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, BinaryIO

import yaml

from catalog.errors import CatalogError
from worker.entries import Item
from worker.index import YamlReader

MARK = b"\n  - "
BLOCK = 1 << 17
LONGEST_PIECE = 4 * 1024 * 1024
KEY = re.compile(rb"  ([A-Za-z0-9][A-Za-z0-9._-]*):").fullmatch
# Key, place and quoting of `created` are part of a piece; the time itself is not, for it is stamped anew where nothing else changes.
CREATED = re.compile(rb'(?:\A|(?<=\n    ))created: (["\']?)(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d))\1(?=\n|\Z)').search
# Characters that YAML treats as breaks or blanks where these cuts do not; and text further left than an entry's own.
ODD_TEXT = (b"\t", b"\r", b"\0", b"\xef\xbb\xbf", b"\xc2\x85", b"\xe2\x80\xa8", b"\xe2\x80\xa9")
ODD_COLUMN = re.compile(rb"\n {0,2}[^ \n]").search
STAND_IN = "zzend"


class Unrecognised(Exception):
    """Not of the layout that Helm writes; no judgement on the index."""


@dataclass(slots=True)
class RawChart:
    """A chart's pieces in the file: bytes `start` to `end`, each one's hash, the line it begins on, and the time cut out of it."""

    name: str
    start: int
    end: int
    hashes: list[bytes]
    lines: list[int]
    stamps: list[bytes]
    plain: bool


class Segments:
    """One pass over an index, given as the `read` of a file. `head` and `tail` are known when it is over."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        self._suspect = False
        self.head = self.tail = b""

    def charts(self, *, checked: bool) -> Iterator[RawChart]:
        """Each chart as its pieces end; `checked`: `plain` says whether all of them are free of odd text. Raises Unrecognised."""
        pieces = self._pieces()
        start, self.head, _ = next(pieces)
        chart, line = RawChart(_name(self.head[self.head.rfind(b"\n") + 1 :]), start, start, [], [], [], True), self.head.count(b"\n")
        piece = b""
        for end, piece, key in pieces:
            line += 1
            hashed, stamp = piece_hash(piece)
            chart.hashes.append(hashed)
            chart.lines.append(line)
            chart.stamps.append(stamp)
            chart.end = end
            if self._suspect and checked and is_odd(piece):
                chart.plain = False
            line += piece.count(b"\n")
            if key:
                chart.plain = chart.plain and ends_plainly(piece)
                yield chart
                line += 1
                start = end + 1 + len(key)
                chart = RawChart(_name(key), start, start, [], [], [], True)
        chart.plain = chart.plain and ends_plainly(piece)
        yield chart

    def frame(self) -> YamlReader:
        """The head and the tail around one stand-in entry, read. Raises Unrecognised."""
        reader = YamlReader(self.head + MARK + b"zz: zz" + self.tail)
        name = _name(self.head[self.head.rfind(b"\n") + 1 :])
        if _read(reader) != [(name, [{"zz": "zz"}])] or not reader.plain or reader.repeated:
            raise Unrecognised("the frame")
        return reader

    def _pieces(self) -> Iterator[tuple[int, bytes, bytes]]:
        """(offset of its end, text, the next chart's key line if it is the chart's last); first the head."""
        place, pending = 0, self._cut()
        text = next(pending)
        place += len(text)
        yield place, text, b""
        text = next(pending, None)
        if text is None:
            raise Unrecognised("no entries")
        for following in pending:
            place += len(MARK)
            key = text.rfind(b"\n")
            if text[key + 3 : key + 4] == b" " or key < 0:
                yield place + len(text), text, b""
            else:
                yield place + key, text[:key], text[key + 1 :]
            place += len(text)
            text = following
        self.tail = _tail(text)
        body = text[: len(text) - len(self.tail)]
        yield place + len(MARK) + len(body), body, b""

    def _cut(self) -> Iterator[bytes]:
        rest = b""
        while block := self._read(BLOCK):
            text = rest + block
            self._suspect = self._suspect or is_odd(text)  # from here on: the piece in hand is of an earlier block
            *parts, rest = text.split(MARK)
            yield from parts
            if len(rest) > LONGEST_PIECE:
                raise Unrecognised("a piece of more than 4 MiB")
        yield rest


def pieces_in(file: BinaryIO, start: int, end: int) -> Iterator[bytes]:
    """A chart's pieces again, from its bytes in the file."""
    file.seek(start)
    rest, left = b"", end - start
    first = True
    while left > 0 and (block := file.read(min(BLOCK, left))):
        left -= len(block)
        *parts, rest = (rest + block).split(MARK)
        for part in parts:
            if not first:
                yield part
            first = False
    yield rest


def piece_hash(piece: bytes) -> tuple[bytes, bytes]:
    """16 bytes over a piece without the time of its one `created`, and that time, b"" if it is not that clear."""
    if (found := CREATED(piece)) and piece.count(b"created:") == 1:
        return blake2b(piece[: found.start(2)] + piece[found.end(2) :], digest_size=16).digest(), found[2]
    return blake2b(piece, digest_size=16).digest(), b""


def ends_plainly(piece: bytes) -> bool:
    """Whether a chart's last piece holds nothing further left: the key of a chart without a list of this layout would be hidden in it."""
    return ODD_COLUMN(piece) is None


def is_stamp_of(stamp: bytes, created: object) -> bool:
    """Whether the time that was cut out of a piece is that of its entry, not one that stands in a text of several lines."""
    return not stamp or stamp.decode() == created


def is_odd(text: bytes) -> bool:
    """Whether there are characters that YAML may see otherwise than these cuts."""
    return any(odd in text for odd in ODD_TEXT)


def parsed(piece: bytes) -> Item:
    """The entry of a piece, which has proven that it ends where it was cut. Raises Unrecognised."""
    if is_odd(piece) or ODD_COLUMN(piece):
        raise Unrecognised("odd text")
    reader = YamlReader(b"entries:\n  x:" + MARK + piece + MARK + STAND_IN.encode() + b"\n")
    match _read(reader):
        case [("x", [dict() as value, "zzend"])] if reader.plain and is_stamp_of(piece_hash(piece)[1], value.get("created")):
            return Item(value, repeated=tuple(reader.repeated))
        case _:
            raise Unrecognised("a piece that does not stand alone")


def _read(reader: YamlReader) -> list[tuple[str, list[Any]]]:
    """A small index, whole; `reader.repeated` keeps the keys that stand twice anywhere."""
    repeated: list[str] = []
    try:
        found = [(name, [_noting(item, repeated) for item in items]) for name, items in reader.charts()]
    except (CatalogError, yaml.YAMLError, UnicodeError, ValueError, RecursionError) as error:
        raise Unrecognised(str(error)) from None
    reader.repeated.extend(repeated)
    return found


def _noting(item: Item, repeated: list[str]) -> Any:
    repeated.extend(item.repeated)
    return item.value


def _name(key: bytes) -> str:
    found = KEY(key)
    if not found:
        raise Unrecognised("a chart's key")
    return found[1].decode()


def _tail(text: bytes) -> bytes:
    """What follows the last piece: from its first line at the left margin on, or the last line's end. Raises Unrecognised."""
    margin = re.search(rb"\n(?=[^ \n])", text)
    if margin:
        return text[margin.start() :]
    if not text.endswith(b"\n"):  # the same block of text would be another one before a break
        raise Unrecognised("a last line without an end")
    return b"\n"
