"""Where credentials may go, what of a URL may be shown, where redirects and listed urls lead."""

import pytest

from catalog.errors import InvalidRepository, SourceRefused
from catalog.model import Repository, RepositoryKey
from worker.sources.helm import archive_url, index_url
from worker.urls import check_scheme, host_of, may_authorize, redirected, shown


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
    assert may_authorize(repository("http://charts.example.com", passes=True), "http://elsewhere.com/x")
    assert not may_authorize(repository("not-a-url"), "not-a-url")


@pytest.mark.parametrize("url", ["http://charts.example.com/stable/a.tgz", "http://elsewhere.com/x", "HTTP://elsewhere.com", "x"])
def test_no_repository_of_https_passes_credentials_on_in_clear(url: str) -> None:
    assert not may_authorize(repository(passes=True), url)


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
    ("url", "index"),
    [
        ("http://h", "http://h/index.yaml"),
        ("http://h/", "http://h/index.yaml"),
        (" http://h/subpath/ ", "http://h/subpath/index.yaml"),
        ("http://h/with%2Fslash", "http://h/with%2Fslash/index.yaml"),
        ("http://h/x?key=value", "http://h/x/index.yaml?key=value"),
        ("http://h/x//y/../", "http://h/x/index.yaml"),
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
        ("http://h/sub?key=value", "a-1.tgz?own=1", "http://h/sub/a-1.tgz?key=value"),
        ("http://h/sub", "a-1.tgz?own=1", "http://h/sub/a-1.tgz?own=1"),
        ("http://h/sub?key=value", "https://cdn/a-1.tgz?own=1", "https://cdn/a-1.tgz?own=1"),
        ("http://h/sub", "../other/a-1.tgz", "http://h/other/a-1.tgz"),
        ("https://h/sub", "//cdn/a-1.tgz", "https://cdn/a-1.tgz"),
        ("http://h/sub", "a%2Fb-1.tgz", "http://h/sub/a%2Fb-1.tgz"),
        ("http://h/with%2Fslash", "charts/a-1+up.tgz", "http://h/with%2Fslash/charts/a-1+up.tgz"),
        ("http://h", "oci://quay.io/a:1", "oci://quay.io/a:1"),
    ],
)
def test_an_archives_url_is_resolved_as_helm_does(base: str, url: str, archive: str) -> None:
    assert archive_url(base, url) == archive


@pytest.mark.parametrize("url", ["oci://quay.io/a:1", "ftp://h/x", "file:///etc/passwd", "http:///x", "//h/x", "http://[bad", "x.tgz"])
def test_only_http_is_fetched(url: str) -> None:
    with pytest.raises(SourceRefused):
        check_scheme(url)


@pytest.mark.parametrize(
    ("url", "location", "target"),
    [
        ("https://h/a/b", "/c?q=1", "https://h/c?q=1"),
        ("https://h/a/b", "c", "https://h/a/c"),
        ("https://h/a", "//other/x", "https://other/x"),
        ("http://h/a", "https://other/x", "https://other/x"),
        ("http://h/a", "http://other/x", "http://other/x"),
    ],
)
def test_a_redirect_is_read_against_the_url_it_came_from(url: str, location: str, target: str) -> None:
    assert redirected(url, location, secret=True) == target


def test_a_repository_with_credentials_follows_no_redirect_from_https_to_http() -> None:
    assert redirected("https://h/a", "http://h/a", secret=False) == "http://h/a"
    with pytest.raises(SourceRefused, match="https"):
        redirected("HTTPS://h/a", "http://h/a?token=canary", secret=True)


@pytest.mark.parametrize("location", ["file:///etc/passwd", "gopher://h/", "http://", "http://[bad", "oci://h/x:1"])
def test_a_redirect_leads_to_http_or_nowhere(location: str) -> None:
    with pytest.raises(SourceRefused, match="redirects to"):
        redirected("https://h/a", location, secret=False)


@pytest.mark.parametrize(("url", "host"), [("https://H/x", "h:443"), ("http://h:81", "h:81"), ("http://[::1]/", "::1:80")])
def test_a_host_is_its_name_and_port(url: str, host: str) -> None:
    assert host_of(url) == host
