"""Repositories: how their syncs stand, asking for one now, and releasing what is held."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends

from api.errors import NotFound, declared
from api.models import Held, Listed, Problem, Problems, Released, Repository, RepositoryDetail, SyncRequested
from api.params import Cursor, Limit, Segment, cursor_text, position_of
from api.store import Connection
from catalog import standing
from catalog.model import HELD_FOR, HELD_READS, RepositoryKey
from catalog.paging import Row, Slice
from catalog.report import revision_of
from catalog.standing import RepositoryPosition

router = APIRouter(prefix="/api/v1", tags=["repositories"], responses=declared(400, 422, 500, 503))


def repository_key(namespace: Segment, name: Segment) -> RepositoryKey:
    return RepositoryKey(namespace, name)


Key = Annotated[RepositoryKey, Depends(repository_key)]


@router.get("/repositories")
async def list_repositories(connection: Connection, limit: Limit = 50, cursor: Cursor = None) -> Listed[Repository]:
    """Repositories by namespace and name."""
    found = await standing.list_repositories(connection, Slice(limit, position_of(cursor, RepositoryPosition)))
    return Listed(items=[repository_of(row) for row in found.rows], total=found.total, next=cursor_text(found.next))


@router.get("/repositories/{namespace}/{name}", responses=declared(404))
async def show_repository(connection: Connection, key: Key) -> RepositoryDetail:
    """A repository with its last runs and what the last reading noted."""
    row = await standing.repository(connection, key)
    if row is None:
        raise NotFound(f"no repository {key}")
    more = {name: row[name] or [] for name in ("notes", "file_notes")} | {"file_notes_total": row["file_notes_total"] or 0}
    more["files_failing"] = await standing.failing_files(connection, row["id"])
    more["runs"] = await standing.latest_runs(connection, row["id"])
    return RepositoryDetail.model_validate({**_condition(row), **more})


@router.post("/repositories/{namespace}/{name}/sync", status_code=202, responses=declared(404))
async def request_sync(connection: Connection, key: Key) -> SyncRequested:
    """Ask for a sync now."""
    requested_at = await standing.request_sync(connection, key)
    if requested_at is None:
        raise NotFound(f"no repository {key} that is scheduled: it may be unknown, suspended or refused")
    return SyncRequested(requested_at=requested_at)


@router.post("/repositories/{namespace}/{name}/release", status_code=202, responses=declared(404))
async def release_held(connection: Connection, key: Key) -> Released:
    """Let the next sync, which is asked for, apply the removals of a held listing."""
    released_at = await standing.release_held(connection, key)
    if released_at is None:
        raise NotFound(f"nothing is held of repository {key}")
    return Released(released_at=released_at)


@router.get("/problems")
async def list_problems(connection: Connection) -> Problems:
    """Documents of the manifest sources that cannot be used, with file and line."""
    return Problems(items=[Problem.model_validate(row) for row in await standing.problems(connection)])


def repository_of(row: Row) -> Repository:
    """A row of catalog.standing.list_repositories as the API says it."""
    return Repository.model_validate(_condition(row))


def _condition(row: Row) -> dict[str, Any]:
    """The row with its condition in words: what stands in the way, or how far it is."""
    held = _held(row)
    reason, message = _reason(row, held)
    revision = revision_of(row["body_sha256"])
    return {**row, "reason": reason, "message": message, "revision": revision, "held": held, "notes_total": row["notes_total"] or 0}


def _held(row: Row) -> Held | None:
    if row["held_reason"] is None:
        return None
    facts = {name: row[f"held_{name}"] for name in ("reason", "removals", "versions", "reads")}
    return Held.model_validate({**row, **facts, "release_due_at": row["first_read_at"] + HELD_FOR})


def _reason(row: Row, held: Held | None) -> tuple[str, str]:
    if row["problem_reason"] or row["problem"]:
        return row["problem_reason"] or "InvalidRepository", row["problem"] or ""
    match row["outcome"], row["state"]:
        case "done", _:
            return "Synced", "in step with its upstream"
        case None, "running":
            return "Syncing", "the first sync is running"
        case None, _:
            return "Pending", "waiting for the first sync"
        case "failed", _ if held and row["error_class"] == "RemovalsHeld":
            return "RemovalsHeld", held_text(held, RepositoryKey(row["namespace"], row["name"]))
        case outcome, _:
            return row["error_class"] or outcome.capitalize(), row["error"] or "the run ended without saying why"


def held_text(held: Held, key: RepositoryKey) -> str:
    """What is held, and what lets it go."""
    what = {"Empty": "the listing is empty and", "Stale": "the listing is older than the one applied and"}.get(held.reason, "the listing")
    kept = f"{what} lacks {held.removals:,} of {held.removals + held.versions:,} versions: they are kept"
    if held.released_at:
        return f"{kept}; released at {_time(held.released_at)}: the next sync applies it"
    # Without `reads`: who follows this text would be told anew with each of them.
    return (
        f"{kept} since {_time(held.first_read_at)}. Once it was read {HELD_READS} times, and still is after {_time(held.release_due_at)},"
        f" it is applied; `chartfleet repo release {key.name} -n {key.namespace}` applies it now"
    )


def _time(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"
