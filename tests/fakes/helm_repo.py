"""A small Helm repository on 127.0.0.1 whose index, archives, validators and misbehaviour a test sets as it goes."""

import gzip
import hashlib
import io
import json
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import yaml


def archive(chart: str, version: str = "1.0.0", **files: str) -> bytes:
    """A chart's .tgz; `files` by name with __ for the dot (README__md)."""
    packed = io.BytesIO()
    members = {"Chart__yaml": f"apiVersion: v2\nname: {chart}\nversion: {version}\n", **files}
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, text in members.items():
            info = tarfile.TarInfo(f"{chart}/{name.replace('__', '.')}")
            info.size = len(text.encode())
            tar.addfile(info, io.BytesIO(text.encode()))
    return packed.getvalue()


def index(charts: dict[str, list[dict[str, object]]]) -> bytes:
    """An index; versions get a name, a url and a digest unless they bring their own."""
    entries = {
        name: [{"name": name, "urls": [f"{name}-{v.get('version')}.tgz"], "created": "2024-01-02T03:04:05Z", **v} for v in versions]
        for name, versions in charts.items()
    }
    return yaml.safe_dump({"apiVersion": "v1", "entries": entries, "generated": "2024-01-02T03:04:05Z"}).encode()


@dataclass
class Gate:
    """An answer that stops after `at` bytes of its body until it is let on; `reached` is set when it has."""

    at: int = 0
    reached: threading.Event = field(default_factory=threading.Event)
    open: threading.Event = field(default_factory=threading.Event)


@dataclass
class HelmRepo:
    """What is served. `status` answers instead of the index, `statuses` instead of other files; `gates` stop answers, by file name;
    `requests` lists (path, headers)."""

    index: bytes = b"apiVersion: v1\nentries: {}\n"
    archives: dict[str, bytes] = field(default_factory=dict)
    validators: bool = True
    status: int = 200
    statuses: dict[str, int] = field(default_factory=dict)
    cut: int | None = None
    redirect: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    gates: dict[str, Gate] = field(default_factory=dict)
    url: str = ""

    def archive_requests(self) -> list[str]:
        return [path for path, _ in self.requests if path.endswith(".tgz")]


class Handler(BaseHTTPRequestHandler):
    repo: HelmRepo
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        repo, path = self.repo, self.path.split("?")[0]
        repo.requests.append((self.path, dict(self.headers)))
        if repo.redirect and path.endswith("/index.yaml"):
            return self.answer(302, b"", {"Location": repo.redirect})
        if not path.endswith("/index.yaml"):
            name = path.rpartition("/")[2]
            body = repo.archives.get(name)
            return self.answer(repo.statuses.get(name, 200 if body is not None else 404), body or b"")
        if repo.status != 200:
            return self.answer(repo.status, b"no", {"Retry-After": "7"} if repo.status in (429, 503) else {})
        etag = f'"{hashlib.sha256(repo.index).hexdigest()[:16]}"'
        if repo.validators and self.headers.get("If-None-Match") == etag:
            return self.answer(304, b"", {"ETag": etag})
        headers = {**({"ETag": etag} if repo.validators else {}), **repo.headers}
        body = repo.index
        if "gzip" in self.headers.get("Accept-Encoding", ""):
            body, headers["Content-Encoding"] = gzip.compress(body), "gzip"
        return self.answer(200, body, headers)

    def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if status != 304:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if body and (gate := self.repo.gates.get(self.path.rpartition("/")[2])):
            self.wfile.write(body[: gate.at])
            gate.reached.set()
            gate.open.wait(60)
            body = body[gate.at :]
        if self.repo.cut is not None and body:
            self.wfile.write(body[: self.repo.cut])
            self.close_connection = True
        else:
            self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


@contextmanager
def serving(repo: HelmRepo) -> Iterator[HelmRepo]:
    handler = type("Bound", (Handler,), {"repo": repo})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    repo.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield repo
    finally:
        server.shutdown()
        server.server_close()


def as_json(data: bytes) -> bytes:
    return json.dumps(yaml.safe_load(data), default=str).encode()
