"""What reading archives comes to."""

import random
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from catalog.contents import FileWork, ReadArchive
from catalog.errors import CatalogError, LimitExceeded, SourceMalformed, SourceRefused, SourceUnavailable
from catalog.report import MOST_NOTES, Report
from tests.fakes.helm_repo import archive
from worker.findings import BATCH, BATCH_AGE, BATCH_BYTES, Batch, HostSilent, backoff, found_in, most_hopeful, note_mismatch

WORK = FileWork(1, "a", "1.0.0", ["a.tgz"], None, newest=True, attempts=0, due=datetime(2026, 1, 2, tzinfo=UTC))


def read(listed: str | None, digest: str) -> ReadArchive:
    return ReadArchive(replace(WORK, digest=listed), digest, {}, 0, [], [], None)


@pytest.mark.parametrize(
    ("attempts", "error", "low", "high"),
    [
        (0, SourceUnavailable("x"), 48, 72),
        (3, SourceUnavailable("x"), 384, 576),
        (30_000, SourceUnavailable("x"), 69_120, 103_680),
        (0, SourceUnavailable("x", retry_after=7200.0), 7200, 7200),
        (9, HostSilent("x", retry_after=70.0), 70, 70),
        (0, SourceRefused("x"), 69_120, 103_680),
        (0, LimitExceeded("x"), 69_120, 103_680),
    ],
)
def test_the_wait_doubles_up_to_a_day_and_obeys_the_remote(attempts: int, error: CatalogError, low: float, high: float) -> None:
    assert low <= backoff(attempts, error, 0.0) <= backoff(attempts, error, 1.0) <= high + 1


@pytest.mark.parametrize(
    ("listed", "as_listed"), [("ab", True), ("sha256:ab", True), ("AB", True), (None, None), ("", None), ("cd", False), ("sha256:", False)]
)
def test_digests_are_compared_with_and_without_their_prefix(listed: str | None, as_listed: bool | None) -> None:
    assert read(listed, "ab").as_listed is as_listed


def test_a_mismatch_is_a_note_with_both_digests_and_notes_are_counted_beyond_those_kept() -> None:
    report = Report()
    note_mismatch(report, read("ab", "ab"))
    assert report.notes is None
    for _ in range(MOST_NOTES + 1):
        note_mismatch(report, read("ab", "cd"))
    assert report.notes
    assert (len(report.notes), report.notes_total) == (MOST_NOTES, MOST_NOTES + 1)
    assert (report.notes[0].chart, report.notes[0].version, report.notes[0].reason) == ("a", "1.0.0", "DigestMismatch")
    assert "lists ab" in report.notes[0].message
    assert "is cd" in report.notes[0].message


def test_of_several_urls_the_error_that_may_mend_itself_says_when_to_come_back() -> None:
    refused, away = SourceRefused("404"), SourceUnavailable("503")
    assert most_hopeful([refused, away, SourceUnavailable("another")]) is away
    assert most_hopeful([refused, SourceMalformed("html")]) is refused
    assert "names no url" in str(most_hopeful([]))


def test_a_batch_is_full_by_number_by_bytes_or_by_age_and_shared_contents_weigh_once() -> None:
    batch, large = Batch(begun=0.0), random.Random(1).randbytes(BATCH_BYTES // 8).hex()
    assert not batch.is_full(BATCH_AGE + 1), "it is empty"
    found = found_in(WORK, archive("a", README__md=large), signed=None)
    for _ in range(5):
        batch.add(found)
    assert batch.size < BATCH_BYTES // 2
    assert not batch.is_full(BATCH_AGE - 1)
    assert batch.is_full(BATCH_AGE + 1)
    for _ in range(BATCH - 5):
        batch.add(found)
    assert batch.is_full(0.0)
    heavy = Batch(begun=0.0)
    for n in range(4):
        heavy.add(found_in(WORK, archive("a", README__md=large, values__yaml=str(n)), signed=None))
        heavy.add(found_in(WORK, archive("a", README__md=large[:-1] + str(n)), signed=None))
    assert heavy.is_full(0.0)
