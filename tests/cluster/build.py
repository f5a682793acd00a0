"""Builds devcluster and its two images into the user's cache, once for each state of their sources: python3 -m tests.cluster.build."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from fcntl import LOCK_EX, flock
from pathlib import Path

from tests.cluster.images import pack

SOURCES = Path(__file__).with_name("devcluster")
REMEDY = "build it once, 10 minutes with Go: make cluster"
BUSYBOX = Path("/bin/busybox")  # of Debian's busybox-static
OLDEST_THAT_SWITCHES = (1, 21)  # Go takes the toolchain that go.mod names by itself


def cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "chartfleet"


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds the lock of a file, alone on this machine; it ends with the process, however that ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        flock(file, LOCK_EX)
        yield


def place() -> Path:
    """Where the build of the present sources is, or will be; go.mod names Go's version."""
    digest = hashlib.sha256()
    for path in sorted(path for path in SOURCES.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(SOURCES)}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return cache() / f"cluster-{digest.hexdigest()[:16]}"


def build() -> Path:
    """The directory of `devcluster`, `pause.tar` and, where busybox is there, `busybox.tar`; made if it is missing."""
    target = place()
    with locked(cache() / "cluster.lock"):
        if not target.exists():
            begun = target.with_name("cluster.begun")  # what was interrupted must not look like a build
            shutil.rmtree(begun, ignore_errors=True)
            begun.mkdir()
            compile_go(SOURCES, begun / "devcluster", tags="kubelet", ldflags=f"-s -w {version_flags()}")
            write_pause(begun / "pause.tar")
            begun.rename(target)
        if BUSYBOX.exists() and not (target / "busybox.tar").exists():
            write_busybox(target / "busybox.tar")
    return target


def compile_go(source: Path, target: Path, tags: str = "", ldflags: str = "-s -w") -> None:
    environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false -trimpath", "GOTOOLCHAIN": named("toolchain")}
    subprocess.run([go(), "build", "-tags", tags, "-ldflags", ldflags, "-o", str(target), "."], cwd=source, env=environment, check=True)


def named(word: str) -> str:
    """What go.mod says after a word at a line's beginning."""
    found = re.search(rf"^\s*{re.escape(word)} (\S+)$", (SOURCES / "go.mod").read_text(), re.MULTILINE)
    assert found, f"go.mod has no line {word}"
    return found[1]


def version_flags() -> str:
    """What a release build of Kubernetes tells the linker; the API server would call itself v0.0.0 otherwise."""
    version = named("k8s.io/kubernetes")
    major, minor, _ = version.removeprefix("v").split(".")
    values = {"gitVersion": version, "gitMajor": major, "gitMinor": minor}
    return " ".join(f"-X k8s.io/component-base/version.{name}={value}" for name, value in values.items())


def go() -> str:
    """A Go that builds what go.mod asks for. Any older one fetches it as a module, whose sum Go checks."""
    found = shutil.which("go") or shutil.which("/usr/local/go/bin/go")
    if not found:
        raise SystemExit("Go is missing: install it (Debian, Ubuntu: apt-get install golang-go; any version)")
    if tuple(map(int, re.findall(r"\d+", told(found, "env", "GOVERSION"))[:2])) >= OLDEST_THAT_SWITCHES:
        return found
    module = f"golang.org/toolchain@v0.0.1-{named('toolchain')}.linux-{told(found, 'env', 'GOARCH')}"
    root = Path(json.loads(told(found, "mod", "download", "-json", module))["Dir"])
    for program in [*(root / "bin").iterdir(), *(path for path in (root / "pkg/tool").rglob("*") if path.is_file())]:
        program.chmod(0o555)  # modules keep no execute bits
    return str(root / "bin" / "go")


def told(*argv: str) -> str:
    return subprocess.run(argv, check=True, stdout=subprocess.PIPE, text=True, cwd="/").stdout.strip()


def write_pause(image: Path) -> None:
    """The image of every Pod's sandbox."""
    with tempfile.TemporaryDirectory() as root:
        compile_go(SOURCES / "pause", Path(root) / "pause")
        pack("localhost/devcluster/pause:1", Path(root), image, ["/pause"])


def write_busybox(image: Path) -> None:
    """A shell with its tools, for Pods that need nothing else."""
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        for name in ("bin", "etc", "tmp", "proc", "sys", "dev"):
            (root / name).mkdir()
        (root / "tmp").chmod(0o1777)
        (root / "etc" / "passwd").write_text("root:x:0:0:root:/:/bin/sh\n")
        shutil.copy(BUSYBOX, root / "bin" / "busybox")
        for applet in set(told(str(BUSYBOX), "--list").split()) - {"busybox"}:
            (root / "bin" / applet).symlink_to("busybox")
        pack("localhost/devcluster/busybox:1", root, image, ["/bin/sh"])


if __name__ == "__main__":
    print(build())
