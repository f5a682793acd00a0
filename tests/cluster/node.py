"""The node: containerd and a kubelet in namespaces of their own, so that all they start and mount ends with one process."""

import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from tests.cluster.build import locked
from tests.cluster.kube import Kube

TEMPLATES = Path(__file__).with_name("templates")
CGROUPS = Path("/sys/fs/cgroup")
NAME = "localhost"  # a name that the API server can resolve: it asks the kubelet for logs
HOST = "10.244.0.1"  # by which Pods reach this machine, while there are any; see templates/pods.conflist
PLUGINS = Path("/usr/lib/cni")
PACKAGES = "apt-get install --no-install-recommends containerd runc containernetworking-plugins"


def unable() -> str | None:
    """What this process is not allowed and a node needs, such as in a container without privileges."""
    if os.geteuid() != 0:
        return "root"
    allowed = subprocess.run(["unshare", "--pid", "--mount", "--fork", "true"], check=False, capture_output=True).returncode == 0
    return None if allowed else "the right to mount"


def missing() -> str | None:
    """What a node needs and this machine lacks."""
    programs = [name for name in ("containerd", "ctr", "runc") if not shutil.which(name)]
    return ", ".join([*programs, *(["CNI plugins"] if not PLUGINS.exists() else [])]) or None


def prepare(directory: Path, port: int, devcluster: Path, images: Sequence[Path]) -> list[str]:
    """Write the node's configuration into the cluster's directory; returns the command that runs it."""
    for hierarchy in hierarchies():
        (hierarchy / cgroup(directory)).mkdir(exist_ok=True)
    values = {"@DIR@": str(directory), "@PORT@": str(port), "@CGROUP@": cgroup(directory)}
    (directory / "cni").mkdir()
    for target in ("containerd.toml", "kubelet.yaml", "cni/pods.conflist"):
        text = (TEMPLATES / Path(target).name).read_text()
        for placeholder, value in values.items():
            text = text.replace(placeholder, value)
        (directory / target).write_text(text)
    namespaces = ("--pid", "--mount", "--mount-proc", "--fork", "--kill-child")
    words = (directory, devcluster, NAME, *(image.resolve() for image in images))
    return ["unshare", *namespaces, "/bin/sh", str(TEMPLATES / "run"), *map(str, words)]


def takes_pods(kube: Kube) -> bool:
    node = kube.find("nodes", NAME)
    conditions = node["status"].get("conditions", ()) if node else ()
    ready = any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)
    return ready and bool(node) and not node["spec"].get("taints")


def load(directory: Path, image: str, archive: Path) -> None:
    """Make an image known to the node of the cluster in `directory`."""
    ctr = ["ctr", "--address", str(directory / "containerd.sock"), "--namespace", "k8s.io", "images"]
    with locked(directory / "loading"):
        if image not in subprocess.run([*ctr, "list", "--quiet"], check=True, capture_output=True, text=True).stdout.split():
            subprocess.run([*ctr, "import", str(archive)], check=True, capture_output=True)


def cgroup(directory: Path) -> str:
    return f"devcluster-{sha256(bytes(directory)).hexdigest()[:12]}"


def hierarchies() -> list[Path]:
    if (CGROUPS / "cgroup.controllers").exists():
        return [CGROUPS]
    return [hierarchy for hierarchy in CGROUPS.iterdir() if (hierarchy / "cgroup.procs").exists()]


def clean_up(directory: Path, seconds: float = 10.0) -> None:
    """Remove the node's cgroups; busy ones still hold processes that are being killed."""
    end = time.monotonic() + seconds
    while left := [root for hierarchy in hierarchies() if (root := hierarchy / cgroup(directory)).exists()]:
        for folder in (folder for root in left for folder, _, _ in os.walk(root, topdown=False)):
            with suppress(OSError):
                Path(folder).rmdir()
        if time.monotonic() > end:
            raise OSError(f"cgroups still hold processes: {left}")
        time.sleep(0.02)
