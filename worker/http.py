"""GET as a repository's job does it: with its credentials where they may go, redirects followed by our rules, limits kept while reading.

Authorization and a client certificate go to the repository's own scheme, host and port, anywhere else only if the repository passes them;
each redirect is judged anew. A URL is shown without its user, password and query, which may hold secrets.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from catalog.errors import LimitExceeded, SourceRefused, SourceUnavailable
from catalog.model import Repository
from catalog.options import Limits, setting
from catalog.report import Report
from worker.decoding import ENCODINGS, Broken, Decoder, decoder
from worker.patience import Hosts, patience
from worker.settings import Settings
from worker.tls import made_to_measure
from worker.transport import Network, Response, Transport, system_trust
from worker.urls import check_scheme, may_authorize, redirected, shown

REDIRECTS = (301, 302, 303, 307, 308)


@dataclass(frozen=True, slots=True)
class Credentials:
    """What opens a repository: an Authorization header's value, PEM certificates to trust, a PEM certificate of ours with its key."""

    authorization: str | None = field(default=None, repr=False)
    ca_pem: str | None = None
    certificate_pem: str | None = field(default=None, repr=False)

    @property
    def secret(self) -> bool:
        return bool(self.authorization or self.certificate_pem)


@dataclass(slots=True)
class Answer:
    """A response whose body has not been read; `url` is where it came from. `not_modified`: what the caller has is current."""

    response: Response
    url: str
    limits: Limits
    decoder: Decoder

    @property
    def not_modified(self) -> bool:
        return self.response.status == 304

    def header(self, name: str) -> str | None:
        return self.response.headers.get(name)

    async def pieces(self, most: int, what: str) -> AsyncGenerator[bytes]:
        """The decoded body in pieces. Raises LimitExceeded as soon as it has more than `most` bytes, and SourceUnavailable."""
        size = 0
        async with aclosing(self._received()) as received:
            try:
                async for data in received:
                    for piece in self.decoder.feed(data):
                        size += len(piece)
                        if size > most:
                            raise LimitExceeded(f"{what} at {shown(self.url)} is larger than {most:,} bytes")
                        yield piece
                self.decoder.check_end()
            except Broken as error:
                raise SourceUnavailable(f"{shown(self.url)}: the transfer is broken: {error}") from None

    async def _received(self) -> AsyncGenerator[bytes]:
        """The body as it comes, unless it trickles."""
        clock, least = asyncio.get_running_loop().time, self.limits.min_bytes_per_second
        seconds, since = 0.0, clock()
        async with aclosing(self.response.pieces()) as pieces:
            async for data in pieces:
                seconds += clock() - since
                if seconds > self.limits.timeout and self.response.received < least * seconds:
                    text = f"slower than {least:,} bytes a second ({setting('min_bytes_per_second')})"
                    raise SourceUnavailable(f"{shown(self.url)}: {text}")
                yield data
                since = clock()  # what the reader took is not the server's fault


