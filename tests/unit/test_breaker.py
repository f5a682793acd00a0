"""Which listings look like an accident: cases for the pure half of the removal breaker."""

from datetime import UTC, datetime

import pytest

from worker.breaker import Age, accident, held_because

OLD, NEW = datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 2, 1, tzinfo=UTC)
UNKNOWN = Age(None, None)

# (removed, changed, listed before, listed now) → what it looks like
CASES = {
    "nothing was known": (0, 0, 0, 0, None),
    "a first listing": (0, 0, 0, 50, None),
    "nothing goes": (0, 0, 50, 50, None),
    "an empty one": (50, 0, 50, 0, "Empty"),
    "an empty one after a single version": (1, 0, 1, 0, "Empty"),
    "nine of ten": (9, 0, 10, 1, None),
    "ten of eleven": (10, 0, 11, 1, "Shrunk"),
    "ten of fifty, which is a fifth": (10, 0, 50, 40, None),
    "ten of forty-nine, which is more": (10, 0, 49, 39, "Shrunk"),
    "a fifth of a thousand": (200, 0, 1000, 800, None),
    "one more than a fifth of a thousand": (201, 0, 1000, 799, "Shrunk"),
    "as many come as go": (30, 0, 100, 100, "Shrunk"),
    "all change and none goes": (0, 1000, 1000, 1000, None),
    "4,095 versions become two": (4093, 0, 4095, 2, "Shrunk"),
    "4,095 versions become one": (4094, 0, 4095, 1, "Shrunk"),
}


@pytest.mark.parametrize("name", CASES)
def test_a_listing_is_judged_by_what_it_takes_away(name: str) -> None:
    removed, changed, before, listed, expected = CASES[name]
    assert accident({"removed": removed, "changed": changed}, before, listed, UNKNOWN, UNKNOWN) == expected


# (removed, changed, generated and newest `created` of the new listing, of the applied one) → whether it is a stale copy
AGES = {
    "both older, one goes": (1, 0, Age(OLD, OLD), Age(NEW, NEW), "Stale"),
    "both older, one changes": (0, 1, Age(OLD, OLD), Age(NEW, NEW), "Stale"),
    "both older, nothing is taken away": (0, 0, Age(OLD, OLD), Age(NEW, NEW), None),
    "the same ages": (1, 1, Age(NEW, NEW), Age(NEW, NEW), None),
    "newer": (1, 1, Age(NEW, NEW), Age(OLD, OLD), None),
    "generated anew, its newest version withdrawn": (1, 0, Age(NEW, OLD), Age(OLD, NEW), None),
    "older by its stamp alone": (1, 0, Age(OLD, NEW), Age(NEW, NEW), None),
    "no stamp of its own": (1, 0, Age(None, OLD), Age(NEW, NEW), None),
    "no stamp before": (1, 0, Age(OLD, OLD), Age(None, NEW), None),
    "no time in any entry": (1, 0, Age(OLD, None), Age(NEW, None), None),
}


@pytest.mark.parametrize("name", AGES)
def test_a_stale_copy_is_older_by_its_stamp_and_by_its_entries(name: str) -> None:
    removed, changed, age, applied, expected = AGES[name]
    assert accident({"removed": removed, "changed": changed}, 100, 100, age, applied) == expected


@pytest.mark.parametrize(
    ("reason", "said"),
    [("Empty", "empty: the 4,095 versions"), ("Shrunk", "lacks 4,093 of 4,095 versions"), ("Stale", "older than the one applied")],
)
def test_what_is_held_is_said_with_counts_and_the_way_out(reason: str, said: str) -> None:
    text = held_because(reason, 4093, 4095, 2)
    assert said in text
    assert "read 3 times over 6 h (read 2 times so far)" in text
    assert "chartfleet repo release" in text
