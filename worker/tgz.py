"""A .tgz in memory → its members, one after the other. Pure; what is inflated is counted as it comes and kept only if read.

The formats that Helm's Go reads: POSIX ustar with pax headers and GNU's long names, in one or several gzip members with any header fields
(Helm writes an extra one). gzip's checksum is verified to the end.
"""

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from catalog.errors import LimitExceeded, SourceMalformed

MOST_UNPACKED = 100 * 1024 * 1024
MOST_RATIO, HARMLESS = 200, 10 * 1024 * 1024  # unpacked to packed, beyond so many unpacked bytes; deflate reaches 1,030
MOST_MEMBERS = 20_000  # headers of the tar, and likewise of gzip
MOST_NAME = 64 * 1024
BLOCK = 512
PACKED_PIECE, PIECE = 64 * 1024, 256 * 1024
PAX_RECORD = re.compile(rb"(\d{1,6}) ([^=]{1,255})=")
OCTAL = re.compile(rb"[ \0]*([0-7]*)(?:[ \0].*)?", re.DOTALL)

REGULAR = b"\0", b"0", b"7"
WITHOUT_DATA = b"1", b"2", b"3", b"4", b"5", b"6"  # links, devices, directories, pipes; whatever size their header claims


class Unpacked:
    """The unpacked bytes, inflated as they are asked for. `place` is how many were passed."""

    def __init__(self, packed: bytes) -> None:
        self._packed, self._next, self._members = packed, 0, 1
        self._inflate = zlib.decompressobj(31)
        self._most = self._left = min(MOST_UNPACKED, max(HARMLESS, MOST_RATIO * len(packed)))
        self._piece, self._at, self.place = b"", 0, 0

    def read(self, size: int) -> bytes:
        """The next `size` bytes, fewer only at the end. Raises SourceMalformed or LimitExceeded."""
        if self._at + size > len(self._piece):
            pieces = [self._piece[self._at :]]
            missing = size - len(pieces[0])
            while missing > 0 and (piece := self._more()):
                pieces.append(piece)
                missing -= len(piece)
            self._piece, self._at = b"".join(pieces), 0
        data = self._piece[self._at : self._at + size]
        self._at += len(data)
        self.place += len(data)
        return data

    def skip(self, size: int) -> None:
        """Pass over `size` bytes, or over what is left."""
        self.place += size
        self._at += size
        while self._at > len(self._piece):
            self._at -= len(self._piece)
            self._piece = self._more()
            if not self._piece:
                self._at = 0
                break

    def end(self) -> None:
        """Inflate the rest, which verifies gzip's checksum."""
        while self._more():
            pass

    def _more(self) -> bytes:
        while not self._inflate.eof or self._begin_member():
            packed = self._packed[self._next : self._next + PACKED_PIECE]
            try:
                piece = self._inflate.decompress(packed, PIECE)
            except zlib.error as error:
                raise SourceMalformed(f"not gzip, or damaged, after {self.place:,} unpacked bytes: {error}") from None
            self._next += len(packed) - len(self._inflate.unconsumed_tail) - len(self._inflate.unused_data)
            self._left -= len(piece)
            if self._left < 0:
                raise LimitExceeded(f"{len(self._packed):,} bytes unpack to more than {self._most:,}")
            if piece:
                return piece
            if not packed and not self._inflate.eof:
                raise SourceMalformed(f"it ends early: {len(self._packed):,} bytes came, and gzip's end is not among them")
        return b""

    def _begin_member(self) -> bool:
        """Whether another gzip member follows; anything else after the first is passed over, as gunzip does."""
        if self._packed[self._next : self._next + 2] != b"\x1f\x8b":
            return False
        self._members += 1
        if self._members > MOST_MEMBERS:
            raise LimitExceeded(f"more than {MOST_MEMBERS:,} gzip members")
        self._inflate = zlib.decompressobj(31)
        return True


@dataclass(frozen=True, slots=True)
class Member:
    """A regular file; its content is there to be read until the next member is asked for."""

    path: str
    size: int
    _unpacked: Unpacked

    def read(self) -> bytes:
        """The content, once. Raises SourceMalformed when the archive ends within it."""
        data = self._unpacked.read(self.size)
        if len(data) < self.size:
            raise SourceMalformed(f"the archive ends within {self.path[:100]!r}")
        return data


