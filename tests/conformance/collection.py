"""The collection of real repositories and odd indexes: what is read of it, and what Kubeapps' own syncer wrote down for it."""

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.conftest import SHARED

DATA = SHARED / "data"
GOLDEN = DATA / "kubeapps-golden"
ODD = DATA / "odd"

Rows = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Input:
    """One index to sync.

    `name` is the repository's, as Kubeapps' rows have it; `prefix` is what of its urls stands for the server's own address; `files` says
    whether its archives are here to be read; `recorded` is the address that stands in Kubeapps' rows.
    """

    name: str
    index: Path
    prefix: str = ""
    files: bool = False
    recorded: str = ""


REPOSITORIES = (
    Input("k8s-at-home", DATA / "k8s-at-home/index.yaml"),
    Input("eks", DATA / "eks/index.yaml", "https://aws.github.io/eks-charts/", files=True, recorded="http://127.0.0.1:18202"),
    Input("enix-raw", DATA / "enix/index.yaml", recorded="http://127.0.0.1:18099"),
    Input("rancher-partner-2021", DATA / "rancher-partner-2021/index.yaml", files=True, recorded="http://127.0.0.1:18201"),
    Input(
        "cloudnativeapp-curated",
        DATA / "cloudnativeapp-curated/index.yaml",
        "https://cloudnativeapp.github.io/charts/curated/",
        files=True,
        recorded="http://127.0.0.1:18203",
    ),
    Input("cloudnativeapp-submitted", DATA / "cloudnativeapp-submitted/index.yaml"),
)


def odd_name(file: str) -> str:
    """The repository's name for a file of odd/: `odd-x-index`, `odd-x-index-json`, `odd-x-index-gz`."""
    return "odd-" + file.replace(".yaml", "").replace(".", "-")


def inputs() -> Iterator[Input]:
    yield from REPOSITORIES
    for path in sorted(ODD.iterdir()):
        yield Input(odd_name(path.name), path, recorded="http://127.0.0.1:18204")


def recorded_url(name: str) -> str:
    return next(each.recorded for each in inputs() if each.name == name)


def kubeapps_charts(name: str) -> Rows:
    """Kubeapps' `charts.info` by chart id."""
    folder = GOLDEN / "odd" if name.startswith("odd-") else GOLDEN
    return {row["chart_id"]: row["info"] for row in _lines(folder / f"{name}.charts.jsonl")}


def kubeapps_files(name: str) -> Rows:
    """Kubeapps' `files.info` by its id, chart and version."""
    return {row["chart_files_id"]: row["info"] for row in _lines(GOLDEN / f"{name}.files.jsonl")}


def kubeapps_digests(name: str, table: str) -> dict[str, dict[str, str]]:
    """Kubeapps' rows of `charts` or `files` as md5 sums and counts, by id."""
    with (GOLDEN / f"{name}.{table}.digests.tsv").open() as file:
        return {row["chart_files_id" if table == "files" else "chart_id"]: row for row in csv.DictReader(file, delimiter="\t")}


def kubeapps_outcomes() -> dict[str, dict[str, Any]]:
    """How Kubeapps' syncer ended on each file of odd/."""
    return {row["file"]: row for row in json.loads((GOLDEN / "odd-summary.json").read_text())}


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    return map(json.loads, path.read_text().splitlines())
