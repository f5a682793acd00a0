"""Intervals: Kubeapps' cron text and the fleet's true periods."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from catalog.schedule import Cron, Every, cron_text, next_due, parse

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("interval", "expected"),
    [
        *((text, "*/1 * * * *") for text in ("2ns", "2us", "2ms", "2s", "1m")),
        ("2m", "*/2 * * * *"),
        ("15m", "*/15 * * * *"),
        ("2h", "0 */2 * * *"),
        ("72h", "0 0 */3 * *"),
        ("1460h", "0 0 1 */2 *"),
        ("17532h", "*/10 * * * *"),
        ("1d", "*/10 * * * *"),
        ("", "*/10 * * * *"),
        ("*/2 */2 */2 */2 1-5", "*/2 */2 */2 */2 1-5"),
        ("90m", "0 */2 * * *"),
    ],
)
def test_an_interval_becomes_kubeapps_cron_text(interval: str, expected: str) -> None:
    assert cron_text(interval) == expected


@pytest.mark.parametrize(
    ("interval", "period"),
    [("45m", 45), ("1h30m", 90), ("24h", 1440), ("2s", 1), ("", 10), (" 10m ", 10), ("1.5h", 90), ("*/10 * * * *", 10)],
)
def test_the_fleet_keeps_true_periods_of_at_least_a_minute(interval: str, period: int) -> None:
    assert parse(interval) == Every(timedelta(minutes=period))


@pytest.mark.parametrize(
    "interval", ["1d", "0s", "-5m", "x", "60 * * * *", "0 0 31 2 *", "@every 5m", "* * * * * *", "9999999h", "1 2 3", "10"]
)
def test_an_interval_that_is_none_is_refused_with_its_text(interval: str) -> None:
    with pytest.raises(ValueError, match=r"fields|usable|duration|positive"):
        parse(interval)


def test_ticks_of_a_period_are_anchored_and_never_drift() -> None:
    every, at = Every(timedelta(minutes=45)), NOW
    ticks = [at := next_due(every, "default/a", at) for _ in range(50)]
    assert {later - sooner for sooner, later in pairwise(ticks)} == {timedelta(minutes=45)}
    assert next_due(every, "default/a", NOW + timedelta(seconds=1)) == ticks[0]


def test_a_tick_is_always_later_than_the_moment_asked_about() -> None:
    every = Every(timedelta(minutes=10))
    due = next_due(every, "default/a", NOW)
    assert next_due(every, "default/a", due) == due + timedelta(minutes=10)


def test_a_thousand_repositories_of_one_period_do_not_fire_together() -> None:
    every = Every(timedelta(minutes=10))
    seconds = {int(next_due(every, f"default/repo-{n}", NOW).timestamp()) for n in range(1000)}
    assert len(seconds) > 400


def test_cron_is_read_in_utc() -> None:
    berlin = NOW.astimezone(__import__("zoneinfo").ZoneInfo("Europe/Berlin"))
    assert next_due(Cron("30 2 * * *"), "x", berlin) == datetime(2026, 1, 3, 2, 30, tzinfo=UTC)
