"""docs/kubeapps.md says what the tests here show."""

import re

from tests.conformance.test_golden import LISTED
from tests.conformance.test_objects import LISTED as LISTED_OBJECTS
from tests.conftest import ROOT

TEXT = (ROOT / "docs/kubeapps.md").read_text()


def test_the_listed_differences_and_their_reasons_are_the_tests_own() -> None:
    section = TEXT.partition("## Differences in rows")[2].partition("\n## ")[0]
    assert dict(re.findall(r"^\| `(\w+)` \| (.+?) \|$", section, re.MULTILINE)) == {name: listed.reason for name, listed in LISTED.items()}


def test_the_listed_differences_in_objects_their_reasons_and_tests_are_the_tests_own() -> None:
    section = TEXT.partition("## Differences in objects")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| `(\w+)` \|$", section, re.MULTILINE)
    assert rows == [(name, listed.reason, listed.shown_by) for name, listed in LISTED_OBJECTS.items()]


def test_every_test_that_is_named_exists() -> None:
    tests = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    named = set(re.findall(r"`(test_\w+)`", TEXT))
    assert named
    assert named <= set(re.findall(r"def (test_\w+)\(", tests))
