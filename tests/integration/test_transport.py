"""What goes over the wire: where connections may go, where credentials may go, and what a body may cost."""

import gzip
import logging
import resource
import shutil
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from catalog.errors import CatalogError, InvalidJob, InvalidRepository, LimitExceeded, SourceRefused, SourceUnavailable, WaitingForSecret
from catalog.model import Repository, RepositoryKey, SecretRef
from catalog.options import Limits
from catalog.report import Report
from tests.conftest import missing
from tests.fakes.web import Authority, Reply, Web, authority, serving
from worker.addresses import parse
from worker.credentials import credentials_for
from worker.http import Credentials, Http, Remote
from worker.secrets import Secrets
from worker.settings import Settings

KEY = RepositoryKey("default", "demo")
PLAIN = Settings(database_url="postgresql://nowhere")  # no host of these tests is looked up there
CANARY = Credentials("Bearer canary")


@pytest.fixture
def web() -> Iterator[Web]:
    with serving(Web()) as served:
        yield served


@pytest.fixture
def other() -> Iterator[Web]:
    """Another host."""
    with serving(Web(), "127.0.0.2") as served:
        yield served


@pytest.fixture(scope="session")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    if not shutil.which("openssl"):
        missing("openssl", "install it to try TLS")
    return authority(tmp_path_factory.mktemp("ca"))


@asynccontextmanager
async def remote(
    url: str, credentials: Credentials | None = None, settings: Settings = PLAIN, report: Report | None = None, **more: object
) -> AsyncGenerator[Remote]:
    http = Http(settings)
    repository = Repository(KEY, "helm", url, **more)  # pyright: ignore[reportArgumentType]
    try:
        async with http.remote(repository, credentials or Credentials(), report or Report(), look=False) as opened:
            yield opened
    finally:
        await http.close()


async def fetched(opened: Remote, url: str, most: int = 10_000_000) -> bytes:
    async with opened.get(url) as answer:
        return b"".join([piece async for piece in answer.pieces(most, "the file")])


# Addresses ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "0.0.0.0"])
async def test_an_address_that_is_not_allowed_is_not_connected_to(web: Web, host: str) -> None:
    settings = replace(PLAIN, allow_addresses=parse("public,private"))
    url = web.url.replace("127.0.0.1", host)
    async with remote(url, settings=settings) as opened:
        with pytest.raises(SourceRefused, match="CHARTFLEET_ALLOW_ADDRESSES"):
            await opened.body(f"{url}/x", 10, "the file")
    assert web.connections == set()


async def test_a_name_is_judged_by_what_it_resolves_to(web: Web) -> None:
    web.replies["/x"] = Reply(body=b"yes")
    url = web.url.replace("127.0.0.1", "localhost")
    async with remote(url) as opened:
        assert await opened.body(f"{url}/x", 10, "the file") == b"yes"


async def test_each_redirect_is_judged_anew(web: Web, other: Web) -> None:
    web.replies["/x"] = Reply(302, {"Location": f"{other.url}/y"})
    async with remote(web.url, settings=replace(PLAIN, allow_addresses=parse("127.0.0.1"))) as opened:
        with pytest.raises(SourceRefused, match=r"127\.0\.0\.2.*loopback"):
            await opened.body(f"{web.url}/x", 10, "the file")
    assert (web.paths, other.paths) == (["/x"], [])


@pytest.mark.parametrize("url", ["http://127.1:80/x", "http://2130706433/x", "http://0x7f000001/x"])
async def test_an_address_in_an_odd_manner_is_refused(url: str) -> None:
    async with remote(url) as opened:
        with pytest.raises(SourceRefused, match="decimal"):
            await opened.body(url, 10, "the file")


async def test_behind_a_proxy_its_own_address_is_judged_and_names_are_left_to_it(web: Web) -> None:
    web.replies["http://charts.invalid/x"] = Reply(body=b"through")
    proxied = replace(PLAIN, proxies={"http": web.url.replace("//", "//user:p%40ss@"), "no": ""})
    async with remote("http://charts.invalid", settings=proxied) as opened:
        assert await opened.body("http://charts.invalid/x", 10, "the file") == b"through"
    [(_, headers, _)] = web.requests
    assert (headers["Host"], headers["Proxy-Authorization"]) == ("charts.invalid", "Basic dXNlcjpwQHNz")
    async with remote("http://charts.invalid", settings=replace(proxied, allow_addresses=parse("public"))) as opened:
        with pytest.raises(SourceRefused, match="loopback"):
            await opened.body("http://charts.invalid/x", 10, "the file")
    async with remote("http://169.254.169.254", settings=proxied) as opened:
        with pytest.raises(SourceRefused, match="link-local"):
            await opened.body("http://169.254.169.254/latest/meta-data", 10, "the file")
    assert len(web.requests) == 1


