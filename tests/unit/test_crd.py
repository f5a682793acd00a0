"""Our definition of AppRepository against Kubeapps': a superset, described throughout, and the samples of both parse."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from controller.kinds.apprepository import SPEC, parse
from controller.kinds.fields import InvalidDocument
from tests.conftest import ROOT

DATA = ROOT / "tests" / "data"
OURS = ROOT / "charts" / "chartfleet" / "crds" / "apprepositories.kubeapps.com.yaml"
KUBEAPPS = DATA / "kubeapps-crd.yaml"
SAMPLES = sorted((DATA / "apprepositories").glob("*.yaml"))
INCOMPLETE = {"without-type", "template-without-type"}  # two samples of Kubeapps' documentation, which its own definition refuses

Schema = dict[str, Any]


def definition(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text())


def version(path: Path) -> dict[str, Any]:
    (only,) = definition(path)["spec"]["versions"]
    return only


def fields(schema: Schema, path: str = "") -> Iterator[tuple[str, Schema]]:
    """Every place of a schema with its path: `.spec.auth`, `.spec.ociRepositories[]`, `.spec.filterRule.variables{}`."""
    yield path, schema
    for name, inner in schema.get("properties", {}).items():
        yield from fields(inner, f"{path}.{name}")
    for key, mark in (("items", "[]"), ("additionalProperties", "{}")):
        if key in schema:
            yield from fields(schema[key], path + mark)


def schema_of(path: Path) -> dict[str, Schema]:
    return dict(fields(version(path)["schema"]["openAPIV3Schema"]))


def rules(schema: Schema) -> Schema:
    """What a place itself demands, without its description and what lies in it."""
    return {name: rule for name, rule in schema.items() if name not in ("description", "properties", "items", "additionalProperties")}


def test_the_resource_has_kubeapps_group_version_kind_and_names() -> None:
    ours, kubeapps = definition(OURS), definition(KUBEAPPS)
    assert ours["metadata"]["name"] == kubeapps["metadata"]["name"]
    assert {**ours["spec"]["names"], **kubeapps["spec"]["names"]} == ours["spec"]["names"]
    for field in ("group", "scope"):
        assert ours["spec"][field] == kubeapps["spec"][field]
    assert (version(OURS)["name"], version(OURS)["served"], version(OURS)["storage"]) == ("v1alpha1", True, True)


def test_whatever_kubeapps_definition_accepts_ours_accepts() -> None:
    ours, kubeapps = schema_of(OURS), schema_of(KUBEAPPS)
    assert set(ours) >= set(kubeapps)
    assert {path: rules(ours[path]) for path in kubeapps} == {path: rules(schema) for path, schema in kubeapps.items()}


def test_what_is_new_in_the_specification_is_suspend_alone() -> None:
    new = set(schema_of(OURS)) - set(schema_of(KUBEAPPS))
    assert {path for path in new if path.startswith(".spec")} == {".spec.suspend"}


def test_every_field_has_a_description() -> None:
    assert not [path for path, schema in schema_of(OURS).items() if not schema.get("description", "").endswith(".")]


def test_the_definition_and_the_reader_know_the_same_fields() -> None:
    assert set(version(OURS)["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]) == set(SPEC)


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_kubeapps_samples_are_read(path: Path) -> None:
    sample = definition(path)
    if path.stem in INCOMPLETE:
        with pytest.raises(InvalidDocument, match=r"spec\.type: is required"):
            parse(sample, lambda *_: "", "samples")
    else:
        assert parse(sample, lambda *_: "", "samples").key.name == path.stem


def test_the_samples_use_every_field_of_kubeapps() -> None:
    used = {name for path in SAMPLES for name in definition(path)["spec"]}
    assert used == set(SPEC) - {"suspend"}
