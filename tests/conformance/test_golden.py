"""Rows that Kubeapps' own syncer wrote, against ours of the same inputs: every difference is listed here, with its reason."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from catalog.versions import order_key
from tests.conformance.collection import (
    GOLDEN,
    REPOSITORIES,
    Rows,
    kubeapps_charts,
    kubeapps_digests,
    kubeapps_files,
    kubeapps_outcomes,
    odd_name,
)
from tests.conformance.conftest import Catalogue
from tests.conformance.kubeapps_rows import Difference, differences, our_charts, our_files
from tests.conformance.test_odd import EXPECTED as ODD_FILES
from tests.conftest import Database

pytestmark = pytest.mark.skipif(not GOLDEN.is_dir(), reason="the rows that Kubeapps wrote are not beside this checkout")


def panicked(row: str) -> bool:
    """Whether Kubeapps' syncer panicked over the repository of a row."""
    return any(each["panic"] and row.startswith(f"{odd_name(file)}/") for file, each in kubeapps_outcomes().items())


def instant(text: str) -> datetime:
    return datetime.fromisoformat(text)


def is_odd(version: str) -> bool:
    try:
        order_key(version)
    except ValueError:
        return True
    return False


def without_version(row: Any) -> bool:
    return row["version"] == "" if "version" in row else not any(entry["version"] for entry in row["chartVersions"])


@dataclass(frozen=True)
class Listed:
    """A difference that is meant; docs/kubeapps.md has the same names and reasons."""

    reason: str
    explains: Callable[[Difference], bool]


LISTED = {
    "NamedByKey": Listed(
        "two keys of an index are two charts, as for Helm; Kubeapps goes by the entries' `name`: one overwrites the other",
        lambda d: d.row.endswith(("/neo4j-backup", "odd-neo4j-index/neo4j")),
    ),
    "CreatedInUtc": Listed(
        "the same moment, in UTC and to the microsecond: PostgreSQL keeps neither the writer's offset nor nanoseconds",
        lambda d: d.key == "created" and instant(d.kubeapps) == instant(d.ours),
    ),
    "EqualPrecedence": Listed(
        "versions that Helm holds equal (`4.13.0`, `4.13.000`) are ordered by their text; Kubeapps leaves them in any order",
        lambda d: d.key == "order" and [order_key(v) for v in d.kubeapps] == [order_key(v) for v in d.ours],
    ),
    "DeprecatedKept": Listed(
        "a chart whose newest version is deprecated stays and is flagged; Kubeapps drops it",
        lambda d: d.key == "" and not d.kubeapps and d.ours["deprecated"],
    ),
    "EveryVersion": Listed(
        "all versions are there; Kubeapps panics at a version without `urls`, on every run, and never comes to the rest",
        lambda d: d.key == "version" and not d.kubeapps and panicked(d.row),
    ),
    "NoVersion": Listed(
        "an entry without a version is a note; Kubeapps stores it, and its readers then fail for everybody",
        lambda d: d.key in ("", "version") and not d.ours and without_version(d.kubeapps),
    ),
    "OddVersion": Listed(
        "what Helm cannot order (`0.2.0-049.8a0cee8`) is a note, as Helm leaves it out; Kubeapps lists it last",
        lambda d: d.key == "version" and not d.ours and d.version != "" and is_odd(d.version),
    ),
    "DuplicateVersion": Listed(
        "a version listed several times is published once, with the newest `created`, and is a note; Kubeapps stores each",
        lambda d: d.key == "twice" and d.ours["digest"] in [entry["digest"] for entry in d.kubeapps],
    ),
    "RepeatedKey": Listed(
        "an index with `entries` twice is read whole, with a note; Kubeapps takes the last one, Helm refuses the file",
        lambda d: d.key == "version" and not d.kubeapps and d.row.startswith("odd-curity-duplicate-top-keys-index/"),
    ),
}


def explanations(found: Iterable[Difference]) -> Counter[str]:
    """How often each listed difference occurs; what none explains stands as itself."""
    return Counter(next((name for name, listed in LISTED.items() if listed.explains(each)), str(each)[:500]) for each in found)