def regular_files(packed: bytes) -> Iterator[Member]:
    """The regular files in their order. Raises SourceMalformed or LimitExceeded at the place where it goes wrong."""
    unpacked, names = Unpacked(packed), _Names()
    for _ in range(MOST_MEMBERS):
        start = unpacked.place + BLOCK
        block = unpacked.read(BLOCK)
        if not block.strip(b"\0"):  # the end is a block of zeros, or nothing more
            break
        kind, size = _header(block, start - BLOCK)
        if kind in (b"L", b"x", b"X"):
            names.note(kind, _name_data(unpacked, size))
        else:
            path, size = names.of(block, 0 if kind in WITHOUT_DATA else size)
            if kind in REGULAR and not path.endswith("/"):
                yield Member(path, size, unpacked)
        unpacked.skip(start + size + -size % BLOCK - unpacked.place)
    else:
        raise LimitExceeded(f"the archive has more than {MOST_MEMBERS:,} members")
    names.check_used()
    unpacked.end()


class _Names:
    """What GNU and pax headers say of the member after them."""

    def __init__(self) -> None:
        self._name: bytes | None = None
        self._size: int | None = None

    def note(self, kind: bytes, data: bytes) -> None:
        if kind == b"L":
            self._name = data.split(b"\0", 1)[0]
            return
        records = _pax_records(data)
        self._name = records.get(b"path", self._name)
        if size := records.get(b"size"):
            self._size = _checked_size(int(size) if size.isdigit() and len(size) < 20 else -1)

    def of(self, block: bytes, size: int) -> tuple[str, int]:
        name, longer = self._name, self._size
        self._name = self._size = None
        return (_own_name(block) if name is None else name).decode(errors="replace"), size if longer is None else longer

    def check_used(self) -> None:
        if self._name is not None:
            raise SourceMalformed("the archive ends after a long name, without its member")


def _header(block: bytes, place: int) -> tuple[bytes, int]:
    """A header's type and size. Raises SourceMalformed."""
    where = f"not a tar header at unpacked byte {place:,}"
    if len(block) < BLOCK:
        raise SourceMalformed(f"{where}: the archive ends there")
    total, said = sum(block) - sum(block[148:156]) + 256, _number(block[148:156])
    if said != total and said != total - 256 * sum(byte > 127 for byte in block[:148] + block[156:]):  # some sum signed bytes
        raise SourceMalformed(f"{where}: its checksum is wrong")
    kind, size = block[156:157], _number(block[124:136])
    if kind == b"S":
        raise SourceMalformed(f"{where}: a sparse file")
    return kind, _checked_size(-1 if size is None else size)


def _checked_size(size: int) -> int:
    if size < 0:
        raise SourceMalformed("a member of the archive has a size that is no number")
    if size > MOST_UNPACKED:
        raise LimitExceeded(f"a member of the archive claims {size:,} bytes")
    return size


def _number(field: bytes) -> int | None:
    """Octal digits, or GNU's base 256 marked by the first bit; None for neither, and below zero."""
    if field[0] & 0x80:
        return None if field[0] & 0x40 else int.from_bytes(field, "big") - (0x80 << 8 * (len(field) - 1))
    match = OCTAL.fullmatch(field)
    return int(match[1] or b"0", 8) if match else None


def _own_name(block: bytes) -> bytes:
    name, prefix = block[:100].split(b"\0", 1)[0], block[345:500].split(b"\0", 1)[0]
    return prefix + b"/" + name if prefix and block[257:263] == b"ustar\0" else name


def _name_data(unpacked: Unpacked, size: int) -> bytes:
    if size > MOST_NAME:
        raise LimitExceeded(f"a member's name or attributes of {size:,} bytes, more than {MOST_NAME:,}")
    return unpacked.read(size)


def _pax_records(data: bytes) -> dict[bytes, bytes]:
    """`LENGTH KEY=VALUE\\n`, the length being the whole record's (POSIX pax)."""
    records: dict[bytes, bytes] = {}
    at = 0
    while at < len(data) and data[at]:
        match = PAX_RECORD.match(data, at)
        end = at + int(match[1]) if match else 0
        if not match or not match.end() < end <= len(data):
            raise SourceMalformed("the archive has a pax header that cannot be read")
        records[match[2]] = data[match.end() : end - 1]
        at = end
    return records
