"""docs/controller.md and what it describes name the same things: flags, fields, reasons, rights, metrics."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from catalog import errors
from controller import cluster, ended, reconcile, status
from controller.__main__ import main
from controller.kinds import apprepository
from controller.metrics import Metrics, Standings
from controller.seen import Seen
from controller.workqueue import WorkQueue
from tests.conftest import ROOT
from tests.unit.test_chart import FOLLOWS, RUNS
from tests.unit.test_crd import OURS, schema_of

DOCUMENT = (ROOT / "docs" / "controller.md").read_text()
JOBS_OWN = {"BackoffLimitExceeded", "DeadlineExceeded", "PodFailurePolicy"}  # Kubernetes' words of a Job that failed
OF_RUNS = {"InternalError"}  # a worker's word for what is no CatalogError
NEVER_SAID = {"CatalogError", "SourceError", "RepositoryGone"}  # bases; and a run that has nothing to do any more
# Words of those modules that are something else. A new one belongs here, or is a reason and belongs into the table.
NO_REASONS = {
    *("Ready", "Reconciling", "Stalled", "SyncFailed", "True", "False", "Unknown"),
    *("AppRepository", "ConfigMap", "Event", "Secret", "CleanUpSkipped", "Normal", "Warning", "Complete", "Failed", "Told"),
    *("PodScheduled", "ContainerCreating", "PodInitializing", "Pending"),
}


def section(heading: str) -> str:
    """The text below a heading, up to the next of its level or above."""
    found = re.search(rf"^(#+) {re.escape(heading)}\n(.*?)(?=^#{{1,2}} |\Z)", DOCUMENT, re.MULTILINE | re.DOTALL)
    assert found, f"docs/controller.md has no heading {heading!r}"
    return re.split(rf"^#{{1,{len(found[1])}}} ", found[2], maxsplit=1, flags=re.MULTILINE)[0]


def rows(heading: str) -> list[list[str]]:
    """The cells of a section's tables."""
    lines = re.findall(r"^\| (.*?) ?\|$", section(heading), re.MULTILINE)
    return [[cell.strip() for cell in line.split(" |")] for line in lines if not line.startswith("---")]


def words(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


def first_words(heading: str) -> list[str]:
    """What the first cells of a section's tables have in backticks."""
    return [word for row in rows(heading) for word in words(row[0])]


def flags() -> set[str]:
    return {option.opts[0] for option in main.params if isinstance(option, click.Option)}


def fields_of(part: str) -> set[str]:
    """`spec.type`, `status.charts`: the definition's first level below a part."""
    return {path[1:] for path in schema_of(OURS) if re.fullmatch(rf"\.{part}\.\w+", path)}


def reasons() -> set[str]:
    """What a condition's reason may be, from where the code says it."""
    kinds = [each for module in (errors, cluster) for each in vars(module).values() if isinstance(each, type)]
    said = {each.__name__ for each in kinds if issubclass(each, errors.CatalogError)} - NEVER_SAID - {"ApiRefused", "ApiUnavailable"}
    written = {word for module in (apprepository, status, reconcile, ended) for word in reasons_in(Path(str(module.__file__)))}
    return said | written | OF_RUNS | JOBS_OWN


def reasons_in(path: Path) -> Iterator[str]:
    """The CamelCase texts of a module, without those that are something else."""
    texts = [node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    yield from (text for text in texts if re.fullmatch(r"([A-Z][a-z]+)+", text) and text not in NO_REASONS)


def metrics() -> set[str]:
    """As Prometheus reads them: a counter's name ends with `_total`."""
    own = Metrics()
    own.registry.register(Standings(Seen("kubeapps"), WorkQueue()))
    return {f"{metric.name}_total" if metric.type == "counter" else metric.name for metric in own.registry.collect()}


def test_every_flag_has_its_row() -> None:
    documented = first_words("Every flag")
    assert len(documented) == len(set(documented))
    assert set(documented) == flags()


def test_every_flags_default_is_told() -> None:
    told = {words(flag)[0]: words(kubeapps if ours == "same" else ours) for flag, kubeapps, ours, _ in rows("Every flag")[1:]}
    defaults = {option.opts[0]: option.default for option in main.params if isinstance(option, click.Option)}
    written = {flag: str(default) for flag, default in defaults.items() if isinstance(default, str | int) and not isinstance(default, bool)}
    assert {flag: told[flag][0] for flag, default in written.items() if default} == {flag: text for flag, text in written.items() if text}


def test_every_field_has_its_heading_or_row() -> None:
    assert set(re.findall(r"^### `(spec\.\w+)`$", DOCUMENT, re.MULTILINE)) == fields_of("spec")
    assert set(first_words("Fields")) == fields_of("status")


@pytest.mark.parametrize("path", sorted(path for path in schema_of(OURS) if re.fullmatch(r"\.spec\.\w+\..*\w", path)))
def test_what_lies_in_a_field_is_told_below_its_heading(path: str) -> None:
    _, _, field, *inner = path.replace("[]", "").replace("{}", "").split(".")
    assert re.search(rf"\b{inner[-1]}\b", section(f"`spec.{field}`"))


def test_every_field_says_its_type_and_default_first() -> None:
    types = {"string": "String", "boolean": "Boolean", "integer": "Integer", "array": "List of strings", "object": "Object"}
    required = schema_of(OURS)[".spec"]["required"]
    for name in fields_of("spec"):
        field = name.removeprefix("spec.")
        expected = f"{types[schema_of(OURS)['.' + name]['type']]}, {'required' if field in required else 'default '}"
        assert section(f"`{name}`").lstrip().startswith(expected), name


def test_every_reason_has_its_row() -> None:
    table = [row for row in rows("Conditions") if len(row) == 3]
    assert {word for row in table[1:] for word in words(row[0])} == reasons()


def test_every_condition_has_its_row() -> None:
    table = [row for row in rows("Conditions") if len(row) == 2]
    assert {word for row in table[1:] for word in words(row[0])} == {"Ready", "Reconciling", "Stalled", "SyncFailed", "RemovalsHeld"}


def test_every_right_has_its_reason() -> None:
    told = {words(resource)[0]: (verbs.replace(",", ""), where) for resource, verbs, where, reason in rows("Rights")[1:] if reason}
    assert told == {
        **{resource: (verbs, "repositories") for resource, verbs in FOLLOWS.items()},
        **{resource: (verbs, "Jobs") for resource, verbs in RUNS.items()},
    }


async def test_every_metric_has_its_row() -> None:
    assert {word for row in rows("Metrics and endpoints")[1:] for word in words(row[0])} == metrics()


def test_links_lead_somewhere() -> None:
    headings = {
        re.sub(r"[^\w\- ]", "", line).strip().lower().replace(" ", "-") for line in re.findall(r"^#+ (.*)$", DOCUMENT, re.MULTILINE)
    }
    for target in re.findall(r"\]\(([^)\s]+)\)", DOCUMENT):
        file, _, anchor = target.partition("#")
        assert (ROOT / "docs" / file).exists() if file else anchor in headings, target