@dataclass(frozen=True, slots=True)
class Remote:
    """A repository's server as one job speaks to it, and the servers it leads to; what is transferred is counted in `report`.

    `trusted` presents the client certificate, where there is one; `transport` never does.
    """

    transport: Transport
    trusted: Transport
    repository: Repository
    credentials: Credentials
    report: Report
    limits: Limits
    hosts: Hosts
    headers: Mapping[str, str]

    @asynccontextmanager
    async def get(self, url: str, headers: Mapping[str, str] | None = None) -> AsyncGenerator[Answer]:
        """GET `url`, through redirects, if the answer is 200 or 304.

        Who asks for `Accept-Encoding: identity` gets the body byte for byte: of a .tgz servers say `Content-Encoding: gzip` because it is
        one. Raises SourceUnavailable or SourceRefused, also while the body is read.
        """
        asked = {"Accept-Encoding": ENCODINGS, **(headers or {})}
        try:
            async with asyncio.timeout(self.limits.max_seconds):
                response = await self._follow(url, asked)
                try:
                    check_status(response, datetime.now(UTC))
                    yield Answer(response, response.url, self.limits, decoder_of(response, asked["Accept-Encoding"]))
                finally:
                    await self._done(response)
        except TimeoutError:
            text = f"the answer was not complete after {self.limits.max_seconds} s ({setting('max_seconds')})"
            raise SourceUnavailable(f"{shown(url)}: {text}") from None

    async def body(self, url: str, most: int, what: str) -> bytes:
        """A whole small body, byte for byte."""
        async with self.get(url, {"Accept-Encoding": "identity"}) as answer, aclosing(answer.pieces(most, what)) as pieces:
            return b"".join([piece async for piece in pieces])

    async def _follow(self, url: str, headers: Mapping[str, str]) -> Response:
        for _ in range(self.limits.max_redirects + 1):
            response = await self._ask(url, headers)
            location = response.headers.get("Location")
            if response.status not in REDIRECTS or location is None:
                return response
            await self._done(response)
            url = redirected(url, location, secret=self.credentials.secret)
        raise SourceRefused(f"{shown(url)}: more than {self.limits.max_redirects} redirects ({setting('max_redirects')})")

    async def _ask(self, url: str, headers: Mapping[str, str]) -> Response:
        """One request and the head of its answer, if its host may be asked."""
        check_scheme(url)
        await self.hosts.before(url)
        own = may_authorize(self.repository, url)
        authorization = {"Authorization": self.credentials.authorization} if own and self.credentials.authorization else {}
        self.report.requests += 1
        try:
            response = await (self.trusted if own else self.transport).get(url, {**self.headers, **headers, **authorization}, self.limits)
        except SourceUnavailable:
            await self.hosts.failed(url)
            raise
        try:
            await self.hosts.after(url, response.status, response.headers, datetime.now(UTC))
        except BaseException:
            await response.close()
            raise
        return response

    async def _done(self, response: Response) -> None:
        await response.close()
        self.report.bytes += response.received


class Http:
    """The connections of a process, kept for its life: one pool, one TLS context; others only for what a repository has of its own."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._network = Network(settings.allow_addresses)
        self._shared = Transport(self._network, settings.proxies)

    @asynccontextmanager
    async def remote(
        self, repository: Repository, credentials: Credentials, report: Report, *, look: bool = True
    ) -> AsyncGenerator[Remote]:
        """A job's remote. `look` is False where it is known that the fleet waits for no host."""
        headers = {"Accept": "*/*", "User-Agent": self._settings.user_agent}
        limits = self._settings.limits_for(repository)
        async with AsyncExitStack() as stack:
            hosts = await stack.enter_async_context(Hosts(self._settings.database_url, look))
            transport = await self._transport(stack, repository, credentials.ca_pem, None)
            trusted = transport
            if credentials.certificate_pem:
                trusted = await self._transport(stack, repository, credentials.ca_pem, credentials.certificate_pem)
            yield Remote(transport, trusted, repository, credentials, report, limits, hosts, headers)

    async def close(self) -> None:
        await self._shared.close()

    async def _transport(self, stack: AsyncExitStack, repository: Repository, ca_pem: str | None, certificate_pem: str | None) -> Transport:
        """The process's own, unless TLS is to be otherwise for this repository."""
        if repository.verify_tls and not ca_pem and not certificate_pem:
            return self._shared
        tls = await made_to_measure(system_trust(), repository.verify_tls, ca_pem, certificate_pem)
        transport = Transport(self._network, self._settings.proxies, tls)
        stack.push_async_callback(transport.close)
        return transport


def check_status(response: Response, now: datetime) -> None:
    """Pass 200 and 304; 429 and 5xx may mend themselves, everything else waits for a person."""
    status = response.status
    if status in (200, 304):
        return
    text, asked = f"{shown(response.url)}: {response.text}", patience(status, response.headers, now)
    if status in (408, 425, 429) or status >= 500 or (status == 403 and asked):
        raise SourceUnavailable(text, asked.wait if asked else None)
    raise SourceRefused(text)


def decoder_of(response: Response, asked: str) -> Decoder:
    """What undoes the answer's Content-Encoding, if one was asked for. Raises SourceUnavailable for another."""
    try:
        return decoder("" if asked == "identity" else response.headers.get("Content-Encoding", ""))
    except Broken as error:
        raise SourceUnavailable(f"{shown(response.url)}: {error}") from None
