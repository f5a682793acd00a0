"""The pure parts of the bench, and its meters on processes that are known to have worked."""

import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from subprocess import PIPE, Popen

from bench.__main__ import filled
from bench.figures import Figure, markdown
from bench.inputs import Growing
from bench.meters import cpu, memory
from bench.plot import Line, Panel, svg, ticks
from bench.replay import changes, listing_of
from worker.index import YamlReader

BURN = "import time\nwhile time.process_time() < 0.2: pass\n"
BURNING = f"""
import os, sys
if os.fork() == 0:
    {BURN.replace(chr(10), chr(10) + "    ")}
    os._exit(0)
os.wait()
held = bytearray(50 * 2**20)
held[::4096] = b"x" * len(held[::4096])
print("ready", flush=True)
sys.stdin.read()
"""


def test_the_meters_see_children_that_ended_and_memory_that_is_touched() -> None:
    with Popen([sys.executable, "-c", BURNING], stdin=PIPE, stdout=PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        assert 0.1 <= cpu(process.pid) < 5
        assert 50 < memory(process.pid) < 150
        process.communicate("")
    assert cpu(process.pid) == memory(process.pid) == 0


def test_a_figure_at_its_bar_is_held_and_one_above_is_missed() -> None:
    assert [Figure("a", "b", ours, 3, "ms").verdict for ours in (2.9, 3, 3.1)] == ["held", "held", "missed"]
    assert Figure("a", "b", 3).verdict == ""


def test_a_table_says_a_work_once() -> None:
    rows = [Figure("sync", "CPU", 0.25, 1, "s", "warm").cells(), Figure("sync", "rows", 1234).cells()]
    assert markdown(("work", "measured", "ours", "bar", "", "Kubeapps"), rows).splitlines()[2:] == [
        "| sync | CPU | 0.25 s (warm) | ≤ 1.00 s | held |  |",
        "|  | rows | 1,234 |  |  |  |",
    ]


def test_a_page_is_filled_between_its_marks_and_nowhere_else() -> None:
    page = "before\n<!-- a -->\nold\n<!-- end of a -->\nafter <!-- b -->\n"
    once = filled(page, {"a": r"new \1", "b": "never"})
    assert once == "before\n<!-- a -->\n\nnew \\1\n<!-- end of a -->\nafter <!-- b -->\n"
    assert filled(once, {"a": r"new \1"}) == once


def test_a_growing_index_gets_versions_that_only_the_walk_reads_when_asked(tmp_path: Path) -> None:
    path = tmp_path / "index.yaml"
    path.write_text("entries:\n  a:\n  - name: a\n    icon: x\n    version: 1.0.0\n  b:\n  - name: b\n    version: 1.0.0\n")
    index = Growing(path, "a")
    first, second = index.grow().read_bytes(), index.grow(odd=True, icon="http://icons").read_bytes()
    versions = [[(item.value["version"], item.value.get("icon")) for item in items] for _, items in YamlReader(second).charts()]
    assert versions == [[("99.2.0", "http://icons/2.png"), ("99.1.0", "x"), ("1.0.0", "x")], [("1.0.0", None)]]
    assert (first.count(b"\n#"), second.count(b"\n#")) == (0, 1)


def test_real_changes_are_told_apart_from_new_stamps() -> None:
    before = listing_of({"entries": {"a": [{"version": "1", "created": "x", "digest": "1"}, {"version": "2"}], "b": [{"version": "1"}]}})
    now = listing_of(
        {"entries": {"a": [{"version": "1", "created": "y", "digest": "1"}, {"version": "2", "digest": "2"}, {"version": "3"}]}}
    )
    told = changes(before, now)
    assert (told.added, told.changed, told.removed, told.charts) == (1, 1, 1, 2)


def test_a_plot_has_a_line_for_each_reader_and_its_labels_do_not_cover_one_another() -> None:
    lines = [Line("full & walk", [(1, 0.1), (100, 6)], second=True), Line("bare walk", [(1, 0.1), (100, 5.9)], second=True, bare=True)]
    drawing = ET.fromstring(svg([Panel("CPU seconds", lines)], "MB"))
    labels = [(float(text.attrib["y"]), text.text) for text in drawing.findall("{*}text[@class='second']")]
    assert [text for _, text in labels] == ["full & walk", "bare walk"]
    assert labels[1][0] - labels[0][0] >= 12


def test_ticks_are_few_and_round() -> None:
    assert ticks(100) == [0, 20, 40, 60, 80, 100]
    assert ticks(6.3) == [0, 1, 2, 3, 4, 5, 6]
    assert ticks(0.17) == [0, 0.05, 0.1, 0.15]