# How often each occurs, besides CreatedInUtc, which is nearly everywhere.
CHARTS: dict[str, dict[str, int]] = {odd_name(file): {} for file in ODD_FILES} | {
    "enix-raw": {},
    "odd-brigade-unquoted-timestamps-index": {"DeprecatedKept": 1},
    "odd-curity-duplicate-top-keys-index": {"RepeatedKey": 1},
    "odd-flux-chartmuseum-index": {"EveryVersion": 1},
    "odd-flux-chartmuseum-index-json": {"EveryVersion": 1},
    "odd-helm-chartmuseum-index": {"EveryVersion": 1},
    "odd-helm-local-index": {"EveryVersion": 1},
    "odd-helm-local-index-annotations": {"EveryVersion": 1},
    "odd-helm-local-index-json": {"EveryVersion": 1},
    "odd-helm-local-index-unordered": {"EveryVersion": 1},
    "odd-jupyterhub-2020-06-index": {"OddVersion": 52},
    "odd-kubeapps-index-spaces": {"NoVersion": 4},
    "odd-neo4j-entry-without-version-index": {"DuplicateVersion": 1, "NamedByKey": 1, "NoVersion": 1},
    "odd-neo4j-index": {"NamedByKey": 102},
    "rancher-partner-2021": {"EqualPrecedence": 6},
}


@pytest.mark.parametrize("name", CHARTS)
def test_charts_hold_what_kubeapps_wrote_but_for_what_is_listed(name: str, catalogue: Catalogue) -> None:
    found = explanations(differences(kubeapps_charts(name), our_charts(catalogue.database, name, catalogue.urls[name])))
    del found["CreatedInUtc"]
    assert found == CHARTS[name]


def test_what_kubeapps_has_under_a_name_that_two_keys_share_is_the_other_keys_chart(catalogue: Catalogue) -> None:
    name = "odd-neo4j-index"
    kubeapps = kubeapps_charts(name)[f"{name}/neo4j"]
    ours = our_charts(catalogue.database, name, catalogue.urls[name])[f"{name}/neo4j-backup"]
    assert {each.key for each in differences({name: kubeapps}, {name: ours})} == {"ID", "name", "created"}


def test_files_hold_what_kubeapps_wrote(catalogue: Catalogue) -> None:
    name = "rancher-partner-2021"
    ours = our_files(catalogue.database, name, catalogue.urls[name])
    assert len(ours) == 56
    assert not list(differences(kubeapps_files(name), ours))


@pytest.mark.parametrize(("name", "deprecated"), [("eks", 1), ("cloudnativeapp-curated", 24)])
def test_charts_have_the_very_bytes_that_kubeapps_wrote_but_for_created(name: str, deprecated: int, catalogue: Catalogue) -> None:
    ours = our_charts(catalogue.database, name, catalogue.urls[name])
    kept = {row: info for row, info in ours.items() if not info.pop("deprecated")}
    assert len(ours) - len(kept) == deprecated
    as_listed = created_as_listed(index_of(name))
    for info in kept.values():
        for entry in info["chartVersions"]:
            written = as_listed[info["name"], entry["version"]]
            assert instant(written) == instant(entry["created"])
            entry["created"] = written
        del info["raw_icon"], info["icon_content_type"]
    golden = kubeapps_digests(name, "charts")
    assert md5_sums(catalogue.database, kept) == {row: each["md5_info_without_icon"] for row, each in golden.items()}


@pytest.mark.parametrize(("name", "files"), [("eks", 445), ("cloudnativeapp-curated", 231)])
def test_files_have_the_very_bytes_that_kubeapps_wrote(name: str, files: int, catalogue: Catalogue) -> None:
    golden = kubeapps_digests(name, "files")
    ours = {row: info for row, info in our_files(catalogue.database, name, catalogue.urls[name]).items() if row in golden}
    assert len(golden) == files
    assert md5_sums(catalogue.database, ours) == {row: each["md5_info"] for row, each in golden.items()}


def test_each_listed_difference_occurs() -> None:
    assert LISTED.keys() - {"CreatedInUtc"} == set().union(*CHARTS.values())


def index_of(name: str) -> Path:
    return next(each.index for each in REPOSITORIES if each.name == name)


def created_as_listed(index: Path) -> dict[tuple[str, str], str]:
    """`created` by chart and version, as Go writes it: without zeros at a fraction's end."""
    entries = yaml.load(index.read_bytes(), yaml.CBaseLoader)["entries"]
    return {
        (chart, entry["version"]): re.sub(r"\.?0+(?=Z|[+-]\d\d:)", "", entry["created"]) if "." in entry["created"] else entry["created"]
        for chart, versions in entries.items()
        for entry in versions
    }


def md5_sums(database: Database, rows: Rows) -> dict[str, str]:
    """As PostgreSQL writes jsonb."""
    texts = database.rows(
        "select row ->> 'ID', md5(row::text) from jsonb_array_elements(%s::jsonb) as rows(row)", json.dumps(list(rows.values()))
    )
    return {str(row): str(md5) for row, md5 in texts}
