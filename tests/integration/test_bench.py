"""The bench's parts on tiny inputs: what they count holds on any machine; what they time is only there."""

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.archives import archives
from bench.at_home import ADDED, FIRST, HASHED, UNCHANGED, k8s_at_home
from bench.controller import ALL_AT_ONCE, IDLE, OUTAGE, RESTART, TWO, controller
from bench.figures import Measured
from bench.ground import DATA, TOOLS, Ground, ground
from bench.growth import growth
from bench.large import large
from bench.replay import replay
from tests.cluster.fixtures import needs_devcluster
from tests.conftest import missing

INDEX = """\
apiVersion: v1
entries:
  app:
  - apiVersion: v2
    digest: 0000
    icon: https://icons.example.org/app.png
    name: app
    urls:
    - https://charts.example.org/app-1.1.0.tgz
    version: 1.1.0
  - apiVersion: v2
    icon: https://icons.example.org/app.png
    name: app
    urls:
    - https://charts.example.org/app-1.0.0.tgz
    version: 1.0.0
  other:
  - apiVersion: v2
    icon: https://icons.example.org/app.png
    name: other
    urls:
    - https://charts.example.org/other-1.0.0.tgz
    version: 1.0.0
generated: "2024-06-01T12:00:00.0Z"
"""


@pytest.fixture(scope="module")
def standing() -> Iterator[Ground]:
    if not DATA.is_dir() or not TOOLS.is_dir():
        missing("the collection of real repositories", "lay it beside the checkout, as ../shared")
    with ground() as standing:
        yield standing


def value(measured: Measured, work: str, words: str) -> float:
    [figure] = [figure for figure in measured.figures if figure.work == work and words in figure.measured]
    return figure.ours


def test_a_small_index_is_measured_as_the_one_of_k8s_at_home(standing: Ground, tmp_path: Path) -> None:
    source = tmp_path / "index.yaml"
    source.write_text(INDEX)
    measured = k8s_at_home(standing, source, "app", times=1)
    assert value(measured, FIRST, "distinct URL") == 1
    assert value(measured, UNCHANGED, "body bytes") == value(measured, UNCHANGED, "rows") == value(measured, HASHED, "rows") == 0
    assert value(measured, ADDED, "requests") == 4
    assert 5 <= value(measured, ADDED, "rows written") <= 8
    assert 0 < value(measured, UNCHANGED, "CPU, running worker") < 1000 * value(measured, FIRST, "CPU")
    assert value(measured, FIRST, "memory") > 10


def test_a_synthetic_index_is_measured_as_the_one_of_69_mb(standing: Ground) -> None:
    measured = large(standing, charts=20, times=1)
    assert all(figure.ours > 0 for figure in measured.figures)


def test_growth_is_measured_by_both_readers_and_drawn(standing: Ground) -> None:
    measured = growth(standing, sizes=(0.1, 0.5), times=1)
    assert [figure.unit for figure in measured.figures] == ["×", "×", "MiB", "MiB"]
    assert measured.files["growth.md"].count("\n") == 4
    drawing = ET.fromstring(measured.files["growth.svg"])
    assert len(drawing.findall(".//{*}path[@class='first']")) + len(drawing.findall(".//{*}path[@class='second']")) == 4


def test_real_archives_are_read_and_weighed(standing: Ground) -> None:
    measured = archives(standing, few=2, most=4)
    assert {figure.work for figure in measured.figures} == {"4 archives of eks"}


def test_the_first_revisions_of_a_history_end_as_a_fresh_sync_does(standing: Ground) -> None:
    measured = replay(standing, revisions=5)
    [equal, rows, idle, *_] = measured.figures
    assert (equal.ours, rows.verdict, idle.verdict) == (0, "held", "held")
    assert [line.split(" | ")[-1] for line in measured.files["replay.md"].splitlines()[2:]].count("held |") == 1


def test_a_few_repositories_are_measured_as_the_500_of_the_controller(standing: Ground) -> None:
    needs_devcluster()
    measured = controller(standing, count=45, still=2, away=1)
    assert 2 <= value(measured, ALL_AT_ONCE, "writes a repository") <= 6
    assert value(measured, ALL_AT_ONCE, "started") == 10
    assert value(measured, IDLE, "writes") == value(measured, RESTART, "Jobs") == value(measured, RESTART, "writes") == 0
    assert 0 < value(measured, RESTART, "reads") <= 30
    assert value(measured, TWO, "Jobs") == value(measured, OUTAGE, "without a Job") == 0
