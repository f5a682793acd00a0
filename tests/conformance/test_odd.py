"""Awkward indexes that real repositories published: what becomes of each, beside what Helm and Kubeapps make of it."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.conformance.collection import ODD, kubeapps_outcomes, odd_name
from tests.conformance.conftest import Catalogue
from tests.conformance.helm_search import helm_rows, our_rows
from worker.run import Outcome


@dataclass(frozen=True)
class Panic:
    """Kubeapps' syncer panicked, on every run; until then it had written so much."""

    charts: int
    versions: int


@dataclass(frozen=True)
class Odd:
    """What is expected of one file: charts and versions published, or the reason and the text of the refusal."""

    ours: tuple[int, int] | str
    helm: int | str
    kubeapps: tuple[int, int] | Panic | str
    notes: dict[str, int] = field(default_factory=dict)


EXPECTED = {
    "artifacthub-index.yaml": Odd((1, 21), 21, (1, 21)),
    "bitnami-postgresql-ha-index.yaml": Odd((1, 297), 297, (1, 297)),
    "brigade-conflict-markers-index.yaml": Odd(
        "SourceMalformed: the index is not YAML: line 7", "line 7: could not find expected ':'", "line 7: could not find expected ':'"
    ),
    "brigade-unquoted-timestamps-index.yaml": Odd((6, 56), 56, (5, 55)),
    "charts-syncer-index-relative.yaml": Odd((3, 16), 16, (3, 16)),
    "charts-syncer-index.yaml": Odd((3, 16), 16, (3, 16)),
    "curity-duplicate-top-keys-index.yaml": Odd(
        (1, 67), 'key "entries" already set in map', (1, 66), {"DuplicateChart": 1, "DuplicateKey": 2}
    ),
    "flux-chartmuseum-index.json": Odd((4, 5), 5, Panic(4, 4), {"NoUrl": 1}),
    "flux-chartmuseum-index.yaml": Odd((4, 5), 5, Panic(4, 4), {"NoUrl": 1}),
    "gzip-file-index.yaml.gz": Odd((1, 1), 1, (1, 1)),  # served unpacked
    "helm-apiversion-only-index.yaml": Odd((0, 0), 0, (0, 0)),
    "helm-chartmuseum-index.yaml": Odd((3, 4), 4, Panic(3, 3), {"NoUrl": 1}),
    "helm-encoded-url-index.yaml": Odd((1, 1), 1, (1, 1)),
    "helm-kubernetes-charts-index.yaml": Odd((2, 3), 3, (2, 3)),
    "helm-local-empty-index.yaml": Odd((0, 0), 0, (0, 0)),
    "helm-local-index-annotations.yaml": Odd((3, 4), 4, Panic(3, 3), {"NoUrl": 1}),
    "helm-local-index-unordered.yaml": Odd((3, 4), 4, Panic(3, 3), {"NoUrl": 1}),
    "helm-local-index.json": Odd((3, 4), 4, Panic(3, 3), {"NoUrl": 1}),
    "helm-local-index.yaml": Odd((3, 4), 4, Panic(3, 3), {"NoUrl": 1}),
    "helm-malformed-index.yaml": Odd((1, 1), 1, (1, 1)),
    "helm-querystring-index.yaml": Odd((1, 1), 1, (1, 1)),
    "helm-relative-index.yaml": Odd((3, 3), 3, (3, 3)),
    "helm-relative-trailing-slash-index.yaml": Odd((2, 2), 2, (2, 2)),
    "helm-server-index.yaml": Odd((2, 3), 3, (2, 3)),
    "helm-test-name-index.yaml": Odd((0, 0), 0, (0, 0)),
    "helm-testing-index.yaml": Odd((2, 3), 3, (2, 3)),
    "ibm-community-index.yaml": Odd((25, 69), 69, (25, 69)),
    "ibm-components-index.yaml": Odd((88, 205), 205, (88, 205)),
    "jupyterhub-2020-06-index.yaml": Odd((3, 584), 584, (3, 636), {"OddVersion": 52}),
    "keda-index.yaml": Odd((3, 106), 106, (3, 106)),
    "keda-yaml-error-near-end-index.yaml": Odd(
        "SourceMalformed: the index is not YAML: line 893", "line 892: did not find expected key", "line 892: did not find expected key"
    ),
    "kubeapps-categories-index.yaml": Odd((2, 2), 2, (2, 2)),
    "kubeapps-harbor-unified-index.yaml": Odd((2, 3), "no API version specified", (2, 3), {"NameDiffers": 1}),
    "kubeapps-index-spaces.yaml": Odd((0, 0), "no API version specified", Panic(4, 4), {"NoVersion": 4}),
    "kubeapps-valid-index.yaml": Odd((2, 3), "no API version specified", (2, 3)),
    "metrics-server-index.yaml": Odd((1, 16), 16, (1, 16)),
    "neo4j-entry-without-version-index.yaml": Odd((2, 15), 15, (1, 12), {"DuplicateVersion": 2, "NameDiffers": 6, "NoVersion": 1}),
    "neo4j-index.yaml": Odd((2, 74), 74, (1, 35), {"DuplicateVersion": 2, "NameDiffers": 35}),
    "nicholaswilde-empty-index.yaml": Odd("SourceMalformed: the index is empty", "empty index.yaml file", (0, 0)),
    "openshift-first-index.yaml": Odd((0, 0), 0, (0, 0)),
}


