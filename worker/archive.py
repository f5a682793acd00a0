"""A chart's archive → what the catalogue keeps of it. Pure, in memory, bounded; nothing is ever extracted to disk."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from catalog.errors import CatalogError, LimitExceeded
from worker.index import YamlReader
from worker.tgz import regular_files

MOST_PACKED = 20 * 1024 * 1024
MOST_FILE = 5 * 1024 * 1024  # Helm's own limit
MOST_KEPT = 10 * 1024 * 1024
MOST_FILES = 100
MOST_METADATA = 256 * 1024  # of a Chart.yaml whose dependencies and images are looked for
WANTED = {name.lower(): name for name in ("README.md", "values.yaml", "values.schema.json", "Chart.yaml")}
FURTHER_VALUES = re.compile(r"values-([\w-]+)\.yaml", re.IGNORECASE | re.ASCII)
DEPENDENCY = ("name", "version", "repository", "alias", "condition")
IMAGES = "artifacthub.io/images"
BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Archive:
    """`files` by their names in the catalogue; the number of members below templates/; dependencies with the fields of DEPENDENCY
    that they have; images as the chart's annotation names them."""

    files: Mapping[str, bytes]
    templates: int
    dependencies: Sequence[Mapping[str, str]]
    images: Sequence[str]


def read_archive(packed: bytes) -> Archive:
    """What is kept of a chart (as Kubeapps: by base name in any case, at most one directory deep, the last one counts).

    Raises SourceMalformed or LimitExceeded."""
    files: dict[str, bytes] = {}
    templates = kept = 0
    for member in regular_files(packed):
        path = path_of(member.path)
        templates += len(path) > 2 and path[1] == "templates"
        if (name := file_name(path)) is not None:
            kept += member.size
            _check_limits(name, member.size, kept, len(files))
            files[name] = member.read().removeprefix(BOM)
    return Archive(files, templates, *_described(files, files.pop("requirements.yaml", b"")))


def path_of(member: str) -> tuple[str, ...]:
    """A member's path by its parts, Windows' separators too; () for one that is absolute or leaves the archive."""
    path = member.replace("\\", "/")
    parts = tuple(part for part in path.split("/") if part not in ("", "."))
    outside = path.startswith("/") or ".." in parts or path[1:2] == ":"
    return () if outside else parts


def file_name(path: Sequence[str]) -> str | None:
    """The name under which a member is kept, or None. requirements.yaml is where charts of apiVersion v1 have their dependencies."""
    if not 1 <= len(path) <= 2:
        return None
    name = path[-1].lower()
    if name in WANTED:
        return WANTED[name]
    further = FURTHER_VALUES.fullmatch(path[-1])
    return f"values-{further[1]}.yaml" if further else name if name == "requirements.yaml" else None


def _check_limits(name: str, size: int, kept: int, files: int) -> None:
    if size > MOST_FILE:
        raise LimitExceeded(f"{name} in the archive is larger than {MOST_FILE:,} bytes")
    if kept > MOST_KEPT:
        raise LimitExceeded(f"the archive's README and values are larger than {MOST_KEPT:,} bytes in all")
    if files >= MOST_FILES:
        raise LimitExceeded(f"the archive has more than {MOST_FILES} files of values")


def _described(files: Mapping[str, bytes], requirements: bytes) -> tuple[list[dict[str, str]], list[str]]:
    """Dependencies and images; most charts have neither, and YAML costs more than all the rest."""
    text = files.get("Chart.yaml", b"")
    if not requirements and b"dependencies" not in text and IMAGES.encode() not in text:
        return [], []
    chart = _mapping(_parsed(text))
    own = _mapping(_parsed(requirements)) if requirements and chart.get("apiVersion") != "v2" else chart
    dependencies = [_dependency(entry) for entry in _list(own.get("dependencies")) if isinstance(entry, dict)]
    annotation = _mapping(chart.get("annotations")).get(IMAGES)
    entries = _list(_parsed(annotation.encode())) if isinstance(annotation, str) else []
    images = [entry["image"] for entry in entries if isinstance(entry, dict) and isinstance(entry.get("image"), str)]
    return dependencies, list(dict.fromkeys(_without_nul(image) for image in images))


def _dependency(entry: Mapping[str, Any]) -> dict[str, str]:
    return {name: _without_nul(entry[name]) for name in DEPENDENCY if isinstance(entry.get(name), str)}


def _parsed(text: bytes) -> Any:
    """A YAML text with scalars as they were written; None for what is no YAML, or too much of it."""
    try:
        return YamlReader(text).document() if len(text) <= MOST_METADATA else None
    except (yaml.YAMLError, CatalogError, ValueError):
        return None


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _without_nul(text: str) -> str:
    return text.replace("\0", "")  # PostgreSQL's text and jsonb have none
