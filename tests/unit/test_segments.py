"""The pieces' way against the full walk: whatever a file looks like, both must leave the catalogue the same."""

import random
import re
from collections.abc import Callable, Sequence
from functools import cache
from io import BytesIO
from pathlib import Path

import pytest

from tests.conftest import SHARED
from tests.fakes.helm_repo import index
from tests.unit.test_walk import Result, raw
from worker.frames import unpacked
from worker.segments import Segments

DATA = SHARED / "data"
real = pytest.mark.skipif(not DATA.is_dir(), reason="the collection of real indexes is not beside this checkout")
OURS = index({
    "alpha": [{"version": f"1.{n}.0", "digest": f"{n:064}", "description": f'a "quoted": text {n}'} for n in range(6)],
    "beta": [{"version": "0.1.0", "keywords": ["x", "y"], "maintainers": [{"name": "n"}]}, {"version": "0.2.0"}],
    "delta": [{"version": f"0.{n}.0", "description": "x" * 90} for n in range(20)],
    "gamma": [{"version": "3.0.0", "annotations": {"notes": "several\nlines\n  - of text\n"}}],
})  # fmt: skip
Catalogue = dict[str, dict[str, str]]


def stored(result: Result, before: Catalogue | None = None) -> Catalogue:
    """{chart: {version: content}} after a walk's rows were applied to what stood before."""
    catalogue = {name: dict(versions) for name, versions in (before or {}).items()}
    for line in result.lines:
        versions = {} if line[12] == "t" else catalogue.get(line[0], {})
        dropped = set(re.findall(r'"([^"]+)"', line[15]))
        catalogue[line[0]] = {version: content for version, content in versions.items() if version not in dropped}
    for row in result.rows:
        catalogue[row[0]][row[1]] = row[4]
    for name in result.end.gone if result.end else ():
        del catalogue[name]
    return catalogue


def compare(before: Result, data: bytes) -> bool:
    """Read `data` both ways after `before`; returns whether the pieces' way was taken."""
    full, fast = Result(data), Result(data, stored=before)
    assert (fast.failure is None) == (full.failure is None), (fast.failure, full.failure)
    if full.failure or full.end is None or fast.end is None:
        return False
    assert stored(fast, stored(before)) == stored(full)
    assert (fast.end.content, fast.end.charts, fast.end.versions) == (full.end.content, full.end.charts, full.end.versions)
    assert fast.end.generated == full.end.generated
    assert fast.reasons == full.reasons
    for line in fast.lines:
        for piece in unpacked(raw(line[14]) or b""):
            assert stored(full)[line[0]][piece.version].endswith(piece.fingerprint.hex())
    return fast.end.fast


@cache
def first(path: Path) -> Result:
    return Result(b"", path=path)


def test_an_index_as_helm_writes_it_is_known_by_its_pieces() -> None:
    before = Result(OURS)
    assert all(line[13] != "\\N" for line in before.lines)
    again = Result(OURS, stored=before)
    assert (again.end and again.end.fast, again.lines, again.asked) == (True, [], [])


def piece(data: bytes, holding: bytes) -> bytes:
    """An entry's text with the break before it."""
    return next(found for found in re.findall(rb"(?s)\n  - .*?(?=\n  - |\n  \w)", data) if holding in found)


def reordered(data: bytes) -> bytes:
    head, alpha, beta, delta, gamma, tail = re.split(rb"(?m)(?=^  alpha:|^  beta:|^  delta:|^  gamma:|^generated)", data)
    return head + gamma + alpha + delta + beta + tail


