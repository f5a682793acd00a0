"""Decide, then do: documents → desired → actions."""

from dataclasses import replace

import pytest

from catalog.documents import Unreadable, documents
from catalog.jobs import CleanUpRepository
from catalog.model import Applied, FilterRule, RepositoryKey, SecretRef
from controller.desired import Desired
from controller.documents import interpret
from controller.kinds.apprepository import parse
from controller.kinds.fields import InvalidDocument
from controller.plan import EnsureSchedule, Remove, RunNow, plan, plan_removals

KEY = RepositoryKey("default", "a")
FULL = """
apiVersion: kubeapps.com/v1alpha1
kind: AppRepository
metadata: {name: a, labels: {x: y}, annotations: {other/thing: z, chartfleet.dev/files: latest, chartfleet.dev/max-seconds: '60'}}
spec:
  type: oci
  url: ' https://charts.example.com/x '
  description: text
  auth: {header: {secretKeyRef: {name: s, key: k}}, customCA: {secretKeyRef: {name: ca, key: ca.crt}}}
  dockerRegistrySecrets: [d]
  tlsInsecureSkipVerify: true
  passCredentials: true
  interval: 2h
  filterRule: {jq: '.name == $v', variables: {$v: x}}
  ociRepositories: [one, two/three]
  resyncRequests: 3
  syncJobPodTemplate: {metadata: {}, spec: {containers: []}}
status: {status: ''}
"""


def desired(text: str = FULL) -> Desired:
    [document] = documents(text)
    return parse(document.value, lambda *_: "hash", "test")


def standing(wanted: Desired) -> Applied:
    """What the database holds once `wanted` was applied."""
    return Applied(wanted.key, "first", wanted.fingerprint, wanted.source, wanted.fingerprint)


def simple(**changes: object) -> Desired:
    return replace(desired(), problem_reason=None, problem=None, **changes)  # pyright: ignore[reportArgumentType]


def test_every_field_of_kubeapps_crd_is_read() -> None:
    wanted = desired()
    repository = wanted.repository
    assert (repository.key, repository.type, repository.url) == (KEY, "oci", "https://charts.example.com/x")
    assert (repository.auth, repository.ca) == (SecretRef("s", "k"), SecretRef("ca", "ca.crt"))
    assert repository.filter == FilterRule(".name == $v", {"$v": "x"})
    assert (repository.verify_tls, repository.pass_credentials) == (False, True)
    assert repository.options == {"oci-repositories": "one,two/three", "files": "latest", "max-seconds": "60"}


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("type: oci", "type: git", "spec.type"),
        ("type: oci", "type: 7", "spec.type"),
        ("url: ' https://charts.example.com/x '", "url: nonsense", "spec.url"),
        ("url: ' https://charts.example.com/x '", "link: x", "spec.link"),
        ("name: a,", "name: A B,", "metadata.name"),
        ("resyncRequests: 3", "resyncRequests: many", "spec.resyncRequests"),
        ("passCredentials: true", "passCredentials: 'yes'", "spec.passCredentials"),
        ("secretKeyRef: {name: s, key: k}", "secretKeyRef: {name: s}", "spec.auth.header.secretKeyRef.key"),
        ("ociRepositories: [one, two/three]", "ociRepositories: one", "spec.ociRepositories"),
        ("filterRule: {jq: '.name == $v', variables: {$v: x}}", "filterRule: text", "spec.filterRule"),
        ("chartfleet.dev/files: latest", "chartfleet.dev/files: newest", "chartfleet.dev/files: must be one of all, latest, none"),
        ("chartfleet.dev/files: latest", "chartfleet.dev/file: latest", "chartfleet.dev/file: there is no such annotation"),
        ("chartfleet.dev/max-seconds: '60'", "chartfleet.dev/max-seconds: '1h'", "chartfleet.dev/max-seconds: must be a positive"),
        ("chartfleet.dev/max-seconds: '60'", "chartfleet.dev/max-seconds: 60", "chartfleet.dev/max-seconds: must be a text"),
    ],
)
def test_a_wrong_field_is_named_by_its_path(field: str, value: str, said: str) -> None:
    assert field in FULL
    with pytest.raises(InvalidDocument, match=said):
        desired(FULL.replace(field, value))


def test_a_new_repository_is_scheduled_and_synced() -> None:
    wanted = simple()
    assert plan(wanted, None, wanted.fingerprint, "i") == (EnsureSchedule(wanted, "i"), RunNow(wanted))


def test_a_restart_syncs_nothing() -> None:
    wanted = simple()
    assert plan(wanted, standing(wanted), wanted.fingerprint, "other") == ()


def test_any_change_of_the_specification_syncs_in_the_same_incarnation() -> None:
    before = simple()
    after = replace(before, fingerprint="changed")
    assert plan(after, standing(before), after.fingerprint, "other") == (EnsureSchedule(after, "first"), RunNow(after))


def test_a_suspended_or_refused_repository_is_not_synced() -> None:
    for wanted in (simple(suspended=True), replace(desired(), problem_reason="InvalidRepository", problem="x")):
        assert plan(wanted, None, wanted.fingerprint, "i") == (EnsureSchedule(wanted, "i"),)


