"""An index's bytes → rows, notes, or an error of the file."""

import gzip
import json
import tempfile
import tracemalloc
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from catalog.report import Note
from tests.conftest import ROOT
from tests.fakes.helm_repo import as_json, index
from worker.frames import END, FAILURE, NOTES, RESTART, ROWS, End, Failure, Known, Request
from worker.walk import BATCH, Talk, walk

INDEXES = ROOT / "tests/data/indexes"


class Result:
    """The frames of a walk, decoded. `rows`: the versions' lines; `lines`: the charts' own."""

    def __init__(
        self, data: bytes, known: dict[str, Known] | None = None, path: Path | None = None, stored: "Result | None" = None
    ) -> None:
        frames: list[tuple[bytes, bytes]] = []
        self.asked: list[str] = []
        if stored:
            known = {line[0]: Known(raw(line[11]) or b"", raw(line[13])) for line in stored.lines}
        pieces = {line[0]: raw(line[14]) for line in stored.lines} if stored else {}

        def ask(names: Sequence[str]) -> dict[str, bytes]:
            self.asked.extend(names)
            return {name: found for name in names if (found := pieces.get(name))}

        with path.open("rb") if path else tempfile.TemporaryFile() as file:
            if not path:
                file.write(data)
                file.seek(0)
            walk(file, Request(known or {}), Talk(lambda kind, payload: frames.append((kind, payload)), ask))
        self.restarts = sum(kind == RESTART for kind, _ in frames)
        for place, (kind, _) in reversed(list(enumerate(frames))):
            if kind == RESTART:
                frames = frames[place + 1 :]
                break
        copied = b"".join(payload for kind, payload in frames if kind == ROWS).decode().split("\n")[:-1]
        lines = [[name.replace("\\t", "\t").replace("\\\\", "\\"), *fields] for name, *fields in (line.split("\t") for line in copied)]
        self.rows = [line for line in lines if line[1] != "\\N"]
        self.lines = [line for line in lines if line[1] == "\\N"]
        self.versions = [(row[0], row[1]) for row in self.rows]
        self.known = {line[0]: Known(raw(line[11]) or b"") for line in self.lines}
        self.notes = [note for kind, payload in frames if kind == NOTES for note in msgspec.json.decode(payload, type=list[Note])]
        self.reasons = Counter(note.reason for note in self.notes)
        self.end = next((msgspec.json.decode(payload, type=End) for kind, payload in frames if kind == END), None)
        self.failure = next((msgspec.json.decode(payload, type=Failure) for kind, payload in frames if kind == FAILURE), None)


def raw(field: str) -> bytes | None:
    return None if field == "\\N" else bytes.fromhex(field.removeprefix("\\\\x"))


DEEP = b"apiVersion: v1\nentries:\n  a:\n  - version: 1.0.0\n    x: " + b"[" * 30_000
BOMB = b"entries:\n  a:\n  - version: 1.0.0\n    l0: &l0 [x, x, x, x, x, x, x, x, x, x]\n" + b"".join(
    b"    l%d: &l%d [%s]\n" % (n, n, b", ".join([b"*l%d" % (n - 1)] * 10)) for n in range(1, 9)
)


