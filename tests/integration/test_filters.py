"""A repository's filter rule, in whole syncs: what is visible, what is kept, and what it costs."""

import asyncio
import json
import operator
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog import filtering
from catalog.model import FilterRule
from tests.conftest import SHARED, Database
from tests.fakes.helm_repo import HelmRepo, index
from tests.integration.conftest import KEY, Syncer
from worker.process import Worker
from worker.publish import EARLY
from worker.run import Outcome
from worker.settings import Settings

GOLDEN = SHARED / "data" / "kubeapps-golden" / "rancher-partner-2021.charts.jsonl"
CHARTS = {
    "a": [{"version": "1.0.0", "keywords": ["db"]}, {"version": "2.0.0", "keywords": ["db", "sql"]}],
    "b": [{"version": "0.1.0", "home": "https://b.example"}],
    "c": [{"version": "3.0.0", "maintainers": [{"name": "Bitnami"}]}],
}


async def sync(syncer: Syncer, jq: str, index: bytes | None = None, **variables: str) -> Outcome:
    """A sync with a rule; none when it is empty. Variables come without their `$`."""
    rule = FilterRule(jq, {f"${name}": value for name, value in variables.items()}) if jq else None
    return await syncer.sync(index, repository=replace(syncer.job.repository, filter=rule))


def visible(syncer: Syncer) -> str:
    """The names of the charts that readers see."""
    return "".join(dict.fromkeys(chart for chart, _, _ in syncer.visible()))


def excluded(syncer: Syncer) -> str:
    return "".join(str(name) for (name,) in syncer.database.rows("select name from chartfleet.charts where excluded order by name"))


def ledger(syncer: Syncer) -> list[tuple[object, ...]]:
    return syncer.database.rows("select chart, version, change from chartfleet.ledger order by seq")


def touched(syncer: Syncer) -> list[tuple[object, ...]]:
    return syncer.database.rows("select name, xmin::text from chartfleet.charts order by name")


async def test_charts_that_a_rule_leaves_out_are_stored_but_not_visible(syncer: Syncer) -> None:
    outcome = await sync(syncer, ".name == $x", index(CHARTS), x="a")
    assert (outcome.state, outcome.report.charts, outcome.report.versions) == ("done", 1, 2)
    assert visible(syncer) == "a"
    assert syncer.database.rows("select charts, versions from chartfleet.repositories") == [(1, 2)]
    assert syncer.database.rows("select count(*) from chartfleet.chart_versions where removed_at is null") == [(4,)]


async def test_a_chart_is_added_before_it_is_excluded(syncer: Syncer) -> None:
    await sync(syncer, '.name != "a"', index(CHARTS))
    of_a = [row[1:] for row in ledger(syncer) if row[0] == "a"]
    assert of_a == [("1.0.0", "added"), ("2.0.0", "added"), ("2.0.0", "excluded")]


async def test_the_archives_of_excluded_charts_are_not_asked_for_until_they_are_let_in(syncer: Syncer) -> None:
    await sync(syncer, '.name == "b"', index(CHARTS))
    await syncer.files()
    assert syncer.repo.archive_requests() == ["/b-0.1.0.tgz"]
    await sync(syncer, '.name != "b"', index({**CHARTS, "a": [*CHARTS["a"], {"version": "2.1.0"}]}))
    await syncer.files()
    assert set(syncer.repo.archive_requests()) == {"/b-0.1.0.tgz", "/a-1.0.0.tgz", "/a-2.0.0.tgz", "/a-2.1.0.tgz", "/c-3.0.0.tgz"}


@pytest.mark.parametrize("validators", [True, False])
async def test_a_changed_rule_is_applied_to_an_unchanged_index_and_touches_only_what_it_turns(syncer: Syncer, validators: bool) -> None:
    syncer.repo.validators = validators
    await sync(syncer, '.name < "c"', index(CHARTS))
    before, written = touched(syncer), len(ledger(syncer))
    outcome = await sync(syncer, '.name > "a"')
    assert visible(syncer) == "bc"
    assert (outcome.report.result, outcome.report.charts, outcome.report.versions) == ("changed", 2, 2)
    assert ledger(syncer)[written:] == [("a", "2.0.0", "excluded"), ("c", "3.0.0", "included")]
    assert [name for (name, x), (_, y) in zip(before, touched(syncer), strict=True) if x != y] == ["a", "c"]
    if validators:
        assert (outcome.report.requests, outcome.report.bytes) == (1, 0)


