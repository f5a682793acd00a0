"""What a host asks for when it has had enough."""

from datetime import UTC, datetime

import pytest

from worker.patience import Patience, patience, rate_limit, retry_after

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("", None),
        ("7", 7.0),
        ("999999999", 86_400.0),
        ("Thu, 01 Jan 2026 00:02:00 GMT", 120.0),
        ("Wed, 31 Dec 2025 00:00:00 GMT", 0.0),
        ("soon", None),
    ],
)
def test_a_retry_after_is_a_number_of_seconds_or_a_date(header: str | None, seconds: float | None) -> None:
    assert retry_after(header, NOW) == seconds


@pytest.mark.parametrize(
    ("headers", "remaining", "reset", "rate"),
    [
        ({}, None, None, None),
        ({"RateLimit": '"default";r=50;t=30', "RateLimit-Policy": '"default";q=100;w=60'}, 50, 30, 100 / 60),
        ({"RateLimit": '"a";r=5;t=1, "b";r=0;t=30'}, 0, 30, None),
        ({"RateLimit": "limit=100, remaining=0, reset=7"}, 0, 7, None),
        ({"RateLimit-Limit": "100, 100;w=10", "RateLimit-Remaining": "0", "RateLimit-Reset": "7"}, 0, 7, 10),
        ({"RateLimit-Limit": "100;w=21600", "RateLimit-Remaining": "76;w=21600"}, 76, None, 100 / 21600),
        ({"X-RateLimit-Limit": "60", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(int(NOW.timestamp()) + 90)}, 0, 90, None),
        ({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "99999999"}, 0, 86_400, None),
        ({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1700000000"}, 0, 0, None),
        ({"RateLimit": "nonsense;r=;t=x", "RateLimit-Policy": "q=0;w=0"}, None, None, None),
    ],
)
def test_rate_limits_are_read_in_every_form(
    headers: dict[str, str], remaining: float | None, reset: float | None, rate: float | None
) -> None:
    limit = rate_limit(headers, NOW)
    assert (limit.remaining, limit.reset, limit.rate) == (remaining, reset, rate)


@pytest.mark.parametrize(
    ("status", "headers", "asked"),
    [
        (200, {}, None),
        (304, {"RateLimit-Remaining": "1", "RateLimit-Reset": "9"}, None),
        (200, {"RateLimit-Remaining": "0", "RateLimit-Reset": "9"}, Patience(9)),
        (200, {"RateLimit-Remaining": "0", "RateLimit-Reset": "0"}, None),
        (200, {"Retry-After": "9"}, None),
        (429, {}, Patience()),
        (429, {"Retry-After": "0"}, Patience()),
        (429, {"Retry-After": "9", "RateLimit-Policy": '"x";q=10;w=5'}, Patience(9, 2)),
        (503, {}, None),
        (503, {"Retry-After": "9"}, Patience(9)),
        (403, {}, None),
        (403, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "60"}, Patience(60)),
        (404, {}, None),
    ],
)
def test_patience_is_asked_for_in_so_many_words(status: int, headers: dict[str, str], asked: Patience | None) -> None:
    assert patience(status, headers, NOW) == asked
