"""Icon work, inside a files job: each listed address fetched once for all its charts, at most ten at once; what fails comes back by its
own clock and is said in `icon_sources` alone, never by the run."""

import asyncio
import base64
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import monotonic
from urllib.parse import unquote_to_bytes, urlsplit

import structlog

from catalog import icons, store
from catalog.errors import CatalogError, SourceMalformed, SourceRefused, SourceUnavailable
from catalog.icons import Icon, IconSource
from catalog.report import MOST_TEXT, Report
from catalog.tick import Stored
from worker.decoder import Decoder, decoding
from worker.http import Remote, shown
from worker.process import Worker, timed
from worker.sources.helm import archive_url, validator

log = structlog.get_logger()
AT_ONCE = 10
BATCH = 40
MOST_FETCHED = 5 * 1024 * 1024  # bytes
LONGEST = 30.0  # seconds of one download
SILENT = 5  # consecutive failures after which a host is left alone for this job
DAY, WEEK = 86_400.0, 7 * 86_400.0


@dataclass(frozen=True, slots=True)
class Fetched:
    """One source's outcome: an icon, or the error, or neither when the server says that the one we hold is current."""

    source: IconSource
    icon: Icon | None = None
    etag: str | None = None
    last_modified: str | None = None
    error: CatalogError | None = None


async def fetch_icons(worker: Worker, remote: Remote, stored: Stored, report: Report, until: float) -> int:
    """Fetch what is due until nothing is, or until that moment of the monotonic clock; returns how many icons came."""
    came = 0
    async with timed(report, "icons"), decoding() as decoder:
        fetching = Fetching(remote, decoder)
        async with worker.transaction() as connection:
            await store.lock_repository(connection, stored.id)  # a listing that is published now may name one of them again
            await icons.forget_icons(connection, stored.id)
        while monotonic() < until and (batch := await _due(worker, stored.id)):
            fetched = await asyncio.gather(*(fetching.fetch(source) for source in batch))
            await _record(worker, stored.id, fetched)
            came += sum(1 for each in fetched if each.icon)
    return came


async def _due(worker: Worker, repository: int) -> list[IconSource]:
    async with worker.transaction() as connection:
        return await icons.due_icons(connection, repository, BATCH)


async def _record(worker: Worker, repository: int, fetched: Sequence[Fetched]) -> None:
    async with worker.transaction() as connection:
        await store.lock_repository(connection, repository)
        await icons.put_icons(connection, [each.icon for each in fetched if each.icon])
        for each in fetched:
            source = each.source
            if each.error is None:
                old = None if is_data(source.url) else WEEK
                await icons.settle_icon(connection, repository, source, each.icon, (each.etag, each.last_modified), old)
            else:
                said = str(each.error).replace("\0", "")[:MOST_TEXT]
                await icons.postpone_icon(connection, repository, source, backoff(source, each.error), each.error.reason, said)


@dataclass(frozen=True, slots=True)
class Fetching:
    """What the downloads of one job share: the server, the decoder, room for ten, and which hosts keep silent."""

    remote: Remote
    decoder: Decoder
    room: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))
    failures: Counter[str] = field(default_factory=Counter[str])

    async def fetch(self, source: IconSource) -> Fetched:
        """A source's outcome, whatever it is."""
        async with self.room:
            try:
                if is_data(source.url):
                    return Fetched(source, await self.decoder.decode(data_of(source.url)))
                return await self._fetch(source, icon_url(self.remote.repository.url, source.url))
            except CatalogError as error:
                return Fetched(source, error=error)
            except Exception as error:  # a defect of ours with this icon is no reason to leave the others
                log.exception("a defect", action="defect", icon=shown(source.url))
                said = f"the icon cannot be read ({type(error).__name__}); the worker's log has the trace"
                return Fetched(source, error=SourceMalformed(said))

    async def _fetch(self, source: IconSource, url: str) -> Fetched:
        host = urlsplit(url).netloc
        if self.failures[host] >= SILENT:
            raise SourceUnavailable(f"{shown(url)}: its host did not answer {SILENT} times in a row; left alone for now")
        try:
            fetched = await self._get(source, url)
        except SourceUnavailable:
            self.failures[host] += 1
            raise
        self.failures[host] = 0
        return fetched

    async def _get(self, source: IconSource, url: str) -> Fetched:
        asked = conditions(source)
        try:
            async with asyncio.timeout(LONGEST), self.remote.get(url, asked) as answer:
                if answer.not_modified and not asked:
                    raise SourceUnavailable(f"{shown(url)}: the server says that nothing changed, though it was not asked")
                if answer.not_modified:
                    return Fetched(source, None, source.etag, source.last_modified)
                data = b"".join([piece async for piece in answer.pieces(MOST_FETCHED, "the icon")])
        except TimeoutError:
            raise SourceUnavailable(f"{shown(url)}: the icon was not complete after {LONGEST:.0f} s") from None
        icon = await self.decoder.decode(data)
        return Fetched(source, icon, validator(answer.header("ETag")), validator(answer.header("Last-Modified")))


def conditions(source: IconSource) -> dict[str, str]:
    """The headers that ask only for what is not here yet (RFC 9110, 13.1)."""
    headers = {"If-None-Match": source.etag, "If-Modified-Since": source.last_modified}
    return {name: value for name, value in headers.items() if source.stored and value}


def icon_url(repository_url: str, listed: str) -> str:
    """Where a listed icon is, by the rule for archives. Raises SourceMalformed or SourceRefused."""
    try:
        url = archive_url(repository_url, listed.strip())
        scheme = urlsplit(url).scheme
    except ValueError as error:
        raise SourceMalformed(f"the listed icon is no URL: {error}") from None
    if scheme not in ("http", "https"):
        raise SourceRefused(f"{scheme}: icons are not fetched: only http:, https: and data:")
    return url


def is_data(url: str) -> bool:
    return url.lstrip()[:5].lower() == "data:"


def data_of(url: str) -> bytes:
    """What a data: URI holds (RFC 2397), written in base64 or with %-escapes. Raises SourceMalformed."""
    header, comma, data = url.strip().partition(",")
    if not comma:
        raise SourceMalformed("the listed icon is a data: URI without a comma, so without data")
    content = unquote_to_bytes(data)
    if not re.search(r";\s*base64\s*$", header, re.IGNORECASE):
        return content
    try:
        return base64.b64decode(content + b"=" * (-len(content) % 4))
    except ValueError as error:
        raise SourceMalformed(f"the listed icon is a data: URI whose base64 cannot be read: {error}") from None


def backoff(source: IconSource, error: CatalogError) -> float:
    """Seconds until a source is asked again: a minute, doubled up to a day; a day, doubled up to a week, if a person must help.

    At least what the remote asks. One that holds an icon waits for a week. Not spread by chance: what fails together comes together, in one
    job.
    """
    first, most = (60.0, DAY) if error.transient else (DAY, WEEK)
    wait = WEEK if source.stored else min(most, first * 2 ** min(source.attempts, 11))
    return max(wait, getattr(error, "retry_after", None) or 0.0)
