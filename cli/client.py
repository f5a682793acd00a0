"""The API as the commands see it: JSON over the standard library, with errors that say what to do."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from http.client import HTTPException
from typing import Any, cast
from urllib.parse import quote, urlencode, urlsplit

from cli.failures import Exit, Failure

PAGE = 200  # the most that the API gives at once
TIMEOUT = 15.0
LOOPBACK = {"127.0.0.1", "::1", "localhost"}

Item = Mapping[str, Any]


class Client:
    """The API at one address, such as http://127.0.0.1:8080."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        proxies = {} if urlsplit(url).hostname in LOOPBACK else None
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler(proxies))

    def items(self, path: str, limit: int | None = None, **query: str | None) -> Iterator[Item]:
        """A list's items, over all its pages or up to `limit`. Raises Failure."""
        cursor: str | None = None
        while limit is None or limit > 0:
            size = PAGE if limit is None else min(limit, PAGE)
            page = self.get(path, limit=str(size), cursor=cursor, **query)
            found: list[Item] = page["items"]
            yield from found[:size]
            limit = None if limit is None else limit - len(found)
            cursor = page.get("next")
            if not cursor:
                return

    def get(self, path: str, **query: str | None) -> Mapping[str, Any]:
        return _mapping(self._ask("GET", path, query), self._url)

    def post(self, path: str) -> Mapping[str, Any]:
        return _mapping(self._ask("POST", path, {}), self._url)

    def text(self, path: str) -> str:
        return self._ask("GET", path, {}).decode(errors="replace")

    def _ask(self, method: str, path: str, query: Mapping[str, str | None]) -> bytes:
        words = urlencode({name: value for name, value in query.items() if value is not None})
        address = f"{self._url}/api/v1/{path}{'?' if words else ''}{words}"
        try:
            with self._opener.open(urllib.request.Request(address, method=method), timeout=TIMEOUT) as answer:  # noqa: S310 - http(s), checked
                return answer.read()
        except urllib.error.HTTPError as error:
            raise _refused(error, self._url) from None
        except (OSError, HTTPException) as error:
            reason = error.reason if isinstance(error, urllib.error.URLError) else error
            text = f"No Chartfleet API answers at {self._url} ({reason}). Start one with `chartfleet up`, or set CHARTFLEET_API_URL."
            raise Failure(Exit.UNREACHABLE, text) from None


def path(*segments: str) -> str:
    """An address below /api/v1 whose segments may hold anything, also slashes."""
    return "/".join(quote(segment, safe="") for segment in segments)


def _mapping(body: bytes, url: str) -> Mapping[str, Any]:
    try:
        value: object = json.loads(body)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise Failure(Exit.UNREACHABLE, f"What answers at {url} is not a Chartfleet API.")
    return cast("Mapping[str, Any]", value)


def _refused(error: urllib.error.HTTPError, url: str) -> Failure:
    """The API's own words, or what stands there in its place."""
    try:
        detail = json.loads(error.read())["error"]
        return Failure(Exit.FAILED, f"{detail['message']} ({detail['reason']})")
    except (ValueError, KeyError, TypeError, OSError):
        return Failure(Exit.UNREACHABLE, f"What answers at {url} is not a Chartfleet API: status {error.code}.")
