"""Packs a directory as a container image of one layer, as `ctr images import` reads it."""

import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Sequence
from pathlib import Path

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def pack(name: str, root: Path, image: Path, command: Sequence[str]) -> None:
    """Write `image`, a docker-archive, out of the files below `root`.

    The name begins with localhost/, so that nobody looks for it in a registry, and its tag is not `latest`, which a kubelet always pulls.
    """
    layer = packed(root)
    config = {
        "architecture": ARCHITECTURES[platform.machine()],
        "os": "linux",
        "config": {"Cmd": list(command), "Env": ["PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]
    begun = image.with_suffix(".begun")  # an interrupted image must not look like one
    with tarfile.open(begun, "w") as archive:
        add(archive, "layer.tar", layer)
        add(archive, "config.json", json.dumps(config).encode())
        add(archive, "manifest.json", json.dumps(manifest).encode())
    begun.rename(image)


def packed(root: Path) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as layer:
        for path in sorted(root.iterdir()):
            layer.add(path, path.name, filter=owned_by_root)
    return buffer.getvalue()


def owned_by_root(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = "root"
    return entry


def add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))
