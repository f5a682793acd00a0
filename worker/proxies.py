"""Which proxy a request goes through: HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY, in either case, as Go's programs read them. Pure."""

from collections.abc import Mapping
from ipaddress import ip_network
from urllib.parse import urlsplit

from catalog.errors import InvalidJob
from worker.addresses import Address, by_rule, class_of


def checked(proxies: Mapping[str, str]) -> dict[str, str]:
    """Proxies by scheme (http, https, all) and `no`, whose URLs can be used. Raises InvalidJob."""
    return {name: _url(name, text) if name != "no" else text for name, text in proxies.items() if name in ("http", "https", "all", "no")}


def proxy_for(proxies: Mapping[str, str], url: str) -> str | None:
    """The proxy's URL, or None: connect to the host itself. Loopback hosts have none."""
    parts = urlsplit(url)
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    host = (parts.hostname or "").rstrip(".")
    if proxy is None or _excluded(proxies.get("no", ""), host, parts.port):
        return None
    return proxy


def _excluded(no: str, host: str, port: int | None) -> bool:
    address = _address(host)
    if address is not None and class_of(address) == "loopback":
        return True
    return any(_matches(word.strip().lower(), host, port, address) for word in no.split(",") if word.strip())


def _matches(word: str, host: str, port: int | None, address: Address | None) -> bool:
    """One word of NO_PROXY: `*`, a host with all below it, `.suffix`, an address or a network; perhaps with a port."""
    if word == "*":
        return True
    if address is not None:
        try:
            return address in ip_network(word.strip("[]"), strict=False)
        except ValueError:
            pass
    name, colon, number = word.rpartition(":")
    if colon and number.isdigit():
        return port == int(number) and _matches(name, host, port, address)
    suffix = word.removeprefix("*").removeprefix(".")
    return host.endswith(f".{suffix}") or (host == suffix and word == suffix)


def _address(host: str) -> Address | None:
    try:
        return by_rule(host)
    except ValueError:
        return None


def _url(name: str, text: str) -> str:
    url = text if "://" in text else f"http://{text}"
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        usable = False
    if not usable:
        raise InvalidJob(f"{name.upper()}_PROXY must be the http:// or https:// address of a proxy") from None
    return url
