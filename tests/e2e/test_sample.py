"""The bundled sample as Helm and a caching client see it: a repository like any other."""

import os
import shutil
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cli import sample
from tests.conftest import missing


@pytest.fixture
def url() -> Iterator[str]:
    with sample.server(sample.files(), 0) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def helm(tmp_path: Path) -> Callable[..., str]:
    """Runs the real helm, HELM=/path/to/helm or the one on PATH, with a state of its own."""
    found = os.environ.get("HELM") or shutil.which("helm")
    if not found:
        missing("helm", "put it on PATH or set HELM=/path/to/helm; https://helm.sh/docs/intro/install/ says where it comes from")
    environment = {**os.environ, **{f"HELM_{name}_HOME": str(tmp_path) for name in ("CACHE", "CONFIG", "DATA")}}

    def run(*words: str) -> str:
        return subprocess.run([str(found), *words], env=environment, capture_output=True, text=True, check=True, timeout=60).stdout

    return run


def test_helm_lists_pulls_and_approves_every_chart(helm: Callable[..., str], url: str, tmp_path: Path) -> None:
    helm("repo", "add", "sample", url)
    listed = [line.split()[:2] for line in helm("search", "repo", "--versions").splitlines()[1:]]
    assert len(listed) == 6
    for name, version in listed:
        helm("pull", name, "--version", version, "--destination", str(tmp_path))
        archive = tmp_path / f"{name.removeprefix('sample/')}-{version}.tgz"
        helm("lint", "--strict", str(archive))
        assert "kind:" in helm("template", "release", str(archive))


def test_what_did_not_change_is_not_sent_again(url: str) -> None:
    with urllib.request.urlopen(f"{url}/index.yaml") as answer:
        etag = answer.headers["ETag"]
    again = urllib.request.Request(f"{url}/index.yaml", headers={"If-None-Match": etag})
    with pytest.raises(urllib.error.HTTPError) as raised:
        urllib.request.urlopen(again)
    assert (raised.value.code, raised.value.read()) == (304, b"")


def test_what_is_not_there_is_said(url: str) -> None:
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"{url}/../pyproject.toml")
