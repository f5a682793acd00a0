"""`spec.interval` → when: Kubeapps' conversion to cron text for CronJobs, true intervals for the fleet. Pure.

A duration is Go's ("10m", "1h30m"). The fleet runs it as anchor + k · period, the anchor spread over the period by the repository's
name, so that a thousand repositories of one period do not fire in one second. Everything is UTC.
"""

import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import blake2b

from croniter import CroniterError, croniter

from catalog.cron import cron_problem

DEFAULT_CRONTAB = "*/10 * * * *"
SHORTEST = timedelta(minutes=1)  # what Kubeapps' cron text can say at most
LONGEST = timedelta(days=372)  # and at least: twelve months of 31 days
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)")
_EPOCH = datetime(2020, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Every:
    period: timedelta


@dataclass(frozen=True, slots=True)
class Cron:
    text: str


Schedule = Every | Cron


def go_duration(text: str) -> float:
    """Go's time.ParseDuration, in seconds; ValueError where Go errs."""
    sign, body = (-1, text[1:]) if text.startswith("-") else (1, text.removeprefix("+"))
    if body == "0":
        return 0.0
    parts = _PART.findall(body)
    if not parts or "".join(number + unit for number, unit in parts) != body:
        raise ValueError(f"{text!r} is neither a cron expression nor a duration such as 10m or 2h")
    return sign * sum(float(number) * _UNITS[unit] for number, unit in parts)


def parse(interval: str) -> Schedule:
    """What a resource's `spec.interval` means to the fleet. ValueError says what is wrong with it."""
    text = interval.strip()
    if not text or text == DEFAULT_CRONTAB:
        return Every(timedelta(minutes=10))
    if _is_cron(text):
        return Cron(_checked_cron(text))
    seconds = go_duration(text)
    if not 0 < seconds <= LONGEST.total_seconds():
        raise ValueError(f"{text!r} must be a positive duration of at most {LONGEST.days} days")
    return Every(max(timedelta(seconds=seconds), SHORTEST))


def next_due(schedule: Schedule, name: str, after: datetime) -> datetime:
    """The first due time later than `after`; `name` spreads intervals."""
    match schedule:
        case Cron(text):
            return croniter(text.replace("?", "*"), after.astimezone(UTC)).get_next(datetime)  # croniter's `?` is not Kubernetes'
        case Every(period):
            anchor = _EPOCH + period * (int.from_bytes(blake2b(name.encode(), digest_size=4).digest()) / 2**32)
            return anchor + period * (math.floor((after - anchor) / period) + 1)


def cron_job_schedule(interval: str, default: str = DEFAULT_CRONTAB, name: str | None = None) -> tuple[str, str | None]:
    """A CronJob's schedule, and what is wrong with the interval when the default stands for it. With a `name` the default is spread."""
    try:
        parse(interval)
    except ValueError as error:
        return spread(default, name), str(error)
    return (cron_text(interval, default) if interval.strip() else spread(default, name)), None


def spread(crontab: str, name: str | None) -> str:
    """`*/N * * * *` begun at a minute that the name decides, as often an hour as before; any other text as it is."""
    every = re.fullmatch(r"\*/([1-9]\d?) \* \* \* \*", crontab)
    if name is None or every is None:
        return crontab
    period = int(every[1])
    minute = int.from_bytes(blake2b(name.encode(), digest_size=4).digest()) % (59 % period + 1)
    return f"{minute}-59/{period} * * * *"


def cron_text(interval: str, default: str = DEFAULT_CRONTAB) -> str:
    """Kubeapps' conversion: a cron expression verbatim, a duration rounded up to minutes, hours, days or months."""
    text = interval.strip()
    if _is_cron(text):
        return interval
    if not text:
        return default
    try:
        minutes = math.ceil(go_duration(text) / 60)
    except ValueError:
        return default
    hours, days = math.ceil(minutes / 60), math.ceil(math.ceil(minutes / 60) / 24)
    months = math.ceil(days / 31)
    return next(
        (
            line
            for limit, value, line in (
                (60, minutes, f"*/{minutes} * * * *"),
                (24, hours, f"0 */{hours} * * *"),
                (32, days, f"0 0 */{days} * *"),
                (13, months, f"0 0 1 */{months} *"),
            )
            if value < limit
        ),
        default,
    )


def _is_cron(text: str) -> bool:
    return text.startswith("@") or len(text.split()) > 1


def _checked_cron(text: str) -> str:
    """The expression as croniter runs it. ValueError for what Kubernetes would not take, and for a date that never comes."""
    if wrong := cron_problem(text):
        raise ValueError(f"{text!r} is not a usable cron expression: {wrong}")
    try:
        croniter(text.replace("?", "*"), _EPOCH).get_next(datetime)
    except CroniterError as error:
        raise ValueError(f"{text!r} is not a usable cron expression: {error}") from None
    return text.replace("?", "*")
