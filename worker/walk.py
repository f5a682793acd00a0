"""An index's bytes → COPY lines of the charts that changed, notes, and what the listing is in all. Pure but for the file it reads.

Two ways with one meaning: the pieces' way (worker.segments), which parses only what is unknown, and the full walk. The first is tried when
there is something known; whatever it does not recognise goes to the second. Every failure of the file becomes a frame.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import BinaryIO

import orjson
import yaml

from catalog.errors import LimitExceeded, SourceError
from catalog.report import MOST_NOTES, Note
from worker.entries import MOST_NAME, ChartLine, Entry, Item, copy_rows, greatest_stamp, newest_first, read_chart, rollup
from worker.frames import END, FAILURE, MOST_MEMORY, NOTES, RESTART, ROWS, TAIL, End, Failure, Piece, Request, packed, unpacked
from worker.index import Entries
from worker.readers import Frame, InStep, gathered, reader_of
from worker.segments import RawChart, Segments, Unrecognised, is_stamp_of, parsed, piece_hash, pieces_in

BATCH = 1 << 20
TOP = {"apiVersion", "entries", "generated", "publicKeys", "annotations", "serverInfo"}


@dataclass(frozen=True, slots=True)
class Talk:
    """The two ways to the parent: a frame out; and a question, asked once and before any row: the stored pieces of some charts."""

    write: Callable[[bytes, bytes], None]
    ask: Callable[[Sequence[str]], Mapping[str, bytes]]


@dataclass(frozen=True, slots=True)
class Surveyed:
    """A chart's place in the file and the hash over its pieces."""

    name: str
    start: int
    end: int
    pieces: int
    rollup: bytes


class RepeatedChart(Exception):
    """The index names a chart twice: it has to be read again, gathering such charts."""


def walk(file: BinaryIO, request: Request, talk: Talk) -> None:
    """Walk an index and write its frames."""
    try:
        _walk(file, request, talk)
    except SourceError as error:
        _fail(talk, "SourceMalformed", str(error))
    except LimitExceeded as error:
        _fail(talk, "LimitExceeded", str(error))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"line {mark.line + 1}: " if mark else ""
        _fail(talk, "SourceMalformed", f"the index is not YAML: {place}{error.problem or error.context}")
    except (yaml.YAMLError, UnicodeError, ValueError) as error:
        _fail(talk, "SourceMalformed", f"the index cannot be read: {str(error).splitlines()[0][:200]}")
    except RecursionError:
        _fail(talk, "LimitExceeded", "the index is nested too deeply")
    except MemoryError:
        _fail(talk, "LimitExceeded", f"reading the index takes more than {MOST_MEMORY // 2**20} MiB of memory")


def _fail(talk: Talk, reason: str, message: str) -> None:
    talk.write(FAILURE, orjson.dumps(Failure(reason, message)))


def _walk(file: BinaryIO, request: Request, talk: Talk) -> None:
    if any(known.piece_rollup for known in request.known.values()):
        try:
            Walk(request, talk).by_pieces(file)
        except Unrecognised:
            talk.write(RESTART, b"")
            file.seek(0)
        else:
            return
    first = Walk(request, talk)
    try:
        first.whole(*reader_of(file))  # with the pieces again: an oddity within an entry that is known by then does no harm next time
    except RepeatedChart:
        talk.write(RESTART, b"")
        file.seek(0)
        second = Walk(request, talk)
        charts, frame, _ = reader_of(file)
        second.remember(first.repeated)
        second.whole(gathered(charts, first.repeated), frame, None)


