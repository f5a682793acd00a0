"""A filter rule and a chart → true, false or the reason why neither: Kubeapps' vectors, and what a rule may not do."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from catalog.errors import InvalidRepository
from catalog.model import FilterRule
from tests.conftest import ROOT
from worker.filters import MOST_MEMORY, question
from worker.judge import answers

BITNAMI = {"name": "foo", "maintainers": [{"name": "Bitnami"}]}


def said(jq: str, *charts: object, **variables: str) -> list[object]:
    """What is said of the rule, then of each chart; variables without their `$`."""
    program, values = json.loads(question(FilterRule(jq, {f"${name}": value for name, value in variables.items()})))
    return list(answers(program, values, [json.dumps(chart).encode() for chart in charts]))


@pytest.mark.parametrize(
    ("jq", "variables", "chart", "kept"),
    [
        (".name == $var1", {"var1": "foo"}, {"name": "foo"}, True),
        (".name == $var1", {"var1": "foo"}, {"name": "bar"}, False),
        (".maintainers | any(.name == $var1)", {"var1": "Bitnami"}, BITNAMI, True),
        (".maintainers | any(.name == $var1)", {"var1": "Bitnami"}, {"maintainers": [{"name": "Hackers"}]}, False),
        (".name == $var1 | not", {"var1": "foo"}, {"name": "foo"}, False),
        (".name | test($var1)", {"var1": ".*oo.*"}, {"name": "foo"}, True),
        ('.name == $var0 or .name == $var1 # "a list of names"', {"var0": "x", "var1": "foo"}, BITNAMI, True),
        ("true, error", {}, BITNAMI, True),  # the first result counts
        (".name == $unused or true", {"unused": "x", "var1": "y"}, {}, True),
    ],
)
def test_a_rule_means_what_it_meant_to_kubeapps(jq: str, variables: dict[str, str], chart: object, kept: bool) -> None:
    assert said(jq, chart, **variables) == [None, kept]


@pytest.mark.parametrize(
    ("jq", "reason"),
    [
        ("not a rule", "syntax error"),
        (".name == $var1", "$var1 is not defined"),
        ("", "program not given"),
        ('include "other"; true', "module not found"),
    ],
)
def test_a_rule_that_does_not_compile_says_why_and_judges_nothing(jq: str, reason: str) -> None:
    [answer] = said(jq, BITNAMI)
    assert reason in str(answer)


@pytest.mark.parametrize(
    ("jq", "reason"),
    [
        (".name", 'the rule gives "foo", neither true nor false'),
        (".absent", "the rule gives null, neither true nor false"),
        ("empty", "the rule gives no result"),
        ("halt", "the rule gives no result"),
        ("input", "break"),
        (".absent | test($x)", "null (null) cannot be matched, as it is not a string"),
        ('"no" * 9999 | error', ("no" * 9999)[:500]),
    ],
)
def test_an_error_on_one_chart_is_the_reason_why_and_the_next_is_judged(jq: str, reason: str) -> None:
    assert said(f'if .name == "foo" then {jq} else true end', BITNAMI, {"name": "bar"}, BITNAMI, x="x") == [None, reason, True, reason]


@pytest.mark.parametrize("name", ["var1", "$", "$1", "$a b", "", "$ä"])
def test_a_variables_name_that_jq_could_not_have_is_named(name: str) -> None:
    with pytest.raises(InvalidRepository, match=r"spec\.filterRule\.variables: ") as raised:
        question(FilterRule("true", {name: "x"}))
    assert repr(name) in str(raised.value)


# The process -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ended:
    """How a child ended, and its answers."""

    code: int
    answers: Sequence[object]
    errors: bytes


def child(jq: str, *charts: object, cpu: int = 10, env: dict[str, str] | None = None) -> Ended:
    """The child as it is started, on a rule and charts."""
    lines = [question(FilterRule(jq)), *(json.dumps(chart).encode() + b"\n" for chart in charts)]
    argv = [sys.executable, "-m", "worker.judge", str(cpu), str(MOST_MEMORY)]
    done = subprocess.run(argv, input=b"".join(lines), capture_output=True, cwd=ROOT, env=env or {}, check=False, timeout=60)
    return Ended(done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr)


def test_the_child_answers_line_by_line() -> None:
    assert child('.name == "foo"', {"name": "foo"}, {"name": "line\nbreak"}, {}) == Ended(0, [None, True, False, False], b"")


@pytest.mark.parametrize("jq", ["env == {}", "$ENV == {}", "env.CANARY == null", "[inputs] == []", "input_filename == null"])
def test_a_rule_sees_its_chart_and_nothing_else(jq: str) -> None:
    assert child(jq, {}, env={**os.environ, "CANARY": "secret"}) == Ended(0, [None, True], b"")


@pytest.mark.parametrize("jq", ['import "secret" as $s {search: "."}; $s', 'include "secret" {search: "."}; canary', "canary"])
def test_a_rule_can_read_no_file(tmp_path: Path, jq: str) -> None:
    (tmp_path / "secret.json").write_text('"canary"')
    (tmp_path / "secret.jq").write_text('def canary: "canary";')
    (tmp_path / ".jq").write_text('def canary: "canary";')
    ended = child(jq.replace('"."', f'"{tmp_path}"'), {}, env={"HOME": str(tmp_path)})
    assert [type(answer) for answer in ended.answers] == [str], "it does not compile"
    assert '"canary"' not in str(ended.answers)


def test_an_endless_rule_is_ended_by_its_limit_of_cpu() -> None:
    ended = child("def f: f; f", {}, cpu=1)
    assert ended.code < 0
    assert ended.answers == []


@pytest.mark.parametrize("jq", ['"a" * 1e9', "[range(1e12)]", "[limit(1e12; repeat(.))]"])
def test_a_rule_that_takes_all_memory_ends_its_process_alone(jq: str) -> None:
    ended = child(f"{jq} | true", {})
    assert ended.code != 0
    assert ended.answers in ([], [None])
