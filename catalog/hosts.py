"""Hosts that asked for patience or do not answer, as the whole fleet sees them: by psycopg alone, on an autocommit connection.

A row is a bad time of a host. It goes when the host answers well, or an hour after it may be asked again.
"""

from dataclasses import dataclass

from psycopg import AsyncConnection
from psycopg.rows import class_row


@dataclass(slots=True)
class Host:
    """`wait`: seconds until it may be asked; `rate`: requests a second for the whole fleet, if it said so; `reason`: for people."""

    wait: float
    rate: float | None
    reason: str


_FIND = """
    with over as (delete from chartfleet.hosts where not_before < now() - interval '1 hour')
    select extract(epoch from not_before - now())::float8 as wait, rate, coalesce(reason, '') as reason
    from chartfleet.hosts where host = %s and not_before >= now() - interval '1 hour'
"""

# Without a word from the host: half a minute, doubled with every further time, up to an hour. Of several jobs that are told at once
# one counts.
_LEAVE = """
    insert into chartfleet.hosts as h (host, not_before, reason, failures, rate)
    values (%(host)s, now() + coalesce(%(wait)s, 30) * interval '1 second', %(reason)s, 1, %(rate)s)
    on conflict (host) do update set
      not_before = greatest(
        h.not_before, now() + coalesce(%(wait)s, least(3600, 30 * power(2, least(h.failures, 7)))) * interval '1 second'),
      failures = case when h.not_before > now() then h.failures else least(h.failures + 1, 100) end,
      reason = excluded.reason, rate = coalesce(excluded.rate, h.rate), tokens = 0, refilled_at = now()
    where %(wait)s::float8 is not null or h.not_before <= now()
"""

_LEASE = """
    with filled as (
      select host, least(%(most)s, tokens + rate * greatest(0, extract(epoch from now() - greatest(refilled_at, not_before)))) as tokens
      from chartfleet.hosts where host = %(host)s and rate is not null for update
    )
    update chartfleet.hosts h set tokens = f.tokens - floor(f.tokens), refilled_at = now()
    from filled f where h.host = f.host
    returning floor(f.tokens)::integer
"""

_WELL = "delete from chartfleet.hosts where host = %s and rate is null and not_before <= now()"


async def find(connection: AsyncConnection, host: str) -> Host | None:
    """How a `host:port` is to be treated, or None: like any other."""
    async with connection.cursor(row_factory=class_row(Host)) as cursor:
        await cursor.execute(_FIND, (host,))
        return await cursor.fetchone()


async def leave_alone(connection: AsyncConnection, host: str, reason: str, wait: float | None, rate: float | None) -> None:
    """Nobody asks the host for `wait` seconds; None: for as long as its failures suggest."""
    await connection.execute(_LEAVE, {"host": host, "reason": reason, "wait": wait, "rate": rate})


async def lease(connection: AsyncConnection, host: str, most: int) -> int | None:
    """The right to make so many requests, at most `most`, taken for one job; None when the host has no limit any more."""
    row = await (await connection.execute(_LEASE, {"host": host, "most": most})).fetchone()
    return row[0] if row else None


async def well(connection: AsyncConnection, host: str) -> None:
    """The host answered: forget its bad time, unless it asked for a rate."""
    await connection.execute(_WELL, (host,))