class Walk:
    """One pass over an index."""

    def __init__(self, request: Request, talk: Talk) -> None:
        self._known, self._early, self._most, self._write, self._ask = (
            request.known, request.early, request.most_versions, talk.write, talk.ask,
        )  # fmt: skip
        self._names: set[str] = set()
        self.repeated: set[str] = set()
        self._rollups: dict[str, bytes] = {}
        self._stamp = ""
        self._out: dict[bytes, bytearray] = {ROWS: bytearray(), TAIL: bytearray()}
        self._notes: list[Note] = []
        self._notes_total = self._versions = 0

    # The full walk

    def whole(self, charts: Entries, frame: Frame, step: InStep | None) -> None:
        """Every entry. Raises RepeatedChart once all names are known."""
        for name, items in charts:
            if name in self._names:
                self.repeated.add(name)
            self._names.add(name)
            if not self.repeated:
                self._whole_chart(name, items, step)
        if self.repeated:
            raise RepeatedChart
        self._finish(frame, fast=False)

    def remember(self, repeated: set[str]) -> None:
        for name in sorted(repeated):
            self._note(Note(name[:MOST_NAME], "", "DuplicateChart", "the index names this chart more than once: its versions are joined"))

    def _whole_chart(self, name: str, items: Iterable[Item], step: InStep | None) -> None:
        if step:
            step.begin()
        lines: list[int] = []
        entries, notes = read_chart(name, _noting_lines(items, lines))
        raw = step.pieces(name, lines) if step else None
        if not name or len(name) > MOST_NAME or "\0" in name:
            said = f"a chart's name must have 1 to {MOST_NAME} characters and no NUL"
            self._note(Note(name[:80].replace("\0", "␀"), "", "OddName", said))
            return
        self._publish(name, entries, notes, raw.hashes if raw and not notes and _are_timed(raw, entries) else None)

    def _publish(self, name: str, entries: list[Entry], notes: list[Note], hashes: list[bytes] | None) -> None:
        """A chart whose every entry was read."""
        for note in notes:
            self._note(note)
        if not entries:
            return
        now, known = rollup(entry.fingerprint for entry in entries), self._known.get(name)
        pieces = [Piece(hashed, e.fingerprint, e.version) for hashed, e in zip(hashes, entries, strict=True)] if hashes else None
        by_pieces = pieces_rollup(hashes) if hashes else None
        self._list(name, now, len(entries), greatest_stamp(entry.created for entry in entries))
        if not known or known.rollup != now:
            self._rows(ChartLine(name, now, True, by_pieces, packed(pieces) if pieces else None), newest_first(entries))
        elif pieces and known.piece_rollup != by_pieces:
            self._rows(ChartLine(name, now, False, by_pieces, packed(pieces)), [])

    # The pieces' way

    def by_pieces(self, file: BinaryIO) -> None:
        """Only what is unknown. Raises Unrecognised."""
        segments = Segments(file.read)
        charts = list(self._surveyed(segments))
        reader = segments.frame()
        changed = [chart for chart in charts if not self._same(chart)]
        if sum(chart.end - chart.start for chart in changed) * 2 > sum(chart.end - chart.start for chart in charts):
            raise Unrecognised("most of it is new: the walk is faster")
        stored = self._ask([chart.name for chart in changed if chart.name in self._known])
        for chart in charts:
            if self._same(chart):
                self._list(chart.name, self._known[chart.name].rollup, chart.pieces, "")
        for chart in changed:
            self._by_pieces(file, chart, unpacked(stored.get(chart.name, b"")))
        self._finish(Frame(reader.top), fast=True)

    def _surveyed(self, segments: Segments) -> Iterator[Surveyed]:
        stamp = b""
        for raw in segments.charts(checked=False):
            if raw.name in self._names:
                raise Unrecognised("a chart's key stands twice")
            self._names.add(raw.name)
            stamp = max(stamp, *raw.stamps)
            yield Surveyed(raw.name, raw.start, raw.end, len(raw.hashes), pieces_rollup(raw.hashes))
        self._stamp = stamp.decode()

    def _same(self, chart: Surveyed) -> bool:
        known = self._known.get(chart.name)
        return known is not None and known.piece_rollup == chart.rollup

    def _by_pieces(self, file: BinaryIO, chart: Surveyed, stored: list[Piece]) -> None:
        """A chart of which some pieces are unknown; all of it is read when anything about it is odd."""
        by_hash = {piece.hash: piece for piece in stored}
        hashes, items = [], []
        for raw in pieces_in(file, chart.start, chart.end):
            hashed, _ = piece_hash(raw)
            piece = by_hash.get(hashed)
            if piece and not piece.kept:
                piece.kept = True
            else:
                hashes.append(hashed)
                items.append(parsed(raw))
        kept = [piece for piece in stored if piece.kept]
        entries, notes = read_chart(chart.name, items)
        if not kept or notes or {entry.version for entry in entries} & {piece.version for piece in kept}:
            self._wholly(file, chart)
            return
        new = [Piece(hashed, entry.fingerprint, entry.version) for hashed, entry in zip(hashes, entries, strict=True)]
        now = rollup(piece.fingerprint for piece in (*kept, *new))
        self._list(chart.name, now, chart.pieces, "")
        gone = sorted({piece.version for piece in stored} - {piece.version for piece in (*kept, *new)})
        known = {piece.fingerprint for piece in stored}
        written = [entry for entry in newest_first(entries) if entry.fingerprint not in known]
        self._rows(ChartLine(chart.name, now, False, chart.rollup, packed([*kept, *new]), gone), written)

    def _wholly(self, file: BinaryIO, chart: Surveyed) -> None:
        hashes: list[bytes] = []
        entries, notes = read_chart(chart.name, _parsed(pieces_in(file, chart.start, chart.end), hashes))
        self._publish(chart.name, entries, notes, None if notes else hashes)

    # Both

    def _list(self, name: str, now: bytes, versions: int, stamp: str) -> None:
        self._rollups[name] = now
        self._versions += versions
        self._stamp = max(self._stamp, stamp)
        if self._versions > self._most:
            raise LimitExceeded(f"the index lists more than {self._most:,} versions")

    def _rows(self, line: ChartLine, entries: Sequence[Entry]) -> None:
        self._out[ROWS] += line.copied()
        for place, row in enumerate(copy_rows(line.name, entries)):  # one by one: a chart may have as many as the index
            self._out[TAIL if self._early and place else ROWS] += row
            self._flush(BATCH)

    def _note(self, note: Note) -> None:
        self._notes_total += 1
        if len(self._notes) < MOST_NOTES:
            self._notes.append(note)

    def _flush(self, least: int) -> None:
        for kind, rows in self._out.items():
            if len(rows) > least:
                self._write(kind, bytes(rows))
                rows.clear()

    def _finish(self, frame: Frame, *, fast: bool) -> None:
        for field in sorted(frame.fields.keys() - TOP):
            self._note(Note("", "", "UnknownField", f"{field[:80]!r} is no field of an index"))
        for field in sorted(set(frame.repeated)):
            self._note(Note("", "", "DuplicateKey", f"{field[:80]!r} stands more than once in the index"))
        self._flush(0)
        self._write(NOTES, orjson.dumps(self._notes))
        gone = sorted(self._known.keys() - self._rollups.keys())
        content = blake2b(digest_size=16)
        for name in sorted(self._rollups):
            content.update(name.encode() + b"\0" + self._rollups[name])
        generated = greatest_stamp([str(frame.fields.get("generated"))])
        end = End(len(self._rollups), self._versions, gone, self._notes_total, content.hexdigest(), generated, self._stamp, fast)
        self._write(END, orjson.dumps(end))


def pieces_rollup(hashes: Iterable[bytes]) -> bytes:
    """16 bytes over a chart's pieces, in whatever order they stand."""
    return blake2b(b"".join(sorted(hashes)), digest_size=16).digest()


def _are_timed(raw: RawChart, entries: Sequence[Entry]) -> bool:
    return all(is_stamp_of(stamp, entry.created) for stamp, entry in zip(raw.stamps, entries, strict=True))


def _noting_lines(items: Iterable[Item], lines: list[int]) -> Iterator[Item]:
    for item in items:
        lines.append(item.line)
        yield item


def _parsed(pieces: Iterable[bytes], hashes: list[bytes]) -> Iterator[Item]:
    for piece in pieces:
        hashes.append(piece_hash(piece)[0])
        yield parsed(piece)
