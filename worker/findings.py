"""What reading archives comes to: what was found, what comes back later, and the batch in which both are stored. Pure."""

from dataclasses import dataclass, field
from hashlib import sha256

from catalog.contents import FileWork, Postponed, ReadArchive
from catalog.errors import CatalogError, SourceMalformed, SourceUnavailable
from catalog.report import MOST_NOTES, MOST_TEXT, Note, Report
from worker.archive import read_archive

BATCH, BATCH_BYTES, BATCH_AGE = 256, 8 * 1024 * 1024, 5.0  # archives, bytes of contents, seconds: the first that is reached
DAY = 86_400.0


class HostSilent(SourceUnavailable):
    """The host's archives wait together: `retry_after` is exactly how long."""


@dataclass(frozen=True, slots=True)
class Found:
    """An archive that was read, with its files' contents by SHA-256."""

    archive: ReadArchive
    contents: dict[bytes, bytes]


@dataclass(slots=True)
class Batch:
    """What is read and not yet stored. `contents` by SHA-256, so that what versions share is held once."""

    begun: float
    read: list[ReadArchive] = field(default_factory=list)
    failed: list[Postponed] = field(default_factory=list)
    contents: dict[bytes, bytes] = field(default_factory=dict)
    size: int = 0

    def add(self, outcome: Found | Postponed) -> None:
        if isinstance(outcome, Postponed):
            self.failed.append(outcome)
            return
        self.read.append(outcome.archive)
        self.size += sum(len(content) for key, content in outcome.contents.items() if key not in self.contents)
        self.contents.update(outcome.contents)

    def is_full(self, now: float) -> bool:
        count = len(self.read) + len(self.failed)
        return count >= BATCH or self.size >= BATCH_BYTES or (count > 0 and now - self.begun > BATCH_AGE)


def found_in(work: FileWork, packed: bytes, signed: bool | None) -> Found:
    """What is to be stored of an archive. Raises SourceMalformed or LimitExceeded."""
    archive = read_archive(packed)
    names = {name: sha256(content).digest() for name, content in archive.files.items()}
    read = ReadArchive(work, sha256(packed).hexdigest(), names, archive.templates, archive.dependencies, archive.images, signed)
    return Found(read, dict(zip(names.values(), archive.files.values(), strict=True)))


def note_mismatch(report: Report, archive: ReadArchive) -> None:
    """Say in the run's notes if an archive is not the one that the index lists."""
    if archive.as_listed is not False:
        return
    report.notes, report.notes_total = report.notes or [], (report.notes_total or 0) + 1
    if len(report.notes) < MOST_NOTES:
        text = f"the index lists {archive.work.digest}, the archive's SHA-256 is {archive.digest}; its files are kept"
        report.notes.append(Note(archive.work.chart, archive.work.version, "DigestMismatch", text[:MOST_TEXT]))


def most_hopeful(errors: list[CatalogError]) -> CatalogError:
    """The error that tells when to come back: the first that may mend itself, else the first."""
    return next((error for error in errors if error.transient), errors[0] if errors else SourceMalformed("the index names no url for it"))


def backoff(attempts: int, error: CatalogError, chance: float) -> float:
    """Seconds until the next attempt, ± 20 %: a minute, doubled up to a day; at least what the remote asks; a day if a person must help."""
    asked: float = getattr(error, "retry_after", None) or 0.0
    if isinstance(error, HostSilent):
        return asked
    wait = min(DAY, 60.0 * 2 ** min(attempts, 12)) if error.transient else DAY
    return max(wait * (0.8 + 0.4 * chance), asked)