# Redirects and credentials --------------------------------------------------------------------------------------------


async def test_credentials_are_judged_anew_at_each_redirect(web: Web, other: Web) -> None:
    web.replies |= {"/a": Reply(302, {"Location": f"{other.url}/b"}), "/c": Reply(body=b"end")}
    other.replies["/b"] = Reply(307, {"Location": f"{web.url}/c"})
    async with remote(web.url, CANARY) as opened:
        assert await opened.body(f"{web.url}/a", 10, "the file") == b"end"
    assert [headers.get("Authorization") for _, headers, _ in web.requests] == ["Bearer canary"] * 2
    assert [headers.get("Authorization") for _, headers, _ in other.requests] == [None]


async def test_credentials_go_along_when_the_repository_passes_them(web: Web, other: Web) -> None:
    web.replies["/a"] = Reply(302, {"Location": f"{other.url}/b"})
    other.replies["/b"] = Reply(body=b"end")
    async with remote(web.url, CANARY, pass_credentials=True) as opened:
        await opened.body(f"{web.url}/a", 10, "the file")
    assert other.requests[0][1]["Authorization"] == "Bearer canary"


async def test_redirects_have_an_end(web: Web) -> None:
    web.replies["/a"] = Reply(302, {"Location": "/a?again"})
    report = Report()
    async with remote(web.url, settings=replace(PLAIN, limits=Limits(max_redirects=3)), report=report) as opened:
        with pytest.raises(SourceRefused, match=r"3 redirects \(CHARTFLEET_MAX_REDIRECTS"):
            await opened.body(f"{web.url}/a", 10, "the file")
    assert (len(web.requests), report.requests) == (4, 4)


async def test_the_body_of_a_redirect_or_refusal_is_not_read_unless_it_is_small(web: Web) -> None:
    endless = {"Content-Length": str(1 << 40)}
    web.replies |= {"/a": Reply(302, {"Location": "/b", **endless}, b"x" * 1_000_000), "/b": Reply(404, endless), "/c": Reply(404)}
    report = Report()
    async with remote(web.url, report=report) as opened:
        for path in ("/a", "/c", "/c"):
            with pytest.raises(SourceRefused, match="404"):
                await opened.body(f"{web.url}{path}", 10, "the file")
    assert (report.bytes, len(web.connections)) == (0, 3)


@pytest.mark.parametrize("location", ["file:///etc/passwd", "http://[bad", "oci://h/x:1"])
async def test_a_redirect_to_no_http_address_is_refused(web: Web, location: str) -> None:
    web.replies["/a"] = Reply(302, {"Location": location})
    async with remote(web.url) as opened:
        with pytest.raises(SourceRefused, match="redirects to"):
            await opened.body(f"{web.url}/a", 10, "the file")


async def test_a_login_in_a_redirects_url_is_not_used(web: Web) -> None:
    web.replies |= {"/a": Reply(302, {"Location": web.url.replace("//", "//user:pass@") + "/b"}), "/b": Reply(body=b"end")}
    async with remote(web.url, CANARY) as opened:
        await opened.body(f"{web.url}/a", 10, "the file")
    assert "Authorization" not in web.requests[1][1]


# Bodies ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
async def test_a_body_is_decoded_as_its_server_encoded_it(web: Web, encoding: str) -> None:
    web.replies["/x"] = Reply(200, {"Content-Encoding": encoding}, packed(encoding, b"x" * 10_000))
    report = Report()
    async with remote(web.url, report=report) as opened:
        assert await fetched(opened, f"{web.url}/x") == b"x" * 10_000
    assert web.requests[0][1]["Accept-Encoding"] == "zstd, gzip"
    assert report.bytes == len(web.replies["/x"].body)


