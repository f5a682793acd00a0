"""Connections to remotes: the HTTP library is imported and its errors are translated here, nowhere else.

Of the library we use the pool of connections and HTTP/1.1. Its client would follow redirects, keep cookies and read a redirect's body
whole; what may be connected to it does not ask. Both are ours: redirects in `worker/http.py`, addresses in `Network`.
"""

import asyncio
import socket
import ssl
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Mapping, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

import httpcore2
import httpx2

from catalog.errors import SourceRefused, SourceUnavailable
from catalog.options import Limits, setting
from worker.addresses import Address, Addresses, by_rule, class_of, literal
from worker.proxies import proxy_for
from worker.urls import PORTS, shown

MOST_CONNECTIONS, MOST_IDLE, IDLE_SECONDS = 100, 20, 5.0
SMALL = 16_384  # bytes of a body that is read rather than its connection closed
SETTING = "CHARTFLEET_ALLOW_ADDRESSES"


class Network(httpcore2.AsyncNetworkBackend):
    """Connects to allowed addresses only: a name is resolved here, and what is judged is what is connected to."""

    def __init__(self, addresses: Addresses) -> None:
        self._addresses = addresses
        self._sockets: httpcore2.AsyncNetworkBackend = httpcore2.AnyIOBackend()  # pyright: ignore[reportAttributeAccessIssue] - without anyio it is a stub

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the library's signature
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        found = self._allowed(host, await _addresses_of(host, port, timeout))
        share = timeout / len(found) if timeout else None  # one that does not answer leaves time for the next
        for address in found[:-1]:
            try:
                return await self._sockets.connect_tcp(address, port, share, local_address, socket_options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout):
                continue
        return await self._sockets.connect_tcp(found[-1], port, share, local_address, socket_options)

    def check_name(self, host: str) -> None:
        """Judge a host that a proxy connects to: an address, but no name, which is the proxy's to resolve. Raises SourceRefused."""
        if address := _read(by_rule, host):
            self._allowed(host, [address])

    def _allowed(self, host: str, found: Sequence[Address]) -> list[str]:
        allowed = [str(address) for address in found if self._addresses.allow(address)]
        if not allowed:
            raise SourceRefused(f"{host}: {class_of(found[0])} addresses may not be connected to ({SETTING})")
        return allowed


@dataclass(slots=True)
class Response:
    """An answer's head, and its body as it comes over the wire; `received` counts its bytes."""

    url: str
    limits: Limits
    headers: httpx2.Headers
    _answer: httpcore2.Response
    received: int = 0
    begun: bool = False

    @property
    def status(self) -> int:
        return self._answer.status

    @property
    def text(self) -> str:
        """`HTTP 404 Not Found`, for people."""
        phrase = self._answer.extensions.get("reason_phrase", b"")
        return f"HTTP {self.status} {phrase.decode('ascii', 'ignore')[:100]}".rstrip()

    async def pieces(self) -> AsyncGenerator[bytes]:
        """Raises SourceUnavailable."""
        self.begun = True
        with translated(self.url, self.limits):
            async with aclosing(self._answer.aiter_stream()) as stream:
                async for piece in stream:
                    self.received += len(piece)
                    yield piece

    async def close(self) -> None:
        """End it; a small body that nobody wants is read, so that the connection serves again."""
        length = self.headers.get("Content-Length", "")
        if not self.begun and length.isdigit() and int(length) <= SMALL:
            try:
                async for _ in self.pieces():
                    pass
            except SourceUnavailable:
                pass
        await self._answer.aclose()


