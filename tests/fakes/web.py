"""A web server on a loopback address that answers each path as a test says; with TLS and clients' certificates where it is given them.

Asked as a proxy it finds the whole URL among its paths.
"""

import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@dataclass(frozen=True)
class Reply:
    """`status`, `headers`, `body`; or `raw`, which writes everything itself."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    raw: Callable[[BaseHTTPRequestHandler], None] | None = None


@dataclass
class Web:
    """`requests` lists (path, headers, subject of the client's certificate)."""

    replies: dict[str, Reply] = field(default_factory=dict)
    requests: list[tuple[str, dict[str, str], str]] = field(default_factory=list)
    connections: set[tuple[str, int]] = field(default_factory=set)
    url: str = ""

    @property
    def paths(self) -> list[str]:
        return [path for path, _, _ in self.requests]


class Handler(BaseHTTPRequestHandler):
    web: Web
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        shown = self.connection.getpeercert() if isinstance(self.connection, ssl.SSLSocket) else None
        subject = str(dict(pair[0] for pair in shown["subject"])["commonName"]) if shown else ""  # pyright: ignore[reportArgumentType, reportGeneralTypeIssues]
        self.web.requests.append((self.path, dict(self.headers), subject))
        self.web.connections.add(self.client_address)
        reply = self.web.replies.get(self.path.partition("?")[0], Reply(404, body=b"no such path"))
        if reply.raw:
            self.close_connection = True
            reply.raw(self)
        else:
            self.answer(reply)

    def answer(self, reply: Reply) -> None:
        self.send_response(reply.status)
        for name, value in {"Content-Length": str(len(reply.body)), **reply.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(reply.body)

    def log_message(self, *_: object) -> None: ...


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """A client that goes away, or that is refused, is no news."""


@contextmanager
def serving(web: Web, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> Iterator[Web]:
    server = Server((host, 0), type("Bound", (Handler,), {"web": web}))
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    web.url = f"{'https' if tls else 'http'}://{host}:{server.server_port}"
    try:
        yield web
    finally:
        server.shutdown()
        server.server_close()


@dataclass(frozen=True)
class Authority:
    """A certificate authority of a test's own, made by openssl."""

    directory: Path

    @property
    def pem(self) -> str:
        return (self.directory / "ca.crt").read_text()

    def certificate(self, name: str) -> tuple[Path, Path]:
        """Certificate and key for 127.0.0.1, whose subject is `name`."""
        crt, key = self.directory / f"{name}.crt", self.directory / f"{name}.key"
        if not crt.exists():
            extensions = self.directory / "extensions"
            extensions.write_text("subjectAltName = IP:127.0.0.1, IP:127.0.0.2\n")
            self.openssl("req", "-newkey", "ec:ca.params", "-nodes", "-keyout", key, "-subj", f"/CN={name}", "-out", "request")
            ca = ("-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial")
            self.openssl("x509", "-req", "-in", "request", *ca, "-days", "30", "-extfile", extensions, "-out", crt)
        return crt, key

    def server(self, *, asks: bool = False) -> ssl.SSLContext:
        """A server's context; `asks`: clients must show a certificate of this authority."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.certificate("server"))
        if asks:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(self.directory / "ca.crt")
        return context

    def openssl(self, *words: str | Path) -> None:
        subprocess.run(["openssl", *map(str, words)], cwd=self.directory, check=True, capture_output=True)


def authority(directory: Path) -> Authority:
    made = Authority(directory)
    made.openssl("ecparam", "-name", "prime256v1", "-out", "ca.params")
    made.openssl(
        "req", "-x509", "-newkey", "ec:ca.params", "-nodes", "-keyout", "ca.key", "-subj", "/CN=ca", "-days", "30", "-out", "ca.crt"
    )
    return made
