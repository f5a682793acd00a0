"""Repositories: how their syncs stand, and asking for one now."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends

from api.errors import NotFound, declared
from api.models import Listed, Problem, Problems, Repository, RepositoryDetail, SyncRequested
from api.params import Cursor, Limit, Segment, cursor_text, position_of
from api.store import Connection
from catalog import search
from catalog.model import RepositoryKey
from catalog.paging import Row, Slice
from catalog.search import RepositoryPosition

router = APIRouter(prefix="/api/v1", tags=["repositories"], responses=declared(400, 422, 500, 503))


def repository_key(namespace: Segment, name: Segment) -> RepositoryKey:
    return RepositoryKey(namespace, name)


Key = Annotated[RepositoryKey, Depends(repository_key)]


@router.get("/repositories")
async def list_repositories(connection: Connection, limit: Limit = 50, cursor: Cursor = None) -> Listed[Repository]:
    """Repositories by namespace and name."""
    found = await search.list_repositories(connection, Slice(limit, position_of(cursor, RepositoryPosition)))
    return Listed(items=[repository_of(row) for row in found.rows], total=found.total, next=cursor_text(found.next))


@router.get("/repositories/{namespace}/{name}", responses=declared(404))
async def show_repository(connection: Connection, key: Key) -> RepositoryDetail:
    """A repository with its last runs and what the last reading noted."""
    row = await search.repository(connection, key)
    if row is None:
        raise NotFound(f"no repository {key}")
    runs = await search.latest_runs(connection, row["id"])
    return RepositoryDetail.model_validate({**_condition(row), "notes": row["notes"] or [], "runs": runs})


@router.post("/repositories/{namespace}/{name}/sync", status_code=202, responses=declared(404))
async def request_sync(connection: Connection, key: Key) -> SyncRequested:
    """Ask for a sync now."""
    requested_at = await search.request_sync(connection, key)
    if requested_at is None:
        raise NotFound(f"no repository {key} that is scheduled: it may be unknown, suspended or refused")
    return SyncRequested(requested_at=requested_at)


@router.get("/problems")
async def list_problems(connection: Connection) -> Problems:
    """Documents of the manifest sources that cannot be used, with file and line."""
    return Problems(items=[Problem.model_validate(row) for row in await search.problems(connection)])


def repository_of(row: Row) -> Repository:
    """A row of catalog.search.list_repositories as the API says it."""
    return Repository.model_validate(_condition(row))


def _condition(row: Row) -> dict[str, Any]:
    """The row with its condition in words: what stands in the way, or how far it is."""
    reason, message = _reason(row)
    revision = row["body_sha256"] and f"sha256:{row['body_sha256'].hex()}"
    return {**row, "reason": reason, "message": message, "revision": revision, "notes_total": row["notes_total"] or 0}


def _reason(row: Row) -> tuple[str, str]:
    if row["problem_reason"] or row["problem"]:
        return row["problem_reason"] or "InvalidRepository", row["problem"] or ""
    match row["outcome"], row["state"]:
        case "done", _:
            return "Synced", "in step with its upstream"
        case None, "running":
            return "Syncing", "the first sync is running"
        case None, _:
            return "Pending", "waiting for the first sync"
        case outcome, _:
            return row["error_class"] or outcome.capitalize(), row["error"] or "the run ended without saying why"
