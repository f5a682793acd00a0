"""`type: helm`: an index.yaml over HTTP, and the archives that it names."""

import hashlib
import posixpath
import tempfile
from contextlib import aclosing
from dataclasses import dataclass
from typing import BinaryIO
from urllib.parse import urljoin, urlsplit, urlunsplit

from catalog.errors import InvalidRepository, SourceUnavailable
from catalog.options import Limits, setting
from worker.http import Answer, Remote

MOST_VALIDATOR = 1_000  # characters


@dataclass(slots=True)
class Listing:
    """An index as it was received: an unlinked file, and what says next time that it is the same."""

    body: BinaryIO
    size: int
    sha256: bytes
    etag: str | None
    last_modified: str | None

    def close(self) -> None:
        self.body.close()


@dataclass(frozen=True, slots=True)
class Validators:
    """What a server said of a listing that we have read."""

    etag: str | None = None
    last_modified: str | None = None


async def open_listing(remote: Remote, read_before: Validators | None) -> Listing | None:
    """One conditional GET, spooled; None when the server says that nothing changed. Raises SourceError or LimitExceeded."""
    asked = conditions(read_before or Validators())
    async with remote.get(index_url(remote.repository.url), asked) as answer:
        if answer.not_modified and not asked:
            raise SourceUnavailable("the server says that nothing changed, though it was not asked")
        return None if answer.not_modified else await _spool(answer, remote.limits)


def conditions(read_before: Validators) -> dict[str, str]:
    """The headers of a conditional request (RFC 9110, 13.1)."""
    headers = {"If-None-Match": read_before.etag, "If-Modified-Since": read_before.last_modified}
    return {name: value for name, value in headers.items() if value}


def index_url(repository_url: str) -> str:
    """Where the index is: index.yaml under the repository's path, its query kept. Raises InvalidRepository."""
    scheme, host, path, query, _ = urlsplit(checked_url(repository_url))
    return urlunsplit((scheme, host, posixpath.normpath("/" + f"{path}/index.yaml".lstrip("/")), query, ""))


def archive_url(repository_url: str, url: str) -> str:
    """Helm's ResolveReferenceURL: an absolute url as it is; any other below the repository's path, with the repository's query, if any.

    Raises ValueError for what is no URL.
    """
    parts = urlsplit(url)
    if not url or (parts.port or 1) <= 0:
        raise ValueError("an empty url, or one without a port that can be")
    if parts.scheme:
        return url
    scheme, host, path, query, _ = urlsplit(checked_url(repository_url))
    target = urlsplit(urljoin(urlunsplit((scheme, host, path.rstrip("/") + "/", "", "")), url))
    return urlunsplit(target._replace(query=query or target.query, fragment=""))


def checked_url(text: str) -> str:
    """A repository's URL without blanks around it. Raises InvalidRepository for what is none, or holds a password."""
    url = text.strip()
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        usable = False
        parts = None
    if not usable or parts is None:
        raise InvalidRepository(f"spec.url {url.split('?')[0][:200]!r} is not a URL such as https://charts.example.com/stable")
    if "@" in parts.netloc:
        raise InvalidRepository(
            "spec.url holds a user or password: put `Basic …` into a Secret and name it in spec.auth.header.secretKeyRef"
        )
    return url


def validator(header: str | None) -> str | None:
    """A validator that can be sent back; others are as good as none."""
    return header if header and header.isascii() and header.isprintable() and len(header) <= MOST_VALIDATOR else None


async def _spool(answer: Answer, limits: Limits) -> Listing:
    body = tempfile.TemporaryFile(prefix="chartfleet-index-")  # noqa: SIM115 - the listing closes it
    digest, size = hashlib.sha256(), 0
    try:
        async with aclosing(answer.pieces(limits.max_index_bytes, f"the index ({setting('max_index_bytes')})")) as pieces:
            async for piece in pieces:
                digest.update(piece)
                size += len(piece)
                body.write(piece)
        body.flush()
    except BaseException:
        body.close()
        raise
    return Listing(body, size, digest.digest(), validator(answer.header("ETag")), validator(answer.header("Last-Modified")))
