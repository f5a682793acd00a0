"""A relay before an API server: all it does is count writes, and lose or falsify answers as a test says. Plain HTTP towards the client."""

import http.client
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import yaml

TOO_OLD = {"type": "ERROR", "object": {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Expired", "code": 410}}
HOP = {"connection", "transfer-encoding", "content-length", "host"}


class Relay:
    """`after_write` is called with the number of each write when the server has carried it out, before the client knows; `stale` watches
    are answered with 410 Gone, once each. While `deaf`, what watches say is `swallowed`; `cut` ends them."""

    def __init__(self, kubeconfig: Path) -> None:
        self.config = yaml.safe_load(kubeconfig.read_text())
        self.target = urlsplit(self.config["clusters"][0]["cluster"]["server"])
        self.context = ssl.create_default_context()
        self.context.check_hostname, self.context.verify_mode = False, ssl.CERT_NONE
        self.after_write: Callable[[int], None] = lambda _: None
        self.writes: list[tuple[str, str, int]] = []
        self.stale = 0
        self.deaf = threading.Event()
        self.swallowed: list[bytes] = []
        self.streams: list[socket.socket] = []
        self.lock = threading.Lock()

    def cut(self) -> None:
        for stream in self.streams:
            with suppress(OSError):
                stream.shutdown(socket.SHUT_RDWR)
        self.streams.clear()

    def kubeconfig(self, path: Path, port: int) -> Path:
        cluster = {"server": f"http://127.0.0.1:{port}"}
        path.touch(mode=0o600)
        path.write_text(yaml.safe_dump({**self.config, "clusters": [{"name": "tests", "cluster": cluster}]}))
        return path


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    relay: Relay

    def handle_any(self) -> None:
        relay, body = self.relay, self.rfile.read(int(self.headers.get("Content-Length") or 0))
        watching = "watch=true" in self.path
        if watching and relay.stale > 0:
            relay.stale -= 1
            self.answer(200, [("Content-Type", "application/json")], iter([json.dumps(TOO_OLD).encode() + b"\n"]))
            return
        connection = http.client.HTTPSConnection(str(relay.target.hostname), relay.target.port, context=relay.context)
        with suppress(OSError, http.client.HTTPException):
            headers = {name: value for name, value in self.headers.items() if name.lower() not in {*HOP, "accept-encoding"}}
            connection.request(self.command, self.path, body or None, headers)
            answer = connection.getresponse()
            if self.command != "GET":
                content = answer.read()
                self.count(answer.status)
                pieces = iter([content])
            else:
                pieces = self.heard(answer, connection.sock) if watching else iter(lambda: answer.read1(65536), b"")
            self.answer(answer.status, [pair for pair in answer.getheaders() if pair[0].lower() not in HOP], pieces)
        connection.close()
        self.close_connection = True

    def heard(self, answer: http.client.HTTPResponse, stream: socket.socket) -> Iterator[bytes]:
        """What a watch says, unless the relay is deaf."""
        self.relay.streams.append(stream)
        while piece := answer.read1(65536):
            if self.relay.deaf.is_set():
                self.relay.swallowed.append(piece)
            else:
                yield piece

    def count(self, code: int) -> None:
        with self.relay.lock:
            self.relay.writes.append((self.command, self.path, code))
            number = len(self.relay.writes)
        self.relay.after_write(number)

    def answer(self, code: int, headers: list[tuple[str, str]], pieces: Iterator[bytes]) -> None:
        self.send_response(code)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for piece in pieces:
            self.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        self.wfile.write(b"0\r\n\r\n")

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any  # noqa: N815 - http.server's names

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        """Quiet."""


@contextmanager
def relayed(kubeconfig: Path, directory: Path) -> Iterator[tuple[Relay, Path]]:
    """The relay, and a kubeconfig that leads through it."""
    relay = Relay(kubeconfig)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"relay": relay}))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield relay, relay.kubeconfig(directory / f"relay-{server.server_address[1]}.kubeconfig", server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()