async def test_without_its_rule_everything_that_was_excluded_comes_back_without_a_download(syncer: Syncer) -> None:
    await sync(syncer, "false", index(CHARTS))
    assert visible(syncer) == ""
    outcome = await sync(syncer, "")
    assert visible(syncer) == "abc"
    assert (outcome.report.bytes, outcome.report.charts, outcome.report.versions) == (0, 3, 4)
    assert excluded(syncer) == ""


async def test_the_same_rule_is_applied_once(syncer: Syncer) -> None:
    await sync(syncer, '.name == "a"', index(CHARTS))
    before = touched(syncer)
    outcome = await sync(syncer, '.name == "a"')
    assert (outcome.report.result, outcome.report.phases.keys(), touched(syncer)) == ("unchanged", {"fetch"}, before)


async def test_only_charts_that_changed_are_judged_again(syncer: Syncer) -> None:
    await sync(syncer, '.chartVersions[0].version < "3"', index(CHARTS))
    assert visible(syncer) == "ab"
    before = dict(touched(syncer))  # pyright: ignore[reportArgumentType, reportCallIssue]
    await sync(syncer, '.chartVersions[0].version < "3"', index({**CHARTS, "b": [{"version": "4.0.0"}]}))
    assert visible(syncer) == "a"
    assert [name for name, xmin in touched(syncer) if before[name] != xmin] == ["b"]


async def test_an_excluded_chart_is_kept_in_step_out_of_sight(syncer: Syncer) -> None:
    await sync(syncer, '.name != "a"', index(CHARTS))
    changed = {**CHARTS, "a": [{"version": "3.0.0", "digest": "new"}]}
    written = len(ledger(syncer))
    await sync(syncer, '.name != "a"', index(changed))
    assert visible(syncer) == "bc"
    assert {row[2] for row in ledger(syncer)[written:]} == {"added", "removed"}
    await sync(syncer, "")
    assert syncer.visible()[0] == ("a", "3.0.0", "new")


async def test_a_chart_that_is_withdrawn_upstream_is_not_the_rules_business(syncer: Syncer) -> None:
    await sync(syncer, '.name == "a"', index(CHARTS))
    await sync(syncer, '.name == "a"', index({"c": CHARTS["c"]}))
    assert visible(syncer) == ""
    assert excluded(syncer) == "c"
    async with syncer.worker.transaction() as connection:
        every = dict.fromkeys(cast("list[int]", [id_ for (id_,) in syncer.database.rows("select id from chartfleet.charts")]), False)
        assert await filtering.apply_filter(connection, 1, KEY, every) == filtering.Filtered()
    await sync(syncer, "")
    assert visible(syncer) == "c"
    await sync(syncer, '.name == "a"', index(CHARTS))
    assert visible(syncer) == "a"
    assert excluded(syncer) == "bc"


async def test_an_error_on_one_chart_excludes_it_and_is_a_note_until_the_chart_changes(syncer: Syncer) -> None:
    rule = '.home | if . == "" then true else error("odd home") end'
    outcome = await sync(syncer, rule, index(CHARTS))
    [note] = outcome.report.notes or []
    assert (note.chart, note.reason, note.message, outcome.report.notes_total) == ("b", "FilterError", "odd home", 1)
    assert (outcome.state, visible(syncer)) == ("done", "ac")
    other = await sync(syncer, rule, index({**CHARTS, "c": [{"version": "3.1.0"}]}))
    assert other.report.notes == [note]
    mended = await sync(syncer, rule, index({**CHARTS, "b": [{"version": "0.2.0"}]}))
    assert (mended.report.notes, visible(syncer)) == ([], "abc")


async def test_what_was_said_of_the_listing_still_holds_when_only_the_rule_changes(syncer: Syncer) -> None:
    await sync(syncer, ".name", index({**CHARTS, "b": [{"version": "1.0.0"}, {"version": "latest"}]}))
    outcome = await sync(syncer, "empty")
    assert [(note.chart, note.reason) for note in outcome.report.notes or []] == [
        *((name, "FilterError") for name in "abc"),
        ("b", "OddVersion"),
    ]
    assert outcome.report.notes_total == 4
    assert [note.reason for note in (await sync(syncer, "")).report.notes or []] == ["OddVersion"]


