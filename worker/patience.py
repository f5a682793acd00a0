"""Patience with hosts, shared by the fleet through `chartfleet.hosts`: what they ask for, and one job's manners towards them.

A host in good health costs nothing: no row, no look, no write. What a job is told (429, Retry-After, RateLimit) it writes down once, and
no job of the fleet that begins from then on asks that host before its time; one under way learns of it by the host's own answer.
"""

import asyncio
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Self

from psycopg import AsyncConnection

from catalog import hosts
from catalog.database import connect
from catalog.errors import SourceUnavailable
from worker.urls import host_of

DAY = 86_400.0
SILENT = 5  # consecutive requests without an answer after which a host is left alone
BLOCK = 10  # requests that are leased at a time
LONGEST_PAUSE = 10.0  # seconds that a job waits for its turn; for a slower rate it comes back
NUMBER = re.compile(r"\d+(\.\d+)?")


@dataclass(frozen=True, slots=True)
class Patience:
    """What a host asks for: `wait` seconds until the next request, `rate` requests a second; None where it does not say."""

    wait: float | None = None
    rate: float | None = None


def patience(status: int, headers: Mapping[str, str], now: datetime) -> Patience | None:
    """What an answer asks for, by Retry-After (RFC 9110, 10.2.3) and the RateLimit fields; None: nothing.

    GitHub says a limit with 403, too. A 503 without a time says nothing of the host as a whole.
    """
    wait = retry_after(headers.get("Retry-After"), now) if status in (403, 429, 503) else None
    limit = rate_limit(headers, now)
    if wait is None and limit.remaining == 0:
        wait = limit.reset
    return Patience(wait or None, limit.rate) if wait or status == 429 else None


def retry_after(text: str | None, now: datetime) -> float | None:
    """Seconds of a Retry-After header: a number or a date (RFC 9110, 10.2.3); None when there is none to go by."""
    if not text:
        return None
    if text.strip().isdigit():
        return min(float(text), DAY)
    try:
        return max(0.0, min((parsedate_to_datetime(text) - now).total_seconds(), DAY))
    except (ValueError, TypeError):
        return None


@dataclass(frozen=True, slots=True)
class RateLimit:
    """Requests that `remaining` until `reset` seconds from now, and the `rate` a second that the policy comes to."""

    remaining: float | None = None
    reset: float | None = None
    rate: float | None = None


def rate_limit(headers: Mapping[str, str], now: datetime) -> RateLimit:
    """RateLimit and RateLimit-Policy (draft-ietf-httpapi-ratelimit-headers), the fields of its older drafts, and X-RateLimit-…."""
    state = _strictest(headers.get("RateLimit"), "r")
    policy = _strictest(headers.get("RateLimit-Policy"), "q")
    remaining, reset, limit = (_parameters(_either(headers, name)) for name in ("Remaining", "Reset", "Limit"))
    left = state.get("r", state.get("remaining", remaining.get("")))
    until = state.get("t", state.get("reset", reset.get("")))
    if until is not None and until > 1e9:  # GitHub's is a moment, not a duration
        until -= now.timestamp()
    quota = policy.get("q", policy.get("", limit.get("")))
    window = policy.get("w", limit.get("w"))
    rate = quota / window if quota and window else None
    return RateLimit(left, None if until is None else max(0.0, min(until, DAY)), rate)


def _either(headers: Mapping[str, str], name: str) -> str | None:
    return headers.get(f"RateLimit-{name}") or headers.get(f"X-RateLimit-{name}")


def _strictest(text: str | None, name: str) -> dict[str, float]:
    """Of several limits the one with the smallest `name`; older drafts have one, whose numbers are members."""
    limits = [limit for limit in map(_parameters, (text or "").split(",")) if name in limit]
    return min(limits, key=lambda limit: limit[name], default=_parameters(text))


def _parameters(text: str | None) -> dict[str, float]:
    """The numbers of a field by name; one without a name stands under ""."""
    found: dict[str, float] = {}
    for word in re.split(r"[;,]", text or ""):
        name, equals, value = word.strip().partition("=")
        number = value if equals else name
        if NUMBER.fullmatch(number.strip()):
            found.setdefault(name.strip().lower() if equals else "", float(number))
    return found