async def test_an_archive_is_taken_as_it_is(web: Web) -> None:
    """Servers say `Content-Encoding: gzip` of a .tgz because it is one."""
    body = gzip.compress(b"tar")
    web.replies["/x.tgz"] = Reply(200, {"Content-Encoding": "gzip"}, body)
    async with remote(web.url) as opened:
        assert await opened.body(f"{web.url}/x.tgz", 1000, "the archive") == body
    assert web.requests[0][1]["Accept-Encoding"] == "identity"


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
async def test_a_bomb_stops_at_the_limit_without_taking_memory(web: Web, encoding: str) -> None:
    web.replies["/x"] = Reply(200, {"Content-Encoding": encoding}, packed(encoding, bytes(100_000_000)) * 10)
    before, sizes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, list[int]()
    async with remote(web.url) as opened, opened.get(f"{web.url}/x") as answer:
        with pytest.raises(LimitExceeded, match="50,000,000 bytes"):
            [sizes.append(len(piece)) async for piece in answer.pieces(50_000_000, "the file")]
    assert 45_000_000 < sum(sizes) <= 50_000_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # kB


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"Content-Encoding": "gzip"}, gzip.compress(b"x" * 9_000)[:-9]),
        ({"Content-Encoding": "br"}, b"x"),
        ({"Content-Encoding": "gzip"}, b"no"),
    ],
    ids=["cut off", "not asked for", "something else"],
)
async def test_a_body_that_is_not_what_it_says_is_a_broken_transfer(web: Web, headers: dict[str, str], body: bytes) -> None:
    web.replies["/x"] = Reply(200, headers, body)
    async with remote(web.url) as opened:
        with pytest.raises(SourceUnavailable):
            await fetched(opened, f"{web.url}/x")


