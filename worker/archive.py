"""A chart's archive (.tgz) → its README, values and schema. Pure, in memory, bounded; nothing is ever extracted to disk."""

import gzip
import io
import tarfile
import zlib
from collections.abc import Iterator

from catalog.errors import LimitExceeded, SourceMalformed

MOST_PACKED = 20 * 1024 * 1024
MOST_UNPACKED = 100 * 1024 * 1024
MOST_FILE = 5 * 1024 * 1024  # Helm's own limit
MOST_MEMBERS = 20_000
WANTED = {name.lower(): name for name in ("README.md", "values.yaml", "values.schema.json")}
BOM = b"\xef\xbb\xbf"


class Bounded(io.RawIOBase):
    """A stream of which no more than `most` bytes can be read."""

    def __init__(self, stream: io.BufferedIOBase, most: int) -> None:
        self._stream, self._left, self._most, self._idle = stream, most, most, 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(min(size, self._left + 1) if size >= 0 else self._left + 1)
        self._left -= len(data)
        if self._left < 0:
            raise LimitExceeded(f"the archive unpacks to more than {self._most:,} bytes")
        self._idle = 0 if data else self._idle + 1
        if self._idle > 8:  # tarfile would skip past the end for ever
            raise EOFError("it ends early")
        return data


def read_chart_files(data: bytes) -> dict[str, bytes]:
    """README.md, values.yaml and values.schema.json of a chart, as far as it has them (as Kubeapps: by base name in any case, at most one
    directory deep, the last one counts). Raises SourceMalformed or LimitExceeded."""
    try:
        return dict(_wanted(Bounded(gzip.GzipFile(fileobj=io.BytesIO(data)), MOST_UNPACKED)))
    except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, ValueError, OverflowError, RecursionError, MemoryError) as error:
        raise SourceMalformed(f"not a chart archive: {error}") from None


def _wanted(stream: Bounded) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(fileobj=stream, mode="r|") as archive:
        for place, member in enumerate(archive):
            if place >= MOST_MEMBERS:
                raise LimitExceeded(f"the archive has more than {MOST_MEMBERS:,} members")
            if not 0 <= member.size <= MOST_UNPACKED:
                raise LimitExceeded(f"a member of the archive claims {member.size:,} bytes")
            name = file_name(member.name)
            if name is None or not member.isreg():
                continue
            if member.size > MOST_FILE:
                raise LimitExceeded(f"{name} in the archive is larger than {MOST_FILE:,} bytes")
            content = archive.extractfile(member)
            if content is not None:
                yield name, content.read().removeprefix(BOM)


def file_name(path: str) -> str | None:
    """The name under which a member is kept, or None; Windows' separators count as separators."""
    parts = [part for part in path.replace("\\", "/").split("/") if part not in ("", ".")]
    return WANTED.get(parts[-1].lower()) if 1 <= len(parts) <= 2 and ".." not in parts else None
