"""Helm's version order (Masterminds semver, lenient) as bytes, so that PostgreSQL's ORDER BY is Helm's.

A number is its length in bytes and its big-endian value, so longer is larger. A release ends in 0xff, above every pre-release; a
pre-release's fields are 0x01 + number or 0x02 + text + 0x00, closed by 0x00, so that fewer fields come first. Build metadata does not
count: such versions have equal keys, and their text breaks the tie.
"""

import re

_LOOSE = re.compile(
    r"v?(\d+)(?:\.(\d+))?(?:\.(\d+))?"
    r"(?:-([0-9A-Za-z\-]+(?:\.[0-9A-Za-z\-]+)*))?"
    r"(?:\+[0-9A-Za-z\-]+(?:\.[0-9A-Za-z\-]+)*)?",
    re.ASCII,
)


def order_key(version: str) -> bytes:
    """The key of a version; larger is newer. Raises ValueError where Helm refuses the version."""
    match = _LOOSE.fullmatch(version)
    if match is None:
        raise ValueError(f"{version[:80]!r} is not a semantic version")
    major, minor, patch, prerelease = match.groups()
    key = b"".join(_number(int(part or 0), version) for part in (major, minor, patch))
    if prerelease is None:
        return key + b"\xff"
    return key + b"".join(_field(part, version) for part in prerelease.split(".")) + b"\0"


def _number(value: int, version: str) -> bytes:
    if value >= 2**64:
        raise ValueError(f"{version[:80]!r} has a number over 64 bits")
    length = (value.bit_length() + 7) >> 3
    return bytes([length]) + value.to_bytes(length, "big")


def _field(text: str, version: str) -> bytes:
    if not text.isdigit():
        return b"\2" + text.encode() + b"\0"
    if len(text) > 1 and text.startswith("0"):
        raise ValueError(f"{version[:80]!r} has a numeric pre-release part with a leading zero")
    if len(text) > 20 or int(text) >= 2**64:  # Masterminds compares what does not fit as text
        return b"\2" + text.encode() + b"\0"
    return b"\1" + _number(int(text), version)
