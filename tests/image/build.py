"""Builds the image of the real Dockerfile with buildah, once for each state of what goes in: python3 -m tests.image.build."""

import hashlib
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.cluster.build import cache, locked, told

ROOT = Path(__file__).parents[2]
REPOSITORY = "localhost/chartfleet/tests"
KEPT = 4
PYTHON = "docker.io/library/python:3.11-slim"
PACKAGES = "apt-get install --no-install-recommends buildah runc debootstrap"
# What a build needs of this machine where it does not reach the world directly; mounted, never in the image.
MOUNTS = ("/etc/ssl/certs", "/etc/pip.conf")
NEEDLESS = ("var/lib/apt/lists", "var/cache/apt", "var/log", "usr/share/doc", "usr/share/man", "usr/share/info", "usr/share/locale")
COPIED = ("etc/resolv.conf", "etc/hostname", "etc/apt/sources.list")  # debootstrap takes them from this machine
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def missing() -> str | None:
    """What a build needs, besides root, and this machine lacks."""
    return ", ".join(name for name in ("buildah", "runc", "debootstrap") if not shutil.which(name)) or None


def inputs() -> Iterator[Path]:
    """The Dockerfile and all that .dockerignore lets through."""
    ignore = ROOT / ".dockerignore"
    yield from (ROOT / "Dockerfile", ignore)
    for name in re.findall(r"^!(\S+)$", ignore.read_text(), re.MULTILINE):
        path = ROOT / name
        yield from (found for found in sorted(path.rglob("*")) if found.is_file() and found.suffix != ".pyc") if path.is_dir() else (path,)


def name() -> str:
    """The image's name; the tag says what went in."""
    digest = hashlib.sha256()
    for path in inputs():
        digest.update(f"{path.relative_to(ROOT)}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return f"{REPOSITORY}:{digest.hexdigest()[:16]}"


def build() -> tuple[str, Path]:
    """The image's name and its archive, as `ctr images import` reads it."""
    image = name()
    with locked(cache() / "image.lock"):
        archive = cache() / f"image-{image.rpartition(':')[2]}.tar"
        if not archive.exists():
            make_base()
            run_build(image)
            write_archive(image, archive)
        archive.touch()
        forget_old(REPOSITORY)
    return image, archive


def make_base() -> None:
    """The image that the Dockerfile begins with: what is there, what a registry has, or else the same made of Debian's packages."""
    if not succeeds("buildah", "inspect", PYTHON) and not succeeds("buildah", "pull", "--quiet", PYTHON):
        with tempfile.TemporaryDirectory() as directory:
            root = Path(directory) / "root"
            packages = "ca-certificates,python3,python3-venv"
            subprocess.run(["debootstrap", "--variant=minbase", f"--include={packages}", "bookworm", str(root)], check=True, stdout=2)
            slim(root)
            commit(root, PYTHON)


def slim(root: Path) -> None:
    for needless in NEEDLESS:
        shutil.rmtree(root / needless, ignore_errors=True)
    for copied in COPIED:
        (root / copied).unlink(missing_ok=True)
    for alias in ("python", "python3", "python3.11"):
        (root / "usr/local/bin" / alias).symlink_to("/usr/bin/python3.11")


def commit(root: Path, image: str) -> None:
    archive = root.with_suffix(".tar")
    words = [f"--exclude=./{name}/*" for name in ("dev", "proc", "sys")]
    subprocess.run(["tar", "--numeric-owner", "-C", str(root), *words, "-cf", str(archive), "."], check=True)
    container = told("buildah", "from", "scratch")
    told("buildah", "add", "--quiet", container, str(archive), "/")
    told("buildah", "config", "--cmd", "python3", "--env", PATH, "--env", "LANG=C.UTF-8", container)
    told("buildah", "commit", "--quiet", "--rm", container, image)


def run_build(image: str) -> None:
    mounts = [f"--volume={path}:{path}:ro" for path in MOUNTS if Path(path).exists()]
    runtime = ["--isolation=oci", f"--runtime={shutil.which('runc')}", "--network=host"]
    words = ["--pull-never", "--layers", "--format=docker", *runtime, *mounts, f"--tag={image}", str(ROOT)]
    subprocess.run(["buildah", "build", *words], check=True, stdout=2)


def write_archive(image: str, archive: Path) -> None:
    begun = archive.with_suffix(".begun")
    told("buildah", "push", "--quiet", image, f"docker-archive:{begun}:{image}")
    begun.rename(archive)


def forget_old(repository: str) -> None:
    """Keep the archives and images that were used last: checkouts beside one another have different ones."""
    by_age = sorted(cache().glob("image-*.tar"), key=lambda archive: archive.stat().st_mtime)
    for archive in by_age[:-KEPT]:
        archive.unlink()
    kept = {archive.stem.removeprefix("image-") for archive in by_age[-KEPT:]}
    for tag in set(told("buildah", "images", "--format={{.Tag}}", f"--filter=reference={repository}").split()) - kept:
        succeeds("buildah", "rmi", f"{repository}:{tag}")  # one that a container still uses stays


def succeeds(*argv: str) -> bool:
    return subprocess.run(argv, check=False, capture_output=True).returncode == 0


if __name__ == "__main__":
    print(*build())
