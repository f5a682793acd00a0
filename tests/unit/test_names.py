"""Names of Kubernetes' objects: Kubeapps' where valid, always valid, never shared."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.model import RepositoryKey
from controller.names import (
    DNS_LABEL,
    LABEL_VALUE,
    SUBDOMAIN,
    clean_up_name,
    clean_up_prefix,
    copied_secret_name,
    cron_job_name,
    label_value,
    one_off_name,
    spare_name,
    volume_name,
)

LONG = "a-really-long-long-long-but-valid-namespace-under-63-characters"
LONG_NAME = "a-really-long-long-long-long-but-valid-name-under-63-characters"
NAMESPACES = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", fullmatch=True)
NAMES = st.lists(st.from_regex(r"[a-z0-9]([-a-z0-9]{0,40}[a-z0-9])?", fullmatch=True), min_size=1, max_size=6).map(".".join)


@pytest.mark.parametrize(
    ("namespace", "name", "expected"),
    [
        ("foo", "bar", "apprepo-foo-sync-bar"),
        ("foo" * 6 + "f", "bar" * 6 + "b", "apprepo-foofoofoofoofoofoof-sync-barbarbarbarbarbarb"),
        ("foo" * 7, "bar" * 7, "apprepo-foofoofo-645137792-sync-barbarba-620299591"),
        ("foo" * 8, "bar" * 8, "apprepo-foofoofo-963839684-sync-barbarba-925369980"),
        ("otherns", "my-charts-in-otherns", "apprepo-otherns-sync-my-chart-482411688"),
        (LONG, LONG_NAME, "apprepo-a-really-914363477-sync-a-really-839652390"),
        ("my-other-namespace", "my-charts", "apprepo-my-other-namespace-sync-my-charts"),
    ],
)
def test_a_cron_job_has_the_name_that_kubeapps_gives_it(namespace: str, name: str, expected: str) -> None:
    assert cron_job_name(RepositoryKey(namespace, name)) == expected


@pytest.mark.parametrize(
    ("namespace", "name", "expected"),
    [
        ("foo", "bar", "apprepo-foo-cleanup-bar-"),
        ("foo" * 5 + "fo", "bar" * 5 + "ba", "apprepo-foofoofoofoofoofo-cleanup-barbarbarbarbarba-"),
        ("foo" * 7, "bar" * 7, "apprepo-foofoo-847382101-cleanup-barbar-805766666-"),
        (LONG, LONG_NAME, "apprepo-a-real-1762006330-cleanup-a-real-1687295243-"),
    ],
)
def test_a_clean_up_job_begins_as_kubeapps_begins_it(namespace: str, name: str, expected: str) -> None:
    key = RepositoryKey(namespace, name)
    assert clean_up_prefix(key) == expected
    assert clean_up_name(key, "uid", 1).startswith(expected)


def test_a_part_cut_at_a_dot_makes_a_valid_name_and_one_cut_at_a_dash_stays_kubeapps() -> None:
    assert cron_job_name(RepositoryKey("foo", "abcdefg-hijklmnopqrstuvw")) == "apprepo-foo-sync-abcdefg--972556025"
    cut = cron_job_name(RepositoryKey("foo", "abcdefg.hijklmnopqrstuvw"))
    assert SUBDOMAIN.fullmatch(cut)
    assert cut.startswith("apprepo-foo-sync-abcdefg-")


def test_two_repositories_that_share_a_name_have_different_spare_names() -> None:
    one, other = RepositoryKey("a-sync-b", "c"), RepositoryKey("a", "b-sync-c")
    name = cron_job_name(one)
    assert name == cron_job_name(other)
    assert len({name, spare_name(name, one), spare_name(name, other)}) == 3


def test_a_change_and_the_way_back_are_jobs_of_their_own() -> None:
    names = {one_off_name("cron", "b", "a"), one_off_name("cron", "a", "b"), one_off_name("cron", "c", "a")}
    assert len(names) == 3
    assert one_off_name("cron", "b", "a") in names


def test_a_clean_up_is_named_by_incarnation_and_attempt() -> None:
    key = RepositoryKey("foo", "bar")
    assert len({clean_up_name(key, uid, attempt) for uid in ("u", "v") for attempt in (1, 2, 11)}) == 6


@given(NAMESPACES, NAMES)
def test_every_name_is_valid_and_short_enough(namespace: str, name: str) -> None:
    key = RepositoryKey(namespace, name)
    cron, clean = cron_job_name(key), clean_up_prefix(key)
    for cron_name in (cron, spare_name(cron, key)):
        assert len(cron_name) <= 52
        assert SUBDOMAIN.fullmatch(cron_name)
        assert len(one_off_name(cron_name, "a", "b")) <= 63
    assert len(clean) <= 52
    assert clean.endswith("-")
    assert SUBDOMAIN.fullmatch(clean_up_name(key, "uid", 3))
    assert len(clean_up_name(key, "uid", 3)) <= 63
    assert len(copied_secret_name(key)) <= 253
    assert SUBDOMAIN.fullmatch(copied_secret_name(key))
    assert LABEL_VALUE.fullmatch(label_value(name))
    assert DNS_LABEL.fullmatch(volume_name(name))


def test_label_values_and_volume_names_are_the_text_itself_where_that_is_valid() -> None:
    assert label_value("n" * 63) == "n" * 63
    assert label_value("n" * 64) != label_value("n" * 65)
    assert (volume_name("ca-cert-test"), volume_name("my.ca")[:6]) == ("ca-cert-test", "my-ca-")
