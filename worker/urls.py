"""What is read off a URL: where credentials may go, what may be shown, where a redirect leads. Pure."""

from urllib.parse import urljoin, urlsplit, urlunsplit

from catalog.errors import SourceRefused
from catalog.model import Repository

PORTS = {"http": 80, "https": 443}


def may_authorize(repository: Repository, url: str) -> bool:
    """Whether credentials of the repository may go to `url`: same scheme, host and port, or it passes them; never in clear from https."""
    own, other = origin(repository.url), origin(url)
    in_clear = own[0] == "https" != other[0]
    return own == other != ("", "", 0) or (repository.pass_credentials and not in_clear)


def origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port; ("", "", 0) for what is no plain http(s) URL, which equals nothing."""
    try:
        parts = urlsplit(url)
        port = parts.port or PORTS[parts.scheme]
    except (ValueError, KeyError):
        return "", "", 0
    if not parts.hostname or parts.username is not None or not url.isprintable():
        return "", "", 0
    return parts.scheme, parts.hostname, port


def host_of(url: str) -> str:
    """`host:port`, as the fleet speaks of a server."""
    parts = urlsplit(url)
    return f"{parts.hostname or ''}:{parts.port or PORTS.get(parts.scheme, 0)}"


def shown(url: str) -> str:
    """A URL as it may be shown: without user, password and query."""
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
    except ValueError:
        return "(not a URL)"
    return urlunsplit((parts.scheme, host, parts.path, "…" if parts.query else "", ""))


def check_scheme(url: str) -> None:
    """Raises SourceRefused for what is not fetched over HTTP."""
    try:
        parts = urlsplit(url)
        usable = bool(parts.hostname) and (parts.port or 1) > 0 and parts.scheme in PORTS
    except ValueError:
        raise SourceRefused("an address that is not a URL") from None
    if not usable:
        raise SourceRefused(f"{shown(url)}: only http:// and https:// are fetched")


def redirected(url: str, location: str, *, secret: bool) -> str:
    """Where a redirect from `url` leads. Raises SourceRefused; from https to http when the repository has credentials (`secret`)."""
    try:
        target = urljoin(url, location.strip())
        check_scheme(target)
    except (ValueError, SourceRefused):
        raise SourceRefused(f"{shown(url)}: redirects to what is no http:// or https:// address") from None
    if secret and url.lower().startswith("https:") and not target.lower().startswith("https:"):
        raise SourceRefused(f"{shown(url)}: redirects from https to {shown(target)}, which a repository with credentials does not follow")
    return target