@pytest.mark.parametrize(
    ("data", "reason", "said"),
    [
        (b"", "SourceMalformed", "empty"),
        (b"  \n", "SourceMalformed", "empty"),
        (b"<!DOCTYPE html><html><body>sign in</body></html>", "SourceMalformed", "HTML"),
        (b"just words", "SourceMalformed", "no mapping"),
        (b"- a\n- b\n", "SourceMalformed", "no mapping"),
        (b"error: not found\n", "SourceMalformed", "neither"),
        (b'{"error": "not found"}', "SourceMalformed", "neither"),
        (b"apiVersion: v1\nentries: [1]\n", "SourceMalformed", "line 2"),
        (b"apiVersion: v1\nentries:\n  a:\n  - version: '1.0.0\n", "SourceMalformed", "line"),
        (b"entries:\n  a:\n  - version: 1.0.0\n    description: " + b"x" * 10_000_000 + b"\n", "LimitExceeded", "10,000,000"),
        (DEEP, "LimitExceeded", "64 levels"),
        (BOMB, "LimitExceeded", "aliases"),
        (b"entries:\n  a: [{version: *nothing}]\n", "SourceMalformed", "alias"),
        (b"entries:\n  \x01", "SourceMalformed", "cannot be read"),
        (gzip.compress(b"apiVersion: v1\n", mtime=0), "SourceMalformed", "cannot be read"),
    ],
)
def test_a_file_that_is_no_index_is_an_error_that_says_why(data: bytes, reason: str, said: str) -> None:
    result = Result(data)
    assert result.failure
    assert (result.failure.reason, said in result.failure.message) == (reason, True), result.failure.message
    assert result.end is None


def test_a_bad_entry_is_a_note_and_the_rest_is_published() -> None:
    data = index({"a": [{"version": "1.0.0"}, {"version": None}, {"version": "latest"}, {"version": "1.1.0", "urls": []}]})
    data += b"" if data.endswith(b"\n") else b"\n"
    data = data.replace(b"generated", b"#", 1)
    result = Result(data)
    assert sorted(result.versions) == [("a", "1.0.0"), ("a", "1.1.0")]
    assert dict(result.reasons) == {"NoVersion": 1, "OddVersion": 1, "NoUrl": 1}


def test_null_entries_texts_and_lists_in_a_charts_list_are_notes() -> None:
    result = Result(b"entries:\n  a:\n  - null\n  - text\n  - [1]\n  - version: 1.0.0\n  b: null\n  c: {}\n")
    assert result.versions == [("a", "1.0.0")]
    assert result.reasons["NoEntry"] == 3


def test_a_nul_is_left_out_and_said() -> None:
    result = Result(b'entries:\n  a:\n  - version: 1.0.0\n    urls: [x]\n    description: "a\\0b"\n  "b\\0": [{version: 1.0.0}]\n')
    assert result.versions == [("a", "1.0.0")]
    assert json.loads(result.rows[0][10])["description"] == "ab"
    assert dict(result.reasons) == {"NulCharacter": 1, "OddName": 1}


def test_of_a_duplicate_version_the_newest_created_is_kept_whatever_their_order() -> None:
    old = {"version": "1.0.0", "created": "2020-01-01T00:00:00Z", "digest": "old"}
    new = {"version": "1.0.0", "created": "2021-01-01T00:00:00Z", "digest": "new"}
    for pair in ([old, new], [new, old]):
        result = Result(index({"a": pair}))
        assert [row[6] for row in result.rows] == ["new"]
        assert result.reasons["DuplicateVersion"] == 1


def test_scalars_stay_the_text_that_was_written() -> None:
    result = Result(b"entries:\n  a:\n  - version: 1.10\n    appVersion: 0777\n    digest: 12e45678\n    x: [1.10, yes, 2020-01-01, ~]\n")
    assert result.rows[0][1] == "1.10"
    assert (result.rows[0][5], result.rows[0][6]) == ("0777", "12e45678")
    assert json.loads(result.rows[0][10])["x"] == ["1.10", "yes", "2020-01-01", None]


@pytest.mark.parametrize(("text", "flag"), [("true", "t"), ("yes", "t"), ("on", "t"), ("false", "f"), ("", "f"), ("no", "f")])
def test_deprecated_is_read_as_helm_reads_it(text: str, flag: str) -> None:
    assert Result(b"entries:\n  a:\n  - version: 1.0.0\n    deprecated: %s\n" % text.encode()).rows[0][8] == flag


def test_json_and_yaml_of_the_same_index_give_the_same_rows() -> None:
    data = index({"a": [{"version": "1.0.0", "keywords": ["x"], "deprecated": True}, {"version": "2.0.0", "maintainers": [{"name": "n"}]}]})
    assert Result(as_json(data)).rows == Result(data).rows