@pytest.mark.parametrize(
    ("jq", "variables", "reason", "said"),
    [
        ("not a rule", {}, "InvalidRepository", "spec.filterRule.jq: syntax error, unexpected IDENT"),
        (".name == $x", {}, "InvalidRepository", "spec.filterRule.jq: $x is not defined at <top-level>, line 1"),
        ("true", {"a b": "x"}, "InvalidRepository", "spec.filterRule.variables: '$a b'"),
        ('("a" * 1e9) == .name', {}, "LimitExceeded", "spec.filterRule.jq"),
        ("[range(1e12)] == []", {}, "LimitExceeded", "spec.filterRule.jq"),
    ],
)
async def test_a_rule_that_is_none_changes_nothing_and_is_named(
    syncer: Syncer, jq: str, variables: dict[str, str], reason: str, said: str
) -> None:
    await sync(syncer, '.name == "a"', index(CHARTS))
    before = touched(syncer)
    for changed in (None, index({"b": [{"version": "9.0.0"}]})):
        outcome = await sync(syncer, jq, changed, **variables)
        assert (outcome.state, outcome.error and outcome.error.reason) == ("failed", reason)
        assert said in str(outcome.error)
        assert touched(syncer) == before
    assert (await sync(syncer, '.name == "b"')).state == "done"
    assert syncer.visible()[0][:2] == ("b", "9.0.0")


async def test_what_a_rule_excludes_goes_at_once_even_while_removals_are_held(syncer: Syncer) -> None:
    await sync(syncer, '.name != "a"', index(CHARTS))
    held = await sync(syncer, '.name != "b"', index({}))
    assert (held.error and held.error.reason, visible(syncer)) == ("RemovalsHeld", "ac")
    again = await sync(syncer, 'if .name == "c" then error else true end')
    assert (again.error and again.error.reason, visible(syncer)) == ("RemovalsHeld", "ab")
    assert [note.chart for note in again.report.notes or []] == ["c"]
    assert syncer.database.rows("select charts, versions from chartfleet.repositories") == [(2, 3)]


async def test_a_big_first_listing_is_filtered_before_any_of_it_is_visible(syncer: Syncer) -> None:
    late = index(CHARTS) + b"#" + b"x" * EARLY
    outcome = await sync(syncer, 'if .name == "c" then error("odd") else .name == "a" end', late)
    assert (outcome.state, outcome.report.charts, outcome.report.versions) == ("done", 1, 2)
    assert [(note.chart, note.reason) for note in outcome.report.notes or []] == [("c", "FilterError")]
    assert outcome.report.notes_total == 1
    order = [(chart, change) for chart, _, change in ledger(syncer)]
    assert order[:3] == [("a", "added"), ("b", "added"), ("c", "added")]
    assert order[3:] == [("b", "excluded"), ("c", "excluded"), ("a", "added")]


# The document ----------------------------------------------------------------------------------------------------------


async def documents(syncer: Syncer) -> dict[str, dict[str, Any]]:
    """What a rule would see of each chart, by name."""
    [(repository,)] = syncer.database.rows("select id from chartfleet.repositories")
    async with syncer.worker.transaction() as connection:
        return {name: json.loads(text) async for _, name, text in filtering.judged_charts(connection, cast("int", repository), None)}


FILES = {"readme": "", "values": "", "additional_values": None, "schema": ""}


async def test_a_rule_sees_kubeapps_chart_with_its_newest_version(syncer: Syncer) -> None:
    newest = {
        "version": "2.0.0",
        "appVersion": "9",
        "digest": "abc",
        "created": "2024-01-02T03:04:05.6+01:00",
        "type": "application",
        "description": "d",
        "home": "h",
        "icon": "i",
        "keywords": ["k"],
        "sources": ["s"],
        "annotations": {"category": "Database"},
        "maintainers": [{"name": "n", "email": None}],
    }
    data = index({"whole": [newest, {"version": "1.0.0"}]})
    await syncer.sync(data, repository=replace(syncer.job.repository, url=f"{syncer.repo.url}?token=canary"))
    assert (await documents(syncer))["whole"] == {
        "ID": "demo/whole",
        "name": "whole",
        "repo": {"namespace": "default", "name": "demo", "url": syncer.repo.url, "type": ""},
        "description": "d",
        "home": "h",
        "keywords": ["k"],
        "sources": ["s"],
        "maintainers": [{"name": "n"}],
        "icon": "i",
        "raw_icon": None,
        "icon_content_type": "",
        "category": "Database",
        "chartVersions": [
            {
                "version": "2.0.0",
                "app_version": "9",
                "created": "2024-01-02T02:04:05Z",
                "digest": "abc",
                "urls": ["whole-2.0.0.tgz"],
                **FILES,
            }
        ],
    }


