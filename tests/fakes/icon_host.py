"""A host of icons on 127.0.0.1: each has an ETag of its content; a test may have it answer otherwise."""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class IconHost:
    """What is served, by path. `moved` maps a path to another, `status` answers instead of everything; `requests` lists (path, headers)."""

    icons: dict[str, bytes] = field(default_factory=dict)
    moved: dict[str, str] = field(default_factory=dict)
    status: int = 200
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    url: str = ""


class Handler(BaseHTTPRequestHandler):
    host: IconHost
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        host, path = self.host, self.path
        host.requests.append((path, dict(self.headers)))
        if host.status != 200:
            return self.answer(host.status)
        if path in host.moved:
            return self.answer(302, Location=host.moved[path])
        icon = host.icons.get(path)
        if icon is None:
            return self.answer(404)
        etag = f'"{hashlib.sha256(icon).hexdigest()[:16]}"'
        if self.headers.get("If-None-Match") == etag:
            return self.answer(304, ETag=etag)
        return self.answer(200, icon, ETag=etag)

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status != 304:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


@contextmanager
def serving_icons(host: IconHost) -> Iterator[IconHost]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"host": host}))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    host.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield host
    finally:
        server.shutdown()
        server.server_close()
