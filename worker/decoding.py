"""Undoing a Content-Encoding piece by piece, in bounded memory: a small body cannot become a large value. Pure.

The HTTP library's own decoders take a body that ends early for a whole one, and zstd windows of 128 MiB.
"""

import zlib
from collections.abc import Iterator
from functools import partial
from typing import Protocol

ENCODINGS = "zstd, gzip"
PIECE = 1 << 20  # bytes of a decoded piece
# "Decoders … MUST support Window_Size up to and including 8 MB", and none larger may be sent (RFC 9659, 3)
WINDOW_LOG = 23


class Broken(Exception):
    """A body that is not what its Content-Encoding says."""


class Decoder(Protocol):
    """Bytes as received → bytes as meant."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Raises Broken."""
        ...

    def check_end(self) -> None:
        """Raises Broken when the body ends too early."""
        ...


class Identity:
    def feed(self, data: bytes) -> Iterator[bytes]:
        yield data

    def check_end(self) -> None: ...


class Gzip:
    """One or several members (RFC 1952, 2.2)."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(zlib.MAX_WBITS | 16)
        self._fed = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        self._fed = True
        try:
            while data:
                if self._member.eof:
                    self._member = zlib.decompressobj(zlib.MAX_WBITS | 16)
                while piece := self._member.decompress(data, PIECE):
                    yield piece
                    data = self._member.unconsumed_tail
                    if self._member.eof:
                        break
                data = self._member.unused_data
        except zlib.error as error:
            raise Broken(str(error)) from None

    def check_end(self) -> None:
        if self._fed and not self._member.eof:
            raise Broken("it ends early")


class Zstd:
    """One or several frames (RFC 8878, 3)."""

    def __init__(self) -> None:
        try:
            from compression import zstd  # pyright: ignore[reportMissingImports]  # noqa: PLC0415 - Python 3.14 and newer
        except ImportError:
            from backports import zstd  # noqa: PLC0415
        self._error: type[Exception] = zstd.ZstdError
        self._new = partial(zstd.ZstdDecompressor, options={zstd.DecompressionParameter.window_log_max: WINDOW_LOG})
        self._frame = self._new()
        self._fed = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        self._fed = True
        try:
            while data:
                if self._frame.eof:
                    self._frame = self._new()
                while piece := self._frame.decompress(data, PIECE):
                    yield piece
                    data = b""
                    if self._frame.eof or self._frame.needs_input:
                        break
                data = self._frame.unused_data if self._frame.eof else b""
        except self._error as error:
            raise Broken(str(error)) from None

    def check_end(self) -> None:
        if self._fed and not self._frame.eof:
            raise Broken("it ends early")


DECODERS: dict[str, type[Decoder]] = {"": Identity, "identity": Identity, "gzip": Gzip, "x-gzip": Gzip, "zstd": Zstd}


def decoder(encoding: str) -> Decoder:
    """The decoder for a Content-Encoding. Raises Broken for one that was not asked for."""
    found = DECODERS.get(encoding.strip().lower())
    if found is None:
        raise Broken(f"Content-Encoding {encoding[:40]!r} was not asked for")
    return found()
