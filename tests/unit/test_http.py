"""Where credentials may go, what of a URL may be shown, when to come back."""

from datetime import UTC, datetime

import pytest

from catalog.errors import InvalidRepository
from catalog.model import Repository, RepositoryKey
from worker.http import may_authorize, retry_after, shown
from worker.sources.helm import archive_url, index_url


def repository(url: str = "https://charts.example.com/stable", *, passes: bool = False) -> Repository:
    return Repository(RepositoryKey("default", "r"), "helm", url, pass_credentials=passes)


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("https://charts.example.com/stable/a.tgz", True),
        ("https://charts.example.com:443/other", True),
        ("https://CHARTS.example.com/x", True),
        ("http://charts.example.com/x", False),
        ("https://charts.example.com:8443/x", False),
        ("https://www.charts.example.com/x", False),
        ("https://example.com/x", False),
        ("https://charts.example.com@evil.com/x", False),
        ("https://user@charts.example.com/x", False),
        ("https://evil.com/#@charts.example.com", False),
        ("https://charts.example.com\r\n.evil.com/x", False),
        ("https://charts.example。com/x", False),
        ("//charts.example.com/x", False),
        ("abc", False),
        ("", False),
    ],
)
def test_credentials_go_to_the_same_scheme_host_and_port(url: str, allowed: bool) -> None:
    assert may_authorize(repository(), url) is allowed


def test_credentials_go_anywhere_only_when_the_repository_passes_them() -> None:
    assert may_authorize(repository(passes=True), "https://elsewhere.com/x")
    assert not may_authorize(repository("not-a-url"), "not-a-url")


@pytest.mark.parametrize(
    ("url", "visible"),
    [
        ("https://h/x?token=secret", "https://h/x?…"),
        ("https://user:secret@h:1/x", "https://h:1/x"),
        ("https://h/x#secret", "https://h/x"),
        ("https://[bad", "(not a URL)"),
    ],
)
def test_a_url_is_shown_without_what_may_be_secret(url: str, visible: str) -> None:
    assert shown(url) == visible


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
    assert retry_after(header, datetime(2026, 1, 1, tzinfo=UTC)) == seconds


@pytest.mark.parametrize(
    ("url", "index"),
    [
        ("http://h", "http://h/index.yaml"),
        ("http://h/", "http://h/index.yaml"),
        (" http://h/subpath/ ", "http://h/subpath/index.yaml"),
        ("http://h/with%2Fslash", "http://h/with%2Fslash/index.yaml"),
        ("http://h/x?key=value", "http://h/x/index.yaml?key=value"),
    ],
)
def test_the_index_is_below_the_repositorys_path(url: str, index: str) -> None:
    assert index_url(url) == index


@pytest.mark.parametrize("url", ["not-a-url", "https//google.com", "ftp://h/x", "http://", "http://h:99999", "http://user:canary@h/"])
def test_what_is_no_usable_url_is_refused_without_showing_a_password(url: str) -> None:
    with pytest.raises(InvalidRepository) as refused:
        index_url(url)
    assert "canary" not in str(refused.value)


@pytest.mark.parametrize(
    ("base", "url", "archive"),
    [
        ("http://h", "a-1.tgz", "http://h/a-1.tgz"),
        ("http://h/sub/", "charts/a-1.tgz", "http://h/sub/charts/a-1.tgz"),
        ("http://h/sub", "./a-1.tgz", "http://h/sub/a-1.tgz"),
        ("http://h/sub", "/a-1.tgz", "http://h/a-1.tgz"),
        ("http://h/sub", "https://cdn/a-1.tgz", "https://cdn/a-1.tgz"),
        ("http://h/sub?key=value", "a-1.tgz", "http://h/sub/a-1.tgz?key=value"),
        ("http://h/sub?key=value", "a-1.tgz?own=1", "http://h/sub/a-1.tgz?own=1"),
        ("http://h/with%2Fslash", "charts/a-1+up.tgz", "http://h/with%2Fslash/charts/a-1+up.tgz"),
        ("http://h", "oci://quay.io/a:1", "oci://quay.io/a:1"),
    ],
)
def test_an_archives_url_is_resolved_as_helm_does(base: str, url: str, archive: str) -> None:
    assert archive_url(base, url) == archive