def test_an_equal_rollup_gives_no_rows_and_created_does_not_count() -> None:
    before = index({"a": [{"version": "1.0.0"}], "b": [{"version": "1.0.0"}]})
    known = Result(before).known
    again = Result(before.replace(b"2024-01-02", b"2025-05-05"), known)
    assert again.rows == []
    assert again.end
    assert (again.end.charts, again.end.versions, again.end.gone) == (2, 2, [])
    changed = Result(index({"a": [{"version": "1.0.0", "digest": "sha256:1"}]}), known)
    assert changed.versions == [("a", "1.0.0")]
    assert changed.end
    assert changed.end.gone == ["b"]


def test_the_order_of_an_index_does_not_matter() -> None:
    one, two = {"version": "1.0.0"}, {"version": "1.10.0"}
    assert Result(index({"a": [one, two]})).known == Result(index({"a": [two, one]})).known
    assert [row[1] for row in Result(index({"a": [one, two]})).rows] == ["1.10.0", "1.0.0"]
    assert [row[2] for row in Result(index({"a": [one, two]})).rows] == ["t", "f"]


def test_merge_keys_and_anchors_are_understood() -> None:
    data = b"base: &base {description: shared, home: h}\nentries:\n  a:\n  - <<: *base\n    version: 1.0.0\n    home: own\n"
    metadata = json.loads(Result(data).rows[0][10])
    assert (metadata["description"], metadata["home"]) == ("shared", "own")


def test_copy_text_is_escaped() -> None:
    nasty = 'tab\t back\\slash "quote" new\nline {brace},'
    [row] = Result(index({"a": [{"version": "1.0.0", "appVersion": nasty, "urls": [nasty], "description": nasty}]})).rows
    assert len(row) == 16
    assert row[5] == 'tab\\t back\\\\slash "quote" new\\nline {brace},'


@pytest.mark.parametrize("name", ["whole", "entries"])
def test_an_index_of_our_own_gives_its_golden_rows(name: str) -> None:
    rows = Result(b"", path=INDEXES / f"{name}.yaml").rows
    read = sorted(
        [row[0], row[1], text(row[5]), "newest" if row[2] == "t" else "older", text(row[7].replace("Z", "+00:00"))] for row in rows
    )
    assert read == json.loads((INDEXES / f"{name}.json").read_text())


def text(field: str) -> str | None:
    return None if field == "\\N" else field


def test_json_meets_the_same_limits_as_yaml() -> None:
    for value, said in (("x" * 2_000_000, "2,000,000"), (json.loads("[" * 70 + "]" * 70), "64 levels"), ([0] * 300_000, "200,000")):
        result = Result(json.dumps({"entries": {"a": [{"version": "1.0.0", "x": value}]}}).encode())
        assert result.failure
        assert (result.failure.reason, said in result.failure.message) == ("LimitExceeded", True)


def test_a_list_of_versions_may_be_an_alias() -> None:
    assert Result(b"entries:\n  a: &x\n  - {version: 1.0.0, urls: [u]}\n  b: *x\n").versions == [("a", "1.0.0"), ("b", "1.0.0")]


def test_a_chart_with_as_many_versions_as_an_index_goes_out_by_pieces_and_weighs_little() -> None:
    many = b"entries:\n  a:\n" + b"".join(b"  - {version: 1.0.%d, urls: [u], description: %s}\n" % (n, b"x" * 200) for n in range(6_000))
    frames: list[bytes] = []
    tracemalloc.start()
    with tempfile.TemporaryFile() as file:
        file.write(many)
        file.seek(0)
        walk(file, Request({}), Talk(lambda kind, content: frames.append(content) if kind == ROWS else None, lambda _: {}))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (b"".join(frames).count(b"\n"), len(frames) > 1) == (6_001, True)
    assert max(map(len, frames)) < BATCH + 10_000
    assert most < 8 * len(many), "an entry is held by what is written of it, not by the room in which that was made"
