"""The shape of syncJobPodTemplate, looked at before anything is applied."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.flags import JobSettings
from controller.kinds.apprepository import parse
from controller.kinds.fields import InvalidDocument
from controller.manifests import clean_up_job, cron_job
from controller.pods import uses


def document(template: Any, **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "a", "namespace": "team"},
        "spec": {"type": "helm", "url": "https://charts.example.com", "syncJobPodTemplate": template, **spec},
    }


# Values of any shape below the names that we look at, so that each is met with what it should not be.
FIELDS = st.sampled_from(
    [
        *(
            "metadata",
            "labels",
            "annotations",
            "spec",
            "containers",
            "initContainers",
            "env",
            "name",
            "valueFrom",
            "secretKeyRef",
            "envFrom",
        ),
        *(
            "secretRef",
            "volumeMounts",
            "mountPath",
            "volumes",
            "secret",
            "secretName",
            "imagePullSecrets",
            "securityContext",
            "capabilities",
        ),
        *("add", "resources", "limits", "optional", "x"),
    ]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner, max_size=4),
    max_leaves=12,
)
CONTAINERS = st.dictionaries(FIELDS, VALUES, max_size=4).map(lambda fields: {"name": "x", **fields})
PODS = st.dictionaries(FIELDS, VALUES, max_size=4) | st.fixed_dictionaries({"containers": st.lists(CONTAINERS, max_size=2)})


@given(VALUES | st.fixed_dictionaries({"spec": PODS}))
def test_whatever_stands_there_is_refused_by_its_path_or_builds(template: Any) -> None:
    try:
        wanted = parse(document(template), lambda *_: "", "test")
    except InvalidDocument as refused:
        assert refused.path[:2] == ("spec", "syncJobPodTemplate")  # noqa: PT017 - it may also be taken
        return
    assert cron_job(wanted, JobSettings(), "c", held=False)
    assert clean_up_job(wanted.key, "u", JobSettings(), "j", 1, wanted.pod_template)
    assert uses(wanted, JobSettings()) is not None


@pytest.mark.parametrize(
    ("template", "path"),
    [
        ("text", "spec.syncJobPodTemplate"),
        ({"metadata": []}, "spec.syncJobPodTemplate.metadata"),
        ({"metadata": {"labels": {"a": 1}}}, "spec.syncJobPodTemplate.metadata.labels.a"),
        ({"metadata": {"annotations": {"a": True}}}, "spec.syncJobPodTemplate.metadata.annotations.a"),
        ({"spec": "text"}, "spec.syncJobPodTemplate.spec"),
        ({"spec": {"containers": "text"}}, "spec.syncJobPodTemplate.spec.containers"),
        ({"spec": {"containers": ["text"]}}, "spec.syncJobPodTemplate.spec.containers"),
        ({"spec": {"containers": [{"env": {"A": "b"}}]}}, "spec.syncJobPodTemplate.spec.containers.0.env"),
        ({"spec": {"containers": [{"env": [{"value": "b"}]}]}}, "spec.syncJobPodTemplate.spec.containers.0.env.0.name"),
        ({"spec": {"containers": [{"env": [{"name": "A", "valueFrom": "x"}]}]}}, "containers.0.env.0.valueFrom"),
        ({"spec": {"containers": [{"env": [{"name": "A", "valueFrom": {"secretKeyRef": 1}}]}]}}, "env.0.valueFrom.secretKeyRef"),
        ({"spec": {"containers": [{"envFrom": [{"secretRef": "s"}]}]}}, "containers.0.envFrom.0.secretRef"),
        ({"spec": {"containers": [{"volumeMounts": [{"name": "x"}]}]}}, "containers.0.volumeMounts.0.mountPath"),
        ({"spec": {"containers": [{"securityContext": 1}]}}, "containers.0.securityContext"),
        ({"spec": {"containers": [{"securityContext": {"capabilities": []}}]}}, "containers.0.securityContext.capabilities"),
        ({"spec": {"containers": [{"resources": "1"}]}}, "containers.0.resources"),
        ({"spec": {"containers": [{}, {}]}}, "spec.syncJobPodTemplate.spec.containers.1.name"),
        ({"spec": {"initContainers": [{}]}}, "spec.syncJobPodTemplate.spec.initContainers.0.name"),
        ({"spec": {"volumes": [{"emptyDir": {}}]}}, "spec.syncJobPodTemplate.spec.volumes.0.name"),
        ({"spec": {"imagePullSecrets": False}}, "spec.syncJobPodTemplate.spec.imagePullSecrets"),
        ({"spec": {"volumes": ""}}, "spec.syncJobPodTemplate.spec.volumes"),
        ({"spec": {"imagePullSecrets": ["s"]}}, "spec.syncJobPodTemplate.spec.imagePullSecrets"),
        ({"spec": {"securityContext": 1}}, "spec.syncJobPodTemplate.spec.securityContext"),
    ],
)
def test_a_part_of_the_wrong_shape_is_named_by_its_path(template: Any, path: str) -> None:
    with pytest.raises(InvalidDocument) as raised:
        parse(document(template), lambda *_: "", "test")
    assert path in str(raised.value)


@pytest.mark.parametrize(
    "template",
    [
        None,
        {},
        {"metadata": None, "spec": None},
        {"metadata": {"creationTimestamp": None}, "spec": {"containers": None}},
        {"spec": {"containers": [{"env": None, "volumeMounts": [], "securityContext": None}], "volumes": None}},
        {"spec": {"noSuchField": {"x": 1}}},
    ],
)
def test_what_says_nothing_or_is_not_ours_to_judge_is_taken(template: Any) -> None:
    assert parse(document(template), lambda *_: "", "test").pod_template == (template or {})


@pytest.mark.parametrize("field", ["filterRule", "ociRepositories", "url"])
def test_what_no_process_can_be_given_as_an_argument_is_refused_with_its_size(field: str) -> None:
    text = "x" * 100_001
    values = {"filterRule": {"jq": text}, "ociRepositories": [text], "url": f"https://charts.example.com/{text}"}
    with pytest.raises(InvalidDocument, match=rf"spec.{field}.*more than the 100,000"):
        parse(document({}, **{field: values[field]}), lambda *_: "", "test")