class Transport:
    """A pool of connections a scheme and proxy, each made when it is first needed, and the TLS context with it."""

    def __init__(self, network: Network, proxies: Mapping[str, str], tls: ssl.SSLContext | None = None) -> None:
        self._network, self._proxies, self._tls = network, proxies, tls
        self._pools: dict[tuple[str, str | None], httpcore2.AsyncConnectionPool] = {}

    async def get(self, url: str, headers: Mapping[str, str], limits: Limits) -> Response:
        """The head of the answer to one GET. Raises SourceUnavailable or SourceRefused."""
        with translated(url, limits):
            parts = httpx2.URL(url)
            proxy = proxy_for(self._proxies, url)
            if proxy:
                self._network.check_name(parts.host)
            target = httpcore2.URL(scheme=parts.raw_scheme, host=parts.raw_host, port=parts.port, target=parts.raw_path)
            timeouts = {"connect": limits.connect_timeout, "read": limits.timeout, "write": limits.timeout, "pool": limits.timeout}
            request = httpcore2.Request(
                "GET", target, headers={"Host": parts.netloc.decode("ascii"), **headers}, extensions={"timeout": timeouts}
            )
            async with asyncio.timeout(limits.connect_timeout + limits.timeout):  # a trickle of headers is no silence
                answer = await self._pool(parts.scheme, proxy).handle_async_request(request)
            return Response(url, limits, httpx2.Headers(answer.headers), answer)

    async def close(self) -> None:
        for pool in self._pools.values():
            await pool.aclose()

    def _pool(self, scheme: str, proxy: str | None) -> httpcore2.AsyncConnectionPool:
        if (scheme, proxy) not in self._pools:
            self._tls = (self._tls or system_trust()) if scheme == "https" else self._tls
            self._pools[scheme, proxy] = _pool_through(proxy, self._tls, self._network) if proxy else _pool(self._tls, self._network)
        return self._pools[scheme, proxy]


def system_trust() -> ssl.SSLContext:
    """A new TLS context that trusts the system's authorities, or those of SSL_CERT_FILE."""
    return httpcore2.default_ssl_context()


def _pool(tls: ssl.SSLContext | None, network: Network) -> httpcore2.AsyncConnectionPool:
    return httpcore2.AsyncConnectionPool(
        ssl_context=tls,
        max_connections=MOST_CONNECTIONS,
        max_keepalive_connections=MOST_IDLE,
        keepalive_expiry=IDLE_SECONDS,
        network_backend=network,
    )


def _pool_through(proxy: str, tls: ssl.SSLContext | None, network: Network) -> httpcore2.AsyncConnectionPool:
    parts = urlsplit(proxy)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return httpcore2.AsyncHTTPProxy(
        proxy_url=f"{parts.scheme}://{host}:{parts.port or PORTS[parts.scheme]}",
        proxy_auth=(unquote(parts.username), unquote(parts.password or "")) if parts.username else None,
        ssl_context=tls,
        max_connections=MOST_CONNECTIONS,
        max_keepalive_connections=MOST_IDLE,
        keepalive_expiry=IDLE_SECONDS,
        network_backend=network,
    )


async def _addresses_of(host: str, port: int, seconds: float | None) -> list[Address]:
    """A host's addresses in the system's order, each once."""
    if address := _read(literal, host):
        return [address]
    async with asyncio.timeout(seconds):
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [literal(str(address[0])) for *_, address in found]
    return list(dict.fromkeys(address for address in addresses if address))


def _read(reader: Callable[[str], Address | None], host: str) -> Address | None:
    try:
        return reader(host)
    except ValueError:
        raise SourceRefused(f"{host}: an address is written as four decimal numbers, or in brackets") from None


@contextmanager
def translated(url: str, limits: Limits) -> Generator[None]:
    """Turn the library's errors into ours, keeping what a user can act on."""
    try:
        yield
    except (httpcore2.UnsupportedProtocol, httpx2.InvalidURL) as error:
        raise SourceRefused(f"{shown(url)}: {_said(error)}") from None
    except httpcore2.ConnectTimeout:
        text = f"{shown(url)}: no connection within {limits.connect_timeout} s ({setting('connect_timeout')})"
        raise SourceUnavailable(text) from None
    except httpcore2.TimeoutException:
        raise SourceUnavailable(f"{shown(url)}: silent for {limits.timeout} s ({setting('timeout')})") from None
    except TimeoutError:
        seconds = limits.connect_timeout + limits.timeout
        raise SourceUnavailable(f"{shown(url)}: no answer within {seconds} s ({setting('timeout')})") from None
    except (httpcore2.NetworkError, httpcore2.ProtocolError, httpcore2.ProxyError, OSError, UnicodeError) as error:
        raise SourceUnavailable(f"{shown(url)}: {_said(error)}") from None


def _said(error: BaseException) -> str:
    return (str(error).strip().splitlines() or ["the connection was closed before there was an answer"])[0][:200]
