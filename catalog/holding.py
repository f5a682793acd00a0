"""A held listing: what a repository offers now, if its removals look like an accident. Functions of a connection; they never commit."""

from dataclasses import asdict, dataclass

from sqlalchemy import delete, text
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog import tables as t

_HOLD = text("""
    insert into chartfleet.held_listings as h (repository_id, namespace, etag, last_modified, body_sha256, content, reason, removals,
                                               versions)
    values (:repository, :namespace, :etag, :last_modified, :body_sha256, :content, :reason, :removals, :versions)
    on conflict (repository_id) do update
    set etag = excluded.etag, last_modified = excluded.last_modified, body_sha256 = excluded.body_sha256, content = excluded.content,
        reason = excluded.reason, removals = excluded.removals, versions = excluded.versions, last_read_at = now(),
        reads = case when h.content = excluded.content then h.reads + 1 else 1 end,
        first_read_at = case when h.content = excluded.content then h.first_read_at else now() end,
        released_at = case when h.content = excluded.content then h.released_at end
    returning reads
""")


@dataclass(frozen=True, slots=True)
class Held:
    """Its validators and hashes, why it is held (Empty, Shrunk or Stale), how many versions it would remove and how many it lists."""

    etag: str | None
    last_modified: str | None
    body_sha256: bytes
    content: bytes
    reason: str
    removals: int
    versions: int


async def hold(connection: AsyncConnection, repository: int, namespace: str, held: Held) -> int:
    """Count a reading of a listing; one of another content starts anew. Returns how often it was read."""
    values = {"repository": repository, "namespace": namespace, **asdict(held)}
    return (await connection.execute(_HOLD, values)).scalar_one()


async def let_go(connection: AsyncConnection, repository: int) -> None:
    """Nothing is held any more."""
    await connection.execute(delete(t.held_listings).where(t.held_listings.c.repository_id == repository))