@pytest.mark.parametrize(
    ("head", "said"),
    [
        (b"HTTP/1.1 200 OK\r\nX-Long: ", "no answer within 2 s"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n", "slower than 5,000 bytes a second"),
    ],
    ids=["headers", "body"],
)
async def test_what_trickles_has_an_end_though_it_is_never_silent(web: Web, head: bytes, said: str) -> None:
    def trickle(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(head)
        handler.connection.settimeout(0.1)
        with suppress(ConnectionError):  # when the client has gone
            while True:
                with suppress(TimeoutError):
                    handler.connection.recv(1)
                handler.wfile.write(b"x")

    web.replies["/x"] = Reply(raw=trickle)
    async with remote(web.url, settings=replace(PLAIN, limits=Limits(timeout=1, connect_timeout=1))) as opened:
        with pytest.raises(SourceUnavailable, match=said):
            await fetched(opened, f"{web.url}/x")


# TLS ------------------------------------------------------------------------------------------------------------------


async def test_a_custom_authority_is_trusted_by_its_repository_alone(ca: Authority) -> None:
    with serving(Web({"/x": Reply(body=b"yes")}), tls=ca.server()) as web:
        async with remote(web.url, Credentials(ca_pem=ca.pem)) as opened:
            assert await opened.body(f"{web.url}/x", 10, "the file") == b"yes"
        async with remote(web.url, verify_tls=False) as opened:
            assert await opened.body(f"{web.url}/x", 10, "the file") == b"yes"
        async with remote(web.url) as opened:
            with pytest.raises(SourceUnavailable, match="certificate"):
                await opened.body(f"{web.url}/x", 10, "the file")


async def test_a_client_certificate_is_shown_to_its_repository_and_nobody_else(ca: Authority) -> None:
    mine = "\n".join(path.read_text() for path in ca.certificate("mine"))
    with serving(Web(), tls=ca.server(asks=True)) as web, serving(Web(), "127.0.0.2", tls=ca.server(asks=True)) as other:
        web.replies |= {"/x": Reply(body=b"yes"), "/away": Reply(302, {"Location": f"{other.url}/x"})}
        other.replies["/x"] = Reply(body=b"yes")
        async with remote(web.url, Credentials(ca_pem=ca.pem, certificate_pem=mine)) as opened:
            assert await opened.body(f"{web.url}/x", 10, "the file") == b"yes"
            with pytest.raises(SourceUnavailable):
                await opened.body(f"{web.url}/away", 10, "the file")
        async with remote(web.url, Credentials(ca_pem=ca.pem)) as opened:
            with pytest.raises(SourceUnavailable):
                await opened.body(f"{web.url}/x", 10, "the file")
    assert [(path, subject) for path, _, subject in web.requests] == [("/x", "mine"), ("/away", "mine")]
    assert other.requests == []


async def test_from_https_to_http_nothing_is_followed_with_credentials(ca: Authority, web: Web) -> None:
    web.replies["/x"] = Reply(body=b"yes")
    with serving(Web({"/away": Reply(302, {"Location": f"{web.url}/x"})}), tls=ca.server()) as secure:
        async with remote(secure.url, Credentials(ca_pem=ca.pem)) as opened:
            assert await opened.body(f"{secure.url}/away", 10, "the file") == b"yes"
        async with remote(secure.url, Credentials("Bearer canary", ca.pem), pass_credentials=True) as opened:
            with pytest.raises(SourceRefused, match="from https to http"):
                await opened.body(f"{secure.url}/away", 10, "the file")
    assert len(web.requests) == 1


async def test_a_pem_that_is_none_is_refused_without_showing_it(ca: Authority) -> None:
    certificate, key = (path.read_text() for path in ca.certificate("mine"))
    locked = ca.directory / "locked.key"
    ca.openssl("ec", "-in", ca.certificate("mine")[1], "-aes128", "-passout", "pass:canary", "-out", locked)
    for wrong in (
        Credentials(ca_pem="canary"),
        *(Credentials(certificate_pem=p) for p in ("canary", certificate, certificate + locked.read_text())),
    ):
        with pytest.raises(SourceRefused) as refused:
            async with remote("https://h", wrong):
                pass
        assert not {"canary", key} & {*str(refused.value).split()}


async def test_a_client_certificate_comes_from_the_tls_secret_that_is_named_or_from_files(ca: Authority, tmp_path: Path) -> None:
    crt, key = ca.certificate("mine")
    secret = {"kind": "Secret", "metadata": {"name": "mine"}, "stringData": {"tls.crt": crt.read_text(), "tls.key": key.read_text()}}
    (tmp_path / "secret.json").write_text(str(secret).replace("'", '"'))
    named = Repository(KEY, "helm", "https://h", options={"client-certificate": "mine"})
    settings = replace(PLAIN, secrets_directory=tmp_path)
    pem = (await credentials_for(named, Secrets(settings))).certificate_pem
    mounted = Secrets(replace(PLAIN, client_cert_file=crt, client_key_file=key))
    assert pem == (await credentials_for(replace(named, options={}), mounted)).certificate_pem
    assert pem == f"{crt.read_text()}\n{key.read_text()}"
    with pytest.raises(WaitingForSecret, match="absent"):
        await credentials_for(replace(named, options={"client-certificate": "absent"}), Secrets(settings))
    with pytest.raises(InvalidJob, match="go together"):
        await credentials_for(replace(named, options={}), Secrets(replace(PLAIN, client_cert_file=crt)))


# Secrets --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "header"),
    [
        ({"authorization": "Bearer t"}, "Bearer t"),
        ({"authorization": "Basic dTpw"}, "Basic dTpw"),
        ({"authorization": "Custom a b"}, "Custom a b"),
        ({"docker_config": '{"auths":{"foo":{"username":"foo","password":"bar"}}}'}, "Basic Zm9vOmJhcg=="),
    ],
)
async def test_a_header_of_any_scheme_is_sent(web: Web, settings: dict[str, str], header: str) -> None:
    web.replies["/x"] = Reply(body=b"yes")
    given = replace(PLAIN, **settings)  # pyright: ignore[reportArgumentType]
    async with remote(web.url, await credentials_for(Repository(KEY, "helm", web.url), Secrets(given))) as opened:
        await opened.body(f"{web.url}/x", 10, "the file")
    assert web.requests[0][1]["Authorization"] == header


async def test_no_secret_is_in_any_error_or_log(web: Web, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)  # as catalog/telemetry.py sets it, whatever our own level: below it libraries show headers
    web.replies["/loop"] = Reply(302, {"Location": "/loop?token=canary"})
    said: list[CatalogError] = []
    async with remote(f"{web.url}/?token=canary", CANARY) as opened:
        for url in (f"{web.url}/x?token=canary", f"{web.url}/loop?token=canary", "http://user:canary@127.0.0.1:1/", "http://[canary"):
            try:
                await opened.body(url, 10, "the file")
            except CatalogError as error:
                said.append(error)
    (tmp_path / "s.yaml").write_text('kind: Secret\nmetadata: {name: s}\nstringData: {k: "can\\u0001ary"}\n')
    try:
        secrets = Secrets(replace(PLAIN, secrets_directory=tmp_path))
        await credentials_for(Repository(KEY, "helm", web.url, auth=SecretRef("s", "k")), secrets)
    except InvalidRepository as error:
        said.append(error)
    assert len(said) == 5
    assert "canary" not in "".join([*map(str, said), *map(repr, said), repr(opened.credentials), caplog.text])


def packed(encoding: str, data: bytes) -> bytes:
    if encoding == "gzip":
        return gzip.compress(data)
    return pytest.importorskip("backports.zstd", reason="Python 3.14 and newer have it as compression.zstd").compress(data)
