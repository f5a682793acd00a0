"""What the walk's child and its parent say to each other, in frames of a kind, a length and a payload; and the child's limits."""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

HEADER = struct.Struct(">cI")
NUMBER = struct.Struct(">i")  # a pid or a wait status, from the fork server
MOST_MEMORY = 768 * 1024 * 1024  # bytes of address space of the child
MOST_CPU = 120  # seconds of it

# From the child
ASK, ROWS, TAIL, NOTES, RESTART, END, FAILURE = b"A", b"R", b"T", b"N", b"X", b"E", b"F"
# To the child
KNOWN, PIECES = b"K", b"P"


@dataclass(frozen=True, slots=True)
class End:
    """What the walk saw in all.

    `gone`: known charts that are no longer listed. `content`: hash over the listed charts' contents, hexadecimal. `generated` and
    `newest_created`: RFC 3339 as written, "" if there is none. `fast`: the pieces' way was taken.
    """

    charts: int
    versions: int
    gone: list[str]
    notes_total: int
    content: str = ""
    generated: str = ""
    newest_created: str = ""
    fast: bool = False


@dataclass(frozen=True, slots=True)
class Failure:
    """Why the file is no index; `reason` is the name of an error of ours."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Known:
    """What is stored of a listed chart: the hash over its versions and, if the fast path may look at it, over its pieces."""

    rollup: bytes
    piece_rollup: bytes | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """What the parent knows and wants. `early`: newest versions in frames of their own, before the tail."""

    known: Mapping[str, Known]
    early: bool = False
    most_versions: int = 1_000_000


@dataclass(slots=True)
class Piece:
    """An entry as the fast path knows it: hash of its bytes, fingerprint of its content, its version."""

    hash: bytes
    fingerprint: bytes
    version: str
    kept: bool = field(default=False, compare=False)


def packed(pieces: Sequence[Piece]) -> bytes:
    """Pieces as one value: 16 and 16 bytes, the version's length in a byte, the version."""
    return b"".join(p.hash + p.fingerprint + bytes([len(p.version.encode())]) + p.version.encode() for p in pieces)


def unpacked(data: bytes) -> list[Piece]:
    """The pieces of `packed`."""
    found: list[Piece] = []
    place = 0
    while place < len(data):
        size = data[place + 32]
        found.append(Piece(data[place : place + 16], data[place + 16 : place + 32], data[place + 33 : place + 33 + size].decode()))
        place += 33 + size
    return found
