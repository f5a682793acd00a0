"""Helm's version order as bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.versions import order_key

ASCENDING = [
    "0", "0.1", "0.1.1-0", "0.1.1", "1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta", "1.0.0-beta.2", "1.0.0-beta.11",
    "1.0.0-rc.1", "1.0.0",
    "v1.0.1", "1.1", "1.9.0", "1.10.0", "1.255.0", "1.256.0", "2.01.0-dev", "2.1.0", "10", "18446744073709551615.0.0",
]  # fmt: skip
REFUSED = ["", "x", "1.2.3.4", "1.0.0-01", "1.0.0-", "1..2", "18446744073709551616", "latest", "1.0.0 ", "٣.0.0", "-1", "1.0.0-a\0b", "1\n"]


def test_keys_ascend_as_helm_orders() -> None:
    keys = [order_key(version) for version in ASCENDING]
    assert keys == sorted(keys)
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("version", REFUSED)
def test_what_helm_refuses_is_refused(version: str) -> None:
    with pytest.raises(ValueError, match=r"version|number|zero"):
        order_key(version)


@pytest.mark.parametrize(("one", "other"), [("1.0.0+a", "1.0.0+b"), ("v1.2", "1.2.0"), ("1", "1.0.0"), ("01.2.0", "1.2.0")])
def test_build_metadata_prefix_and_missing_parts_do_not_count(one: str, other: str) -> None:
    assert order_key(one) == order_key(other)


numbers = st.integers(0, 2**64 - 1) | st.integers(0, 300)
fields = numbers.map(str) | st.from_regex(r"[a-zA-Z-][0-9A-Za-z-]{0,4}", fullmatch=True)
versions = st.tuples(numbers, numbers, numbers, st.lists(fields, max_size=4))


def semver(version: tuple[int, int, int, list[str]]) -> tuple[object, ...]:
    """The specification's precedence (semver.org, 11) as a tuple."""
    *release, prerelease = version
    return (*release, not prerelease, tuple((not f.isdigit(), int(f) if f.isdigit() else 0, f) for f in prerelease))


def written(version: tuple[int, int, int, list[str]]) -> str:
    major, minor, patch, prerelease = version
    return f"{major}.{minor}.{patch}" + ("-" + ".".join(prerelease) if prerelease else "")


@given(versions, versions)
def test_bytes_compare_as_the_specification_says(one: tuple[int, int, int, list[str]], other: tuple[int, int, int, list[str]]) -> None:
    expected = (semver(one) > semver(other)) - (semver(one) < semver(other))
    a, b = order_key(written(one)), order_key(written(other))
    assert (a > b) - (a < b) == expected