async def test_what_an_entry_lacks_or_has_in_another_shape_is_what_kubeapps_has_for_nothing(syncer: Syncer) -> None:
    await syncer.sync(index({"library/odd": [{"version": "1.0.0", "created": None, "urls": None, "keywords": "k", "maintainers": "m"}]}))
    odd = (await documents(syncer))["library/odd"]
    assert (odd["ID"], odd["name"]) == ("demo/library%2Fodd", "library%2Fodd")
    assert [odd[name] for name in ("home", "keywords", "maintainers", "sources", "icon", "category")] == ["", None, [], None, "", ""]
    nothing = {"app_version": "", "created": "0001-01-01T00:00:00Z", "digest": "", "urls": None}
    assert odd["chartVersions"] == [{"version": "1.0.0", **nothing, **FILES}]


@pytest.mark.skipif(not GOLDEN.is_file(), reason="the rows that Kubeapps' own syncer wrote are not beside this checkout")
async def test_the_document_is_the_row_that_kubeapps_writes(syncer: Syncer) -> None:
    await syncer.sync((GOLDEN.parents[1] / "rancher-partner-2021" / "index.yaml").read_bytes())
    ours = await documents(syncer)
    theirs = {row["info"]["name"]: row["info"] for row in map(json.loads, GOLDEN.read_text().splitlines())}
    assert theirs.keys() <= ours.keys(), "it leaves out charts whose newest version is deprecated"
    other = {"ID": "", "repo": {}}  # this test's repository has a name of its own
    for name, info in theirs.items():
        [newest] = ours[name]["chartVersions"]
        [its] = [version for version in info["chartVersions"] if version["version"] == newest["version"]]
        assert {**newest, "created": ""} == {**its, "created": ""}
        assert {**ours[name], **other, "chartVersions": []} == {**info, **other, "chartVersions": []}


# Any rule --------------------------------------------------------------------------------------------------------------

NAMES = ["alpha", "beta", "Gamma", "a-b", "o'neil", 'quo"te', "x/y", "ünï"]
Predicate = Callable[[str], bool]
COMPARISONS: dict[str, Callable[[str, str], bool]] = {"==": operator.eq, "!=": operator.ne, "<": operator.lt, ">=": operator.ge}
TESTS: dict[str, Callable[[str, str], bool]] = {"startswith": str.startswith, "endswith": str.endswith, "contains": str.__contains__}


def compared(sign: str, word: str) -> tuple[str, Predicate]:
    return f".name {sign} {json.dumps(word)}", lambda name: COMPARISONS[sign](name, word)


def named(function: str, word: str) -> tuple[str, Predicate]:
    return f"(.name | {function}({json.dumps(word)}))", lambda name: TESTS[function](name, word)


def joined(left: tuple[str, Predicate], word: str, right: tuple[str, Predicate]) -> tuple[str, Predicate]:
    both = {"and": lambda name: left[1](name) and right[1](name), "or": lambda name: left[1](name) or right[1](name)}
    return f"(({left[0]}) {word} ({right[0]}))", both[word]


def negated(rule: tuple[str, Predicate]) -> tuple[str, Predicate]:
    return f"({rule[0]} | not)", lambda name: not rule[1](name)


def failing(rule: tuple[str, Predicate], word: str) -> tuple[str, Predicate]:
    """The rule, where a name does not contain a word; an error there."""
    return f"(if .name | contains({json.dumps(word)}) then error else {rule[0]} end)", lambda name: word not in name and rule[1](name)


words = st.sampled_from(["a", "b", "alpha", "Gamma", "'", '"', "ü", "%2F", ""])
leaves = st.builds(compared, st.sampled_from([*COMPARISONS]), words) | st.builds(named, st.sampled_from([*TESTS]), words)
branches = st.recursive(
    leaves, lambda rules: st.builds(joined, rules, st.sampled_from(["and", "or"]), rules) | st.builds(negated, rules), max_leaves=4
)
rules = branches | st.builds(failing, branches, words.filter(bool))


def test_visible_charts_are_those_for_which_the_rule_is_true(database: Database, repo: HelmRepo) -> None:
    repo.index = index({name: [{"version": "1.0.0"}] for name in NAMES})
    with asyncio.Runner() as runner:
        syncer = Syncer(runner.run(Worker.open(Settings(database_url=database.writer))), database, repo)

        @settings(max_examples=20, deadline=None, database=None)
        @given(rules)
        def check(rule: tuple[str, Predicate]) -> None:
            outcome = runner.run(sync(syncer, rule[0]))
            expected = {name for name in NAMES if rule[1](name.replace("/", "%2F"))}
            assert {name for name, _, _ in syncer.visible()} == expected
            assert (outcome.state, outcome.report.charts) == ("done", len(expected))

        check()
        runner.run(syncer.worker.close())