def said(outcome: Outcome) -> tuple[int | None, int | None] | str:
    return f"{outcome.error.reason}: {outcome.error}" if outcome.error else (outcome.report.charts, outcome.report.versions)


def kubeapps_said(file: str) -> tuple[int, int] | Panic | str:
    row = kubeapps_outcomes()[file]
    if row["error"]:
        return row["error"][0]
    charts, versions = row["charts"], sum(int(each.split(" ")[-2]) for each in row["ids"])  # "REPOSITORY/CHART VERSIONS MD5"
    return Panic(charts, versions) if row["panic"] else (charts, versions)


def agrees(said: object, expected: object) -> bool:
    """Equal, or the text that is expected stands in what is said."""
    return expected in said if isinstance(said, str) and isinstance(expected, str) else said == expected


@pytest.mark.skipif(not ODD.is_dir(), reason="the collection of real odd indexes is not beside this checkout")
def test_every_odd_index_has_an_expected_outcome() -> None:
    assert set(EXPECTED) == {path.name for path in ODD.iterdir()}


@pytest.mark.parametrize("file", EXPECTED)
def test_an_odd_index_ends_as_expected(file: str, catalogue: Catalogue) -> None:
    outcome, expected = catalogue.outcomes[odd_name(file)], EXPECTED[file]
    assert agrees(said(outcome), expected.ours)
    assert Counter(note.reason for note in outcome.report.notes or []) == expected.notes


@pytest.mark.parametrize("file", EXPECTED)
def test_helm_says_of_an_odd_index_what_the_table_says(file: str, catalogue: Catalogue, helm: str, tmp_path: Path) -> None:
    name = odd_name(file)
    listed = helm_rows(helm, catalogue.urls[name], tmp_path)
    assert agrees(len(listed) if isinstance(listed, list) else listed, EXPECTED[file].helm)
    if isinstance(listed, list):
        notes = catalogue.outcomes[name].report.notes or []
        twice = {(note.chart, note.version) for note in notes if note.reason == "DuplicateVersion"}  # helm shows any one of them
        ours = our_rows(catalogue.database, name)
        assert [row for row in ours if row[:2] not in twice] == [row for row in listed if row[:2] not in twice]


@pytest.mark.parametrize("file", EXPECTED)
def test_kubeapps_did_with_an_odd_index_what_the_table_says(file: str) -> None:
    if not ODD.is_dir():
        pytest.skip("the collection of real odd indexes is not beside this checkout")
    assert agrees(kubeapps_said(file), EXPECTED[file].kubeapps)