CHANGES: dict[str, Callable[[bytes], bytes]] = {
    "one more version": lambda data: data.replace(b"\n  beta:\n", b"\n  - created: x\n    urls: [u]\n    version: 9.9.9\n  beta:\n"),
    "one version less": lambda data: data.replace(piece(data, b"version: 1.3.0"), b""),
    "a changed digest": lambda data: data.replace(b"0003'", b"0007'", 1),
    "created stamped anew": lambda data: data.replace(b"2024-01-02T03:04:05Z", b"2031-01-02T03:04:05.123+02:00"),
    "the order of charts": reordered,
    "a chart less": lambda data: re.sub(rb"(?s)\n  beta:.*?(?=\n  delta:)", b"", data),
    "a version twice": lambda data: data.replace(b"version: 0.1.0", b"version: 0.2.0"),
    "another first line": lambda data: b"# comment\n" + data,
    "an anchor": lambda data: data.replace(b"version: 0.1.0", b"version: &v 0.1.0\n    appVersion: *v"),
    "a quote that runs on": lambda data: data.replace(b"version: 0.1.0", b'version: "0.1.0'),
    "a tab": lambda data: data.replace(b"version: 0.1.0", b"version: 0.1.0\t"),
    "windows lines": lambda data: data.replace(b"\n", b"\r\n"),
    "an unknown field": lambda data: data.replace(b"version: 0.1.0", b"version: 0.1.0\n    colour: blue"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_after_a_change_both_ways_leave_the_same(change: str) -> None:
    changed = CHANGES[change](OURS)
    assert changed != OURS
    compare(Result(OURS), changed)


def test_a_text_that_the_files_end_cuts_off_is_another_with_a_line_break() -> None:
    cut = b"entries:\n  b:\n  - version: 1.0.0\n    urls: [u]\n  a:\n  - version: 1.0.0\n    urls: [u]\n    description: |\n      x"
    assert not compare(Result(cut), cut)
    compare(Result(cut), cut + b"\n")


def test_one_added_version_is_all_that_is_written() -> None:
    fast = Result(CHANGES["one more version"](OURS), stored=Result(OURS))
    assert fast.end
    assert (fast.end.fast, fast.versions, fast.asked) == (True, [("alpha", "9.9.9")], ["alpha"])


def test_a_time_that_was_stamped_anew_leaves_nothing_to_write() -> None:
    fast = Result(CHANGES["created stamped anew"](OURS), stored=Result(OURS))
    assert (fast.end and fast.end.fast, fast.lines) == (True, [])


def test_a_chart_that_hides_behind_anothers_last_piece_is_not_lost() -> None:
    hidden = OURS.replace(b"\n  gamma:\n", b"\n  hidden: [{version: 1.0.0, urls: [u]}]\n  gamma:\n")
    before = Result(hidden)
    assert ("hidden", "1.0.0") in before.versions
    compare(before, hidden)
    compare(before, hidden.replace(b"2024-01-02", b"2025-01-02"))


@pytest.mark.parametrize("odd", range(120, 140))
def test_odd_text_is_seen_wherever_the_file_is_cut_into_blocks(odd: int) -> None:
    homes = ("a\tb" if n == odd else "ab" for n in range(300))
    entries = (f"  chart-{n}:\n  - version: 1.0.0\n    home: {home}{'x' * 960}\n".encode() for n, home in enumerate(homes))
    data = b"entries:\n" + b"".join(entries)
    assert [chart.name for chart in Segments(BytesIO(data).read).charts(checked=True) if not chart.plain] == [f"chart-{odd}"]


def test_a_time_within_a_text_of_several_lines_is_a_part_of_it() -> None:
    told = OURS.replace(
        b"\n  gamma:\n", b'\n  - version: 9.9.9\n    urls: [u]\n    home: "\n    created: 2020-01-01T00:00:00Z"\n  gamma:\n'
    )
    compare(Result(OURS), told)
    compare(Result(told), told.replace(b"2020-01-01T", b"2021-01-01T"))


@real
def test_real_indexes_as_helm_writes_them_take_the_fast_way() -> None:
    indexes = [*DATA.glob("*/index.yaml"), *(DATA / "odd").glob("*.yaml")]
    fast = {path.parent.name if path.name == "index.yaml" else path.name for path in indexes if compare(first(path), path.read_bytes())}
    assert {"k8s-at-home", "eks", "enix", "rancher-partner-2021", "cloudnativeapp-curated", "cloudnativeapp-submitted"} <= fast
    assert len(fast) > 14


BITS = [
    *(b"'", b'"', b"\n", b"\n  - ", b"- ", b": ", b"#", b"&a ", b"*a", b"!!str ", b"|\n", b">\n", b"[", b"]", b"{", b"}", b"\t", b"\r\n"),
    *(b"---\n", b"...\n", b"  ", b"\n  x:\n  - ", b"\ncreated: ", b"created: '2020-01-01T00:00:00Z'", b"\xef\xbb\xbf", b"\xc2\x85", b"\0"),
    *(b"\\", b"%", b"? ", b"<<: ", b"version: 1.0.0", b"\n    version: 1.2.3", b"\n\n", b"\xe2\x80\xa8", b"entries:\n"),
    *(b"\n  zz: []", b"\n  zz: [{version: 1.0.0, urls: [u]}]", b"\n  zz:\n", b"\n  # zz", b"\n# zz", b"\n zz: 1", b"\n  zz: null"),
]


def mutant(data: bytes, chance: random.Random) -> bytes:
    """One to three edits: a bit put in, bytes or lines taken out, doubled or exchanged."""
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        place, other = sorted(chance.randrange(len(data)) for _ in range(2))
        lines = data.split(b"\n")
        match chance.randrange(6):
            case 0 | 1:
                data = data[:place] + chance.choice(BITS) + data[place:]
            case 2:
                data = data[:place] + data[place + chance.randrange(1, 40) :]
            case 3:
                first_line = chance.randrange(len(lines))
                del lines[first_line : first_line + chance.randrange(1, 30)]
                data = b"\n".join(lines)
            case 4:
                first_line = chance.randrange(len(lines))
                lines[first_line:first_line] = lines[chance.randrange(len(lines)) :][: chance.randrange(1, 30)]
                data = b"\n".join(lines)
            case _:
                data = data[: min(other, place + 200)] + data[place:]
        data = data or b"\n"
    return data


def fuzz(data: bytes, seeds: Sequence[int]) -> int:
    """How many of the mutants, and of mutants of them, took the pieces' way; raises AssertionError where the two differ."""
    before, fast = Result(data), 0
    for seed in seeds:
        chance = random.Random(seed)
        changed = mutant(data, chance)
        again = mutant(changed, chance)
        try:
            fast += compare(before, changed)
            if (after := Result(changed)).end:
                fast += compare(after, again)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
    return fast


@pytest.mark.parametrize("part", range(4))
def test_mutants_of_an_index_read_the_same_both_ways(part: int) -> None:
    assert fuzz(OURS, range(part * 500, part * 500 + 500)) > 25


@real
@pytest.mark.parametrize("name", ["cloudnativeapp-submitted/index.yaml", "odd/charts-syncer-index.yaml", "odd/neo4j-index.yaml"])
def test_mutants_of_real_indexes_read_the_same_both_ways(name: str) -> None:
    fuzz((DATA / name).read_bytes(), range(120))
