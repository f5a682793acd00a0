"""The one door to remotes: the HTTP library is imported and its errors are translated here, nowhere else.

Authorization goes to the repository's own scheme, host and port, anywhere else only if the repository passes credentials; the library
drops it when a redirect leaves the origin. A URL is shown without its user, password and query, which may hold secrets.
"""

import asyncio
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.cookiejar import DefaultCookiePolicy
from urllib.parse import urlsplit, urlunsplit

import httpx2

from catalog.errors import LimitExceeded, SourceRefused, SourceUnavailable
from catalog.model import Repository
from catalog.report import Report

MOST_REDIRECTS = 10
SLOWEST, SLOW_START = 5_000, 20.0  # bytes a second on the average, looked at after so many seconds
LONGEST_TRANSFER = 600.0  # seconds for one response, however steadily it trickles


@dataclass(frozen=True, slots=True)
class Credentials:
    """What opens a repository: an Authorization header's value and PEM certificates to trust."""

    authorization: str | None = field(default=None, repr=False)
    ca_pem: str | None = None


@dataclass(slots=True)
class Answer:
    """A response whose body has not been read. `not_modified`: what the caller has is current."""

    response: httpx2.Response
    url: str

    @property
    def not_modified(self) -> bool:
        return self.response.status_code == 304

    def header(self, name: str) -> str | None:
        return self.response.headers.get(name)

    async def pieces(self, most: int, what: str) -> AsyncIterator[bytes]:
        """The decoded body in pieces. Raises LimitExceeded as soon as it has more than `most` bytes."""
        size, clock = 0, asyncio.get_running_loop().time
        start = clock()
        async for piece in self.response.aiter_bytes():
            size += len(piece)
            if clock() - start > SLOW_START and size < SLOWEST * (clock() - start):
                raise SourceUnavailable(f"{shown(self.url)}: slower than {SLOWEST / 1000:.0f} kB/s")
            if size > most:
                raise LimitExceeded(f"{what} at {shown(self.url)} is larger than {most:,} bytes")
            yield piece


@dataclass(frozen=True, slots=True)
class Remote:
    """A repository's server as one job speaks to it; what is transferred is counted in `report`."""

    client: httpx2.AsyncClient
    repository: Repository
    credentials: Credentials
    report: Report

    @asynccontextmanager
    async def get(self, url: str, headers: Mapping[str, str] | None = None) -> AsyncGenerator[Answer]:
        """GET `url`. Raises SourceUnavailable or SourceRefused, also while the body is read."""
        wanted = dict(headers or {})
        if self.credentials.authorization and may_authorize(self.repository, url):
            wanted["Authorization"] = self.credentials.authorization
        self.report.requests += 1
        with translated(url):
            async with asyncio.timeout(LONGEST_TRANSFER), self.client.stream("GET", url, headers=wanted) as response:
                check_status(url, response, datetime.now(UTC))
                try:
                    yield Answer(response, url)
                finally:
                    self.report.bytes += response.num_bytes_downloaded

    async def body(self, url: str, most: int, what: str) -> bytes:
        """A whole small body."""
        async with self.get(url) as answer:
            return b"".join([piece async for piece in answer.pieces(most, what)])


class Http:
    """The client of a process, kept for its life: one pool of connections, one TLS context; another only for a CA of its own."""

    def __init__(self, user_agent: str, timeout: float) -> None:
        self._options = {"User-Agent": user_agent, "Accept-Encoding": "gzip"}
        self._timeout = timeout
        self._shared: httpx2.AsyncClient | None = None

    @asynccontextmanager
    async def remote(self, repository: Repository, credentials: Credentials, report: Report) -> AsyncGenerator[Remote]:
        if repository.verify_tls and not credentials.ca_pem:
            self._shared = self._shared or self._client(True)
            yield Remote(self._shared, repository, credentials, report)
        else:
            async with self._client(tls_context(repository.verify_tls, credentials.ca_pem)) as client:
                yield Remote(client, repository, credentials, report)

    async def close(self) -> None:
        if self._shared:
            await self._shared.aclose()

    def _client(self, verify: ssl.SSLContext | bool) -> httpx2.AsyncClient:
        client = httpx2.AsyncClient(
            verify=verify, headers=self._options, timeout=self._timeout, follow_redirects=True, max_redirects=MOST_REDIRECTS
        )
        client.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=[]))  # a cookie would pass from one repository to another
        return client


def tls_context(verify: bool, ca_pem: str | None) -> ssl.SSLContext:
    """The system's trust and `ca_pem`, or no verification. Raises SourceRefused for a CA that cannot be read."""
    context = ssl.create_default_context()
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if ca_pem:
        try:
            context.load_verify_locations(cadata=ca_pem)
        except (ssl.SSLError, ValueError) as error:
            raise SourceRefused(f"the custom CA is not a PEM certificate: {error}") from None
    return context


def may_authorize(repository: Repository, url: str) -> bool:
    """Whether credentials of the repository may go to `url`: same scheme, host and port, or it passes them on."""
    return repository.pass_credentials or origin(repository.url) == origin(url) != ("", "", 0)


def origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port; ("", "", 0) for what is no plain http(s) URL, which equals nothing."""
    try:
        parts = urlsplit(url)
        port = parts.port or {"http": 80, "https": 443}[parts.scheme]
    except (ValueError, KeyError):
        return "", "", 0
    if not parts.hostname or parts.username is not None or not url.isprintable():
        return "", "", 0
    return parts.scheme, parts.hostname, port


def shown(url: str) -> str:
    """A URL as it may be shown: without user, password and query."""
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
    except ValueError:
        return "(not a URL)"
    return urlunsplit((parts.scheme, host, parts.path, "…" if parts.query else "", ""))


@contextmanager
def translated(url: str) -> Generator[None]:
    """Turn the library's errors into ours, keeping what a user can act on."""
    try:
        yield
    except (httpx2.TooManyRedirects, httpx2.UnsupportedProtocol, httpx2.InvalidURL) as error:
        raise SourceRefused(f"{shown(url)}: {_said(error)}") from None
    except httpx2.TimeoutException as error:
        raise SourceUnavailable(f"{shown(url)}: no answer in time ({type(error).__name__})") from None
    except TimeoutError:
        raise SourceUnavailable(f"{shown(url)}: the answer was not complete after {LONGEST_TRANSFER:.0f} s") from None
    except (httpx2.HTTPError, httpx2.StreamError, OSError, UnicodeError) as error:
        raise SourceUnavailable(f"{shown(url)}: {_said(error)}") from None


def check_status(url: str, response: httpx2.Response, now: datetime) -> None:
    """Pass 200 and 304; 429 and 5xx may mend themselves, everything else waits for a person."""
    status = response.status_code
    if status in (200, 304):
        return
    text = f"{shown(url)}: HTTP {status} {response.reason_phrase}".rstrip()
    if status in (408, 425, 429) or status >= 500:
        raise SourceUnavailable(text, retry_after(response.headers.get("Retry-After"), now))
    raise SourceRefused(text)


def retry_after(text: str | None, now: datetime) -> float | None:
    """Seconds of a Retry-After header: a number or a date (RFC 9110, 10.2.3); None when there is none to go by."""
    if not text:
        return None
    if text.strip().isdigit():
        return min(float(text), 86_400.0)
    try:
        return max(0.0, min((parsedate_to_datetime(text) - now).total_seconds(), 86_400.0))
    except (ValueError, TypeError):
        return None


def _said(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