@pytest.mark.parametrize(("old", "new"), [("resyncRequests: 3", "resyncRequests: 4"), ("variables: {$v: x}", "variables: {$v: y}")])
def test_a_resync_request_and_the_filter_are_changes_that_the_listing_does_not_depend_on(old: str, new: str) -> None:
    before, after = desired(), desired(FULL.replace(old, new))
    assert before.fingerprint != after.fingerprint
    assert before.listing_fingerprint == after.listing_fingerprint
    assert before.listing_fingerprint != desired(FULL.replace("charts.example.com", "other.example.com")).listing_fingerprint


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("chartfleet.dev/files: latest", "chartfleet.dev/files: all"),
        ("chartfleet.dev/max-seconds: '60'", "chartfleet.dev/max-seconds: '61'"),
        ("jq: '.name == $v'", "jq: '.name != $v'"),
    ],
)
def test_a_changed_filter_or_annotation_syncs_without_reading_the_listing_afresh(old: str, new: str) -> None:
    before, after = desired(), desired(FULL.replace(old, new))
    assert before.fingerprint != after.fingerprint
    assert before.listing_fingerprint == after.listing_fingerprint


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("passCredentials: true", "passCredentials: false"),
        ("tlsInsecureSkipVerify: true", "tlsInsecureSkipVerify: false"),
        ("customCA: {secretKeyRef: {name: ca, ", "customCA: {secretKeyRef: {name: other, "),
        ("chartfleet.dev/files: latest", "chartfleet.dev/files: latest, chartfleet.dev/client-certificate: mine"),
    ],
)
def test_what_opens_a_repository_has_its_listing_read_afresh(old: str, new: str) -> None:
    assert desired().listing_fingerprint != desired(FULL.replace(old, new)).listing_fingerprint


def test_a_rotated_client_certificate_is_a_change() -> None:
    [document] = documents(FULL.replace("chartfleet.dev/files: latest", "chartfleet.dev/client-certificate: mine"))
    first, second = (parse(document.value, lambda _, name, key, v=v: f"{name}/{key}{v}", "test") for v in "ab")
    assert first.listing_fingerprint != second.listing_fingerprint


def test_a_filter_is_no_reason_to_refuse_a_repository() -> None:
    assert desired(FULL.replace("type: oci", "type: helm")).problem is None


def test_what_is_gone_is_dropped_in_its_incarnation() -> None:
    assert plan_removals({KEY: standing(simple())}) == (Remove(CleanUpRepository(KEY, "first")),)


def test_documents_know_their_lines_and_a_list_is_its_items() -> None:
    found = documents("# c\na: 1\n---\nkind: List\nitems:\n- {b: 2}\n- c:\n    d: 3\n---\n")
    assert [(document.line, document.value) for document in found] == [(2, {"a": 1}), (6, {"b": 2}), (7, {"c": {"d": 3}})]
    assert found[2].line_of("c", "d", "missing") == 8


def test_a_bomb_of_aliases_is_refused_before_it_is_built() -> None:
    lists = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 9))
    mappings = "a0: &a0 {x: y}\n" + "".join(f"a{n}: &a{n} {{{', '.join(f'k{i}: *a{n - 1}' for i in range(10))}}}\n" for n in range(1, 9))
    for bomb in (lists, mappings):
        with pytest.raises(Unreadable, match="aliases"):
            documents(bomb)


@pytest.mark.parametrize("spec", ["1: a, foo: b", "syncJobPodTemplate: {1: a, foo: b}", "syncJobPodTemplate: {2020-01-01: a}"])
def test_keys_of_any_type_stop_nothing(spec: str) -> None:
    text = f"apiVersion: kubeapps.com/v1alpha1\nkind: AppRepository\nmetadata: {{name: a}}\nspec: {{type: helm, url: 'http://x', {spec}}}\n"
    scan = interpret({"1.yaml": text, "2.yaml": FULL.replace("name: a,", "name: b,")}, "test")
    assert RepositoryKey("default", "b") in scan.desired
    assert (KEY in scan.desired) != bool(scan.problems)


@pytest.mark.parametrize(("text", "line"), [("a: [\n", 2), ("a: 1\nb: c: d\n", 2), ("x: " + "[" * 30_000, 1), ("\0", 1), ("- *no\n", 1)])
def test_a_text_that_is_no_yaml_says_its_line(text: str, line: int) -> None:
    with pytest.raises(Unreadable) as unreadable:
        documents(text)
    assert unreadable.value.line == line


def test_the_same_name_twice_is_said_and_the_first_one_counts() -> None:
    one = FULL.replace("type: oci", "type: helm")
    scan = interpret({"1.yaml": one, "2.yaml": one.replace("charts.example.com", "other.example.com")}, "test")
    assert scan.desired[KEY].repository.url == "https://charts.example.com/x"
    assert [(problem.file, "1.yaml:2" in problem.message) for problem in scan.problems] == [("2.yaml", True)]
    assert scan.complete
