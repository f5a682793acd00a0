"""Intervals: Kubeapps' cron text and the fleet's true periods."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.cron import cron_problem
from catalog.schedule import Cron, Every, cron_job_schedule, cron_text, next_due, parse, spread

# As CronJobs' schedules, which a real API server is asked too.
TAKEN = [
    *("* * * * *", "*/7 * * * *", "? 0 ? * ?", "1-5/2 * * * *", "1,2,3 * * * *", "5/15 * * * *", "59 23 31 12 6", "*/90 * * * *"),
    *("0 4 * * MON-FRI", "0 4 * jan,Dec *", "  0 4 * * *  ", "0  4  *  *  *"),
    *("@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"),
]
REFUSED = [
    *("", "never", "@always", "@5minutes", "@every 5m", "@reboot", "@daily now", "TZ=UTC 0 4 * * *", "CRON_TZ=UTC 0 4 * * *"),
    *("* * * *", "0 * * * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * 32 * *", "* * * 0 *", "* * * 13 *", "* * * * 7"),
    *("*/0 * * * *", "*/-5 * * * *", "-5 * * * *", "5-1 * * * *", "1-2-3 * * * *", "1/2/3 * * * *", "1, * * * *", "x * * * *"),
    *("0 0 L * *", "0 0 * * 5#2", "0 0 15W * *", "0 mon * * *", "*/\u0661 * * * *", "9999999999 * * * *"),
]
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
    "interval", ["1d", "0s", "-5m", "x", "60 * * * *", "0 0 31 2 *", "@every 5m", "* * * * * *", "9999999h", "1 2 3", "10", "0 0 * * 7"]
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


@pytest.mark.parametrize("text", TAKEN)
def test_what_kubernetes_takes_has_a_next_time(text: str) -> None:
    assert next_due(Cron(cron_text(text)), "x", NOW) > NOW


def test_a_question_mark_is_a_star_to_the_fleet() -> None:
    assert parse("0 4 ? * *") == Cron("0 4 * * *")


@pytest.mark.parametrize("text", TAKEN)
def test_kubernetes_takes_these(text: str) -> None:
    assert cron_problem(text) is None


@pytest.mark.parametrize("text", REFUSED)
def test_kubernetes_refuses_these_and_a_reason_is_given(text: str) -> None:
    assert cron_problem(text)


@pytest.mark.parametrize("interval", ["0s", "-5m", "1d", "* * * *", "0 0 * * 7", "@5minutes", "TZ=UTC 0 4 * * *", "@every 5m", "8929h"])
def test_an_interval_that_kubernetes_cannot_keep_gives_the_default_and_is_said(interval: str) -> None:
    text, wrong = cron_job_schedule(interval, "7 */3 * * *")
    assert (text, bool(wrong)) == ("7 */3 * * *", True)


def test_blanks_around_a_duration_are_passed_over() -> None:
    assert cron_job_schedule(" 15m") == ("*/15 * * * *", None)


def test_a_date_that_never_comes_gives_the_default_and_is_said() -> None:
    text, wrong = cron_job_schedule("0 0 31 2 *")
    assert (text, bool(wrong)) == ("*/10 * * * *", True)


@given(st.integers(1, 59), st.text())
def test_a_spread_schedule_runs_as_often_as_before_and_is_one_of_kubernetes(period: int, name: str) -> None:
    text = spread(f"*/{period} * * * *", name)
    assert cron_problem(text) is None
    begin = int(text.partition("-")[0])
    assert begin < period
    assert len(range(begin, 60, period)) == len(range(0, 60, period))


def test_the_default_alone_is_spread_over_its_period_by_name() -> None:
    found = {cron_job_schedule("", name=f"default/repo-{n}")[0] for n in range(300)}
    assert found == {f"{minute}-59/10 * * * *" for minute in range(10)}
    assert cron_job_schedule("1d", name="default/repo-1")[0] in found
    assert cron_job_schedule("10m", name="default/repo-1")[0] == "*/10 * * * *"
    assert cron_job_schedule("", "7 */3 * * *", "default/repo-1")[0] == "7 */3 * * *"
    assert cron_job_schedule("")[0] == "*/10 * * * *"
