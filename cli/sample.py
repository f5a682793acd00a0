"""The bundled sample repository: packages examples/charts in memory, as `helm package` does, and serves them like any Helm repository.

python -m cli.sample --port 8879
"""

import gzip
import io
import tarfile
from collections.abc import Mapping
from hashlib import sha256
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
import yaml

from cli.ports import HOST

CHARTS = Path(__file__).parents[1] / "examples" / "charts"
CREATED = "org.opencontainers.image.created"  # the annotation that says when a chart of ours was released

MANIFEST = """\
# Written by `chartfleet up` at every start, with the address at which the bundled sample is served.
apiVersion: kubeapps.com/v1alpha1
kind: AppRepository
metadata:
  name: sample
  namespace: default
spec:
  type: helm
  url: {url}
  interval: 10m
  description: The charts that come with Chartfleet
"""


def files(charts: Path = CHARTS) -> dict[str, bytes]:
    """What the repository serves, by path: index.yaml and one archive a version. The same input gives the same bytes."""
    served: dict[str, bytes] = {}
    entries: dict[str, list[dict[str, Any]]] = {}
    for directory in sorted(found.parent for found in charts.glob("*/*/Chart.yaml")):
        chart: dict[str, Any] = yaml.safe_load((directory / "Chart.yaml").read_text())
        archive, file = package(directory, chart["name"]), f"{chart['name']}-{chart['version']}.tgz"
        served[f"/{file}"] = archive
        entries.setdefault(chart["name"], []).insert(0, entry(chart, archive, file))
    served["/index.yaml"] = index(entries)
    return served


def package(directory: Path, name: str) -> bytes:
    """A chart's folder as an archive whose bytes depend on names and contents alone."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for path in sorted(path for path in directory.rglob("*") if path.is_file()):
            content = path.read_bytes()
            member = tarfile.TarInfo(f"{name}/{path.relative_to(directory).as_posix()}")
            member.size, member.mode = len(content), 0o644
            archive.addfile(member, io.BytesIO(content))
    return gzip.compress(plain.getvalue(), mtime=0)


def entry(chart: Mapping[str, Any], archive: bytes, file: str) -> dict[str, Any]:
    """A version as an index lists it: its Chart.yaml, and where the archive is."""
    return {**chart, "created": chart["annotations"][CREATED], "digest": sha256(archive).hexdigest(), "urls": [file]}


def index(entries: Mapping[str, list[dict[str, Any]]]) -> bytes:
    generated = max(version["created"] for versions in entries.values() for version in versions)
    document = {"apiVersion": "v1", "generated": generated, "entries": dict(entries)}
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True).encode()


def server(served: Mapping[str, bytes], port: int) -> ThreadingHTTPServer:
    """An HTTP server over fixed contents, with an ETag each."""
    etags = {path: f'"{sha256(body).hexdigest()[:32]}"' for path, body in served.items()}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path not in served:
                self._answer(HTTPStatus.NOT_FOUND, b"not found\n")
            elif etags[path] in self.headers.get("If-None-Match", ""):
                self._answer(HTTPStatus.NOT_MODIFIED, b"", etags[path])
            else:
                self._answer(HTTPStatus.OK, served[path], etags[path])

        do_HEAD = do_GET  # noqa: N815 - the name is http.server's

        def _answer(self, status: HTTPStatus, body: bytes, etag: str | None = None) -> None:
            self.send_response(status)
            if etag:
                self.send_header("ETag", etag)
            if status is not HTTPStatus.NOT_MODIFIED:
                self.send_header("Content-Type", "application/gzip" if self.path.endswith(".tgz") else "text/plain; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

    return ThreadingHTTPServer((HOST, port), Handler)


def manifest(port: int) -> str:
    """The AppRepository that asks for the sample."""
    return MANIFEST.format(url=f"http://{HOST}:{port}/")


def ports(file: Path) -> list[int]:
    """The port of an earlier manifest, so that the sample keeps its address."""
    try:
        return [port] if (port := urlsplit(yaml.safe_load(file.read_text())["spec"]["url"]).port) else []
    except (OSError, yaml.YAMLError, LookupError, TypeError, ValueError):
        return []


@click.command(help="Serve the bundled sample charts as a Helm repository.")
@click.option("--port", type=click.IntRange(1, 65535), required=True)
def main(port: int) -> None:
    server(files(), port).serve_forever()


if __name__ == "__main__":
    main()
