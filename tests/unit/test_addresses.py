"""Which addresses may be connected to, and which proxy leads there."""

from ipaddress import ip_address

import pytest

from catalog.errors import InvalidJob
from worker.addresses import by_rule, class_of, literal, parse
from worker.proxies import checked, proxy_for

CLASSES = {
    "public": "8.8.8.8 2606:4700::1111 64:ff9b::808:808 2002:808:808::1 ::ffff:8.8.8.8",
    "private": "10.1.2.3 172.31.0.1 192.168.1.1 100.64.0.1 198.18.0.1 fd12::1 ::ffff:10.0.0.1 64:ff9b::a00:1 2002:a00:1::",
    "loopback": "127.0.0.1 127.255.0.9 ::1 ::ffff:127.0.0.1 64:ff9b::7f00:1 2002:7f00:1:: ::127.0.0.1",
    "link-local": "169.254.169.254 fe80::1 fe80::1%eth0 ::ffff:169.254.169.254 64:ff9b::a9fe:a9fe 2002:a9fe:a9fe:: fd00:ec2::254 "
    "100.100.100.200 168.63.129.16",
    "reserved": "0.0.0.0 :: 224.0.0.1 239.1.1.1 ff02::1 240.0.0.1 255.255.255.255 192.0.2.1 2001:db8::1 2001:0:1::1 64:ff9b:1::7f00:1",
}


@pytest.mark.parametrize(("name", "address"), [(name, address) for name, text in CLASSES.items() for address in text.split()])
def test_an_address_has_a_class_and_one_that_embeds_another_has_its(name: str, address: str) -> None:
    assert class_of(ip_address(address)) == name


def test_what_is_not_named_is_not_allowed() -> None:
    allowed = parse("public, private,10.0.0.0/8 ,127.0.0.2,fd00:ec2::254")
    for address in ("8.8.8.8", "192.168.0.1", "127.0.0.2", "::ffff:127.0.0.2", "fd00:ec2::254"):
        assert allowed.allow(ip_address(address))
    for address in ("127.0.0.1", "::1", "169.254.169.254", "0.0.0.0", "224.0.0.1"):
        assert not allowed.allow(ip_address(address))
    assert not parse("").allow(ip_address("8.8.8.8"))


@pytest.mark.parametrize("text", ["publik", "public;private", "10.0.0.0/33", "reserved", "example.com"])
def test_a_word_that_is_neither_class_nor_network_is_named(text: str) -> None:
    with pytest.raises(ValueError, match="neither"):
        parse(text)


@pytest.mark.parametrize("host", ["127.1", "2130706433", "0x7f000001", "0177.0.0.1", "a.0x7f", "1.2.3.4.5", "1::2::3"])
def test_an_address_in_an_odd_manner_is_refused(host: str) -> None:
    with pytest.raises(ValueError, match="address"):
        by_rule(host)


def test_what_is_known_of_a_host_without_dns() -> None:
    assert (literal("charts.example.com"), by_rule("charts.example.com"), by_rule("0x.example")) == (None, None, None)
    assert str(literal("[fe80::1%eth0]")) == "fe80::1"
    assert literal("localhost") is None
    assert {str(by_rule(host)) for host in ("localhost", "LOCALHOST.", "a.localhost", "127.0.0.1")} == {"127.0.0.1"}


@pytest.mark.parametrize(
    ("url", "proxy"),
    [
        ("http://charts.example.com/x", "http://p:3128"),
        ("https://charts.example.com/x", "http://s:3128"),
        ("https://a.internal/x", None),
        ("https://internal/x", None),
        ("https://notinternal/x", "http://s:3128"),
        ("https://a.sub.dom/x", None),
        ("https://sub.dom/x", "http://s:3128"),
        ("https://10.1.2.3/x", None),
        ("https://11.1.2.3/x", "http://s:3128"),
        ("https://only.port:8443/x", None),
        ("https://only.port/x", "http://s:3128"),
        ("http://localhost:80/x", None),
        ("http://127.0.0.1/x", None),
        ("http://127.1/x", "http://p:3128"),
    ],
)
def test_a_proxy_is_chosen_as_gos_programs_do(url: str, proxy: str | None) -> None:
    proxies = checked({"http": "p:3128", "https": "http://s:3128", "no": "internal, .sub.dom,10.0.0.0/8,only.port:8443", "ftp": "x"})
    assert proxy_for(proxies, url) == proxy
    assert proxy_for({"no": "*", **proxies, "all": "http://a"}, "gopher://h/") == "http://a"
    assert proxy_for({**proxies, "no": "*"}, url) is None


@pytest.mark.parametrize("url", ["socks5://user:canary@h:1080", "http://", "http://h:99999"])
def test_a_proxy_that_cannot_be_used_is_said_without_its_password(url: str) -> None:
    with pytest.raises(InvalidJob, match="HTTPS_PROXY") as refused:
        checked({"https": url})
    assert "canary" not in str(refused.value)
