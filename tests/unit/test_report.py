"""A run's summary always fits into a termination message, and is read back whatever else may stand there."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.report import MOST_MESSAGE, Held, Note, Summary, summary_in

SUMMARY = Summary(
    job="sync",
    repository="kubeapps/bitnami",
    state="failed",
    run=7,
    charts=120,
    versions=4096,
    notes=4,
    first_notes=("app 1.0: no semantic version (OddVersion)",),
    revision="ab" * 32,
    error_class="RemovalsHeld",
    error="the listing lost 90 of 100 versions",
    transient=False,
    held=Held("Shrunk", 90),
    started_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    finished_at=datetime(2026, 1, 2, 3, 4, 6, tzinfo=UTC),
)
numbers = st.integers(min_value=0, max_value=2**62) | st.none()
anything = st.text(max_size=6000)
times = st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(9000, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
summaries = st.builds(
    Summary, job=anything, repository=anything, run=numbers, charts=numbers, notes=numbers, error=anything, revision=anything,
    first_notes=st.lists(anything, max_size=3).map(tuple), held=st.none() | st.builds(Held, anything, st.integers(0, 2**31)),
    started_at=times, finished_at=times,
)  # fmt: skip


def test_a_summary_is_read_as_it_was_written() -> None:
    assert summary_in(SUMMARY.message()) == SUMMARY


@given(summaries)
def test_every_summary_fits_and_is_read_back(summary: Summary) -> None:
    message = summary.message()
    assert len(message.encode()) <= MOST_MESSAGE
    read = summary_in(message)
    assert read
    assert (read.state, read.run, read.charts, read.notes) == (summary.state, summary.run, summary.charts, summary.notes)
    assert len(read.first_notes) == len(summary.first_notes)


def test_long_texts_are_cut_before_anything_else() -> None:
    long = Summary("sync", "n/r", "failed", charts=3, error="é" * 4000, first_notes=("x" * 900, "y" * 900, "short"))
    read = summary_in(long.message())
    assert read
    assert (read.repository, read.charts, read.first_notes[2], read.error and read.error[-2:]) == ("n/r", 3, "short", "é…")


def test_times_are_in_utc_to_the_second() -> None:
    written = json.loads(SUMMARY.message())
    assert (written["started_at"], written["finished_at"]) == ("2026-01-02T03:04:05Z", "2026-01-02T03:04:06Z")


def test_half_a_character_of_an_argument_is_no_reason_to_say_nothing() -> None:
    read = summary_in(Summary("sync", "n/\udc80", "failed").message())
    assert read == Summary("sync", "n/?", "failed")


def test_what_a_newer_worker_says_besides_is_passed_over() -> None:
    assert summary_in('{"job": "sync", "repository": "a/b", "state": "done", "mood": {"good": true}}') == Summary("sync", "a/b", "done")


@pytest.mark.parametrize(
    "message",
    [
        *("", " ", "Killed", "{", "[]", "7", "null", '"sync"', "{}", SUMMARY.message()[:-1], "\udc80", "[" * 100_000),
        '{"job": "sync", "repository": "a/b", "state": "running"}',
        '{"job": "sync", "repository": "a/b", "state": "done", "charts": "many"}',
        '{"action": "done", "run": 7, "event": "sync done", "level": "info"}',
    ],
)
def test_what_is_no_summary_is_none(message: str) -> None:
    assert summary_in(message) is None


def test_a_notes_text_names_the_entry_and_its_reason() -> None:
    assert str(Note("app", "1.0", "OddVersion", "is odd")) == "app 1.0: is odd (OddVersion)"
    assert str(Note("", "", "UnknownField", "is unknown")) == "is unknown (UnknownField)"
