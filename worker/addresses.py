"""Which addresses may be connected to. Pure: what is judged is the address that a name turned out to have.

An address that embeds an IPv4 address (mapped, NAT64, 6to4) is judged by that one, since that is where the packets go.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


def _networks(text: str) -> tuple[Network, ...]:
    return tuple(ip_network(word) for word in text.split())


# The first that holds an address names its class; what none holds is public.
CLASSES = {
    # and the clouds' metadata services that live elsewhere (Azure, Oracle, Alibaba, AWS, Google)
    "link-local": _networks("169.254.0.0/16 fe80::/10 168.63.129.16 192.0.0.192 100.100.100.200 fd00:ec2::254 fd20:ce::254"),
    "loopback": _networks("127.0.0.0/8 ::1"),
    "private": _networks("10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 100.64.0.0/10 198.18.0.0/15 fc00::/7 fec0::/10"),
    # no class of the setting: nobody's servers have these (RFC 6890 and its successors), except where a network is named
    "reserved": _networks(
        "0.0.0.0/8 192.0.0.0/24 192.0.2.0/24 192.88.99.0/24 198.51.100.0/24 203.0.113.0/24 224.0.0.0/3 "
        "::/3 2001::/32 2001:db8::/32 4000::/2 8000::/1"
    ),
}
ALLOWABLE = ("public", "private", "loopback", "link-local")
NAT64 = IPv6Network("64:ff9b::/96")
COMPATIBLE = IPv6Network("::/96")


@dataclass(frozen=True, slots=True)
class Addresses:
    """The addresses that may be connected to: classes, and networks besides."""

    classes: frozenset[str]
    networks: tuple[Network, ...] = ()

    def allow(self, address: Address) -> bool:
        within = innermost(address)
        return class_of(within) in self.classes or any(within in network for network in self.networks)


def parse(text: str) -> Addresses:
    """`public,private,10.1.0.0/16`. Raises ValueError, naming the word that is neither a class nor a network."""
    words = [word.strip() for word in text.split(",") if word.strip()]
    networks = [_network(word) for word in words if word not in ALLOWABLE]
    return Addresses(frozenset(words) & frozenset(ALLOWABLE), tuple(networks))


def class_of(address: Address) -> str:
    """public, private, loopback, link-local or reserved."""
    within = innermost(address)
    return next((name for name, networks in CLASSES.items() if _in(within, networks)), "public")


def innermost(address: Address) -> Address:
    """The IPv4 address that an IPv6 address stands for, or the address itself."""
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped or address.sixtofour:
        return address.ipv4_mapped or address.sixtofour or address
    low = int(address) & 0xFFFF_FFFF
    return IPv4Address(low) if address in NAT64 or (address in COMPATIBLE and low > 1) else address


def literal(host: str) -> Address | None:
    """The address that a URL's host is, or None for a name. Raises ValueError for a number in another manner (127.1, 0x7f000001)."""
    name = host.removeprefix("[").removesuffix("]").rstrip(".").lower()
    last = name.rpartition(".")[2]
    if ":" in name or last.isdigit() or last.startswith("0x"):
        return ip_address(name.partition("%")[0])
    return None


def by_rule(host: str) -> Address | None:
    """What can be known of a host without asking DNS: `localhost` and names below it are loopback (RFC 6761, 6.3). Raises ValueError."""
    name = host.rstrip(".").lower()
    return IPv4Address("127.0.0.1") if name == "localhost" or name.endswith(".localhost") else literal(host)


def _network(word: str) -> Network:
    try:
        return ip_network(word, strict=False)
    except ValueError:
        raise ValueError(f"{word!r} is neither one of {', '.join(ALLOWABLE)} nor a network such as 10.0.0.0/8") from None


def _in(address: Address, networks: Iterable[Network]) -> bool:
    return any(address in network for network in networks)