@dataclass(slots=True)
class Standing:
    """How one host stands with this job: not to be asked before `until` (the loop's clock), at `rate`, with `tokens` in hand."""

    until: float
    rate: float | None
    reason: str
    tokens: int = 0


class Hosts:
    """One job's manners. Its statements go over a connection of their own, opened when a host gives reason to."""

    def __init__(self, database_url: str, look: bool) -> None:
        self._database_url, self._look = database_url, look
        self._connection: AsyncConnection | None = None
        self._standing: dict[str, Standing | None] = {}
        self._silent = Counter[str]()
        self._opening, self._turn = asyncio.Lock(), asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._connection:
            await self._connection.close()

    async def before(self, url: str) -> None:
        """Raises SourceUnavailable for a host that is to be left alone; waits its turn where the host asked for a rate."""
        host = host_of(url)
        if self._look and host not in self._standing:
            await self._refresh(host)
        standing = self._standing.get(host)
        if standing is None:
            return
        wait = standing.until - asyncio.get_running_loop().time()
        if wait > 0:
            until = datetime.now(UTC) + timedelta(seconds=wait)
            raise SourceUnavailable(f"{host} is left alone until {until:%H:%M:%S} UTC: {standing.reason}", wait, asked=False)
        if standing.rate:
            async with self._turn:
                await self._take(host, standing, standing.rate)

    async def after(self, url: str, status: int, headers: Mapping[str, str], now: datetime) -> None:
        """Take to heart what an answer says."""
        host = host_of(url)
        asked = patience(status, headers, now)
        if asked:
            await self._leave_alone(host, f"HTTP {status}", asked)
        elif status in (502, 503, 504):
            await self._count(host, f"HTTP {status}")
        else:
            await self._answered(host)

    async def failed(self, url: str) -> None:
        """There was no answer."""
        await self._count(host_of(url), "no answer")

    async def _count(self, host: str, reason: str) -> None:
        self._silent[host] += 1
        if self._silent[host] >= SILENT or self._standing.get(host):
            await self._leave_alone(host, f"{reason}, {self._silent[host]} times in a row", Patience())

    async def _answered(self, host: str) -> None:
        if host in self._silent:
            del self._silent[host]
        standing = self._standing.get(host)
        if standing and standing.rate is None and standing.until <= asyncio.get_running_loop().time():
            self._standing[host] = None
            await hosts.well(await self._connected(), host)

    async def _leave_alone(self, host: str, reason: str, asked: Patience) -> None:
        """Write it down, unless this job did a moment ago: ten requests under way are told the same."""
        standing = self._standing.get(host)
        if standing is None or standing.until <= asyncio.get_running_loop().time():
            soon = asyncio.get_running_loop().time() + (asked.wait or 1.0)
            self._standing[host] = Standing(soon, asked.rate, reason)  # until the row is read
            await hosts.leave_alone(await self._connected(), host, reason, asked.wait, asked.rate)
            await self._refresh(host)

    async def _take(self, host: str, standing: Standing, rate: float) -> None:
        while not standing.tokens:
            leased = await hosts.lease(await self._connected(), host, BLOCK)
            if leased is None:
                self._standing[host] = None
                return
            standing.tokens = leased
            if not leased and 1 / rate > LONGEST_PAUSE:
                raise SourceUnavailable(f"{host} asked for at most {rate * 60:.3g} requests a minute", 1 / rate, asked=False)
            if not leased:
                await asyncio.sleep(1 / rate)
        standing.tokens -= 1

    async def _refresh(self, host: str) -> None:
        row = await hosts.find(await self._connected(), host)
        now = asyncio.get_running_loop().time()
        self._standing[host] = Standing(now + row.wait, row.rate, row.reason) if row else None

    async def _connected(self) -> AsyncConnection:
        async with self._opening:
            if self._connection is None:
                self._connection = await connect(self._database_url, "chartfleet_writer", "worker hosts", autocommit=True)
            return self._connection
