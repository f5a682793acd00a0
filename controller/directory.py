"""A directory of manifests as the source of resources, watched for change; deletions with care.

A missing or unreadable directory, or a file that no longer parses, deletes nothing. A repository's document must be absent from complete
scans for two seconds before its rows go, so that a file being rewritten loses nothing.
"""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import psycopg
import structlog
from sqlalchemy.exc import DBAPIError

from catalog.documents import is_manifest
from catalog.errors import CatalogError
from catalog.model import Applied, Problem, RepositoryKey
from controller.backends import Backend
from controller.documents import Scan, interpret
from controller.plan import Action, plan, plan_removals

log = structlog.get_logger()
LOOK_EVERY = 0.5  # seconds between looks at the files' stamps
COMPARE_EVERY = 30.0  # seconds between comparisons with the database when no file changed
ABSENT_FOR = 2.0  # seconds
LARGEST_FILE = 16 * 1024 * 1024  # bytes

Stamps = dict[str, tuple[int, int, int]]


@dataclass(slots=True)
class Directory:
    """The source: where it is, which repositories are missing since when, and in which file each was last seen."""

    path: Path
    source: str
    backend: Backend
    missing: dict[RepositoryKey, float] = field(default_factory=dict)
    files: dict[RepositoryKey, str] = field(default_factory=dict)

    async def follow(self, stop: asyncio.Event) -> None:
        """Bring the backend in line with the directory, now and whenever it changes; while that is away, wait."""
        while not stop.is_set():
            try:
                await self._follow(stop)
            except (CatalogError, DBAPIError, psycopg.OperationalError) as error:
                if isinstance(error, CatalogError) and not error.transient:
                    raise
                log.warning("PostgreSQL or the API server is away", action="wait", error=str(error).splitlines()[0])
                await _pause(stop, 1)

    async def _follow(self, stop: asyncio.Event) -> None:
        clock = asyncio.get_running_loop().time
        seen: Stamps | None = None
        compared = 0.0
        while not stop.is_set():
            stamps = await self._stamps()
            if stamps != seen or self.missing or clock() - compared > COMPARE_EVERY:
                await self.compare(clock(), first=stamps != seen)
                seen, compared = stamps, clock()
            await _pause(stop, LOOK_EVERY)

    async def compare(self, now: float, *, first: bool = True) -> None:
        """One look: what is asked for against what is applied. `first`: say the problems, too."""
        scan = interpret(await self._texts(), self.source)
        applied = await self.backend.applied(self.source)
        for key, desired in scan.desired.items():
            if key not in applied and (owner := await self.backend.owner(key)) not in (None, self.source):
                scan.problems.append(Problem(str(self.path), 0, key.namespace, key.name, f"{key} belongs to another source, {owner}"))
                continue
            await self._apply(plan(desired, applied.get(key), self.backend.mark(desired), uuid4().hex))
        await self._apply(plan_removals(self._gone(scan, applied, now)))
        if first:
            await self._say(scan.problems)

    def _gone(self, scan: Scan, applied: dict[RepositoryKey, Applied], now: float) -> dict[RepositoryKey, Applied]:
        """Applied repositories that were absent from complete scans for long enough."""
        if not scan.complete:
            self.missing.clear()
            return {}
        self.files |= scan.files
        absent = {key for key in applied.keys() - scan.desired.keys() - scan.unusable if not self._in_doubt(key, scan)}
        self.missing = {key: self.missing.get(key, now) for key in absent}
        gone = {key: applied[key] for key, since in self.missing.items() if now - since >= ABSENT_FOR}
        for key in gone:
            del self.missing[key]
        return gone

    def _in_doubt(self, key: RepositoryKey, scan: Scan) -> bool:
        """Whether a document that cannot be used may be this repository's: it stands in its file, or nobody knows which that was."""
        return self.files.get(key) in scan.doubtful if key in self.files else bool(scan.doubtful)

    async def _apply(self, actions: tuple[Action, ...]) -> None:
        if actions:
            await self.backend.apply(actions)
        for action in actions:
            log.info("applied", action=type(action).__name__, repository=str(action.key))

    async def _say(self, problems: list[Problem]) -> None:
        await self.backend.say(self.source, problems)
        for problem in problems:
            log.error("a document cannot be used", action="refuse", file=problem.file, line=problem.line, error=problem.message)

    async def _stamps(self) -> Stamps:
        return await asyncio.to_thread(stamps_of, self.path)

    async def _texts(self) -> dict[str, str | OSError | UnicodeDecodeError]:
        return await asyncio.to_thread(texts_of, self.path)


def stamps_of(directory: Path) -> Stamps:
    """What tells a changed file: its time, size and inode. An unreadable directory has none."""
    try:
        return {path.name: ((status := path.stat()).st_mtime_ns, status.st_size, status.st_ino) for path in manifests_in(directory)}
    except OSError:
        return {}


def texts_of(directory: Path) -> dict[str, str | OSError | UnicodeDecodeError]:
    """The texts of all manifests; what cannot be read stands as its error, the directory itself as one under its own name."""
    texts: dict[str, str | OSError | UnicodeDecodeError] = {}
    try:
        paths = manifests_in(directory)
    except OSError as error:
        return {str(directory): error}
    for path in paths:
        try:
            if path.stat().st_size > LARGEST_FILE:
                raise OSError(f"larger than {LARGEST_FILE:,} bytes")
            texts[path.name] = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            texts[path.name] = error
    return texts


def manifests_in(directory: Path) -> list[Path]:
    return sorted(path for path in directory.iterdir() if is_manifest(path.name))


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return
