"""CronJobs, Jobs and their Pods: Kubeapps' rules, our defaults, never an invalid object."""

import copy
import json
import re
import shlex
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.jobs import SyncRepository, from_argv
from catalog.model import RepositoryKey, SecretRef
from controller.desired import Desired
from controller.flags import JobSettings
from controller.kinds.apprepository import parse
from controller.manifests import (
    APPLIED,
    CAUSE,
    FINGERPRINT,
    INCARNATION,
    REPOSITORY,
    SOURCE,
    clean_up_job,
    cron_job,
    manifest_hash,
    sync_job,
)
from controller.pods import job_namespace, needs, uses

SETTINGS = JobSettings()
ELSEWHERE = replace(SETTINGS, job_namespace="repository")
AUTH = {"header": {"secretKeyRef": {"name": "login", "key": "token"}}}
CA = {"customCA": {"secretKeyRef": {"name": "my.ca", "key": "ca.pem"}}}


def desired(namespace: str = "kubeapps", annotations: dict[str, str] | None = None, **spec: Any) -> Desired:
    metadata = {"name": "demo", "namespace": namespace, "uid": "u-1", "annotations": annotations or {}}
    document = {"metadata": metadata, "spec": {"type": "helm", "url": "https://charts.example.com", **spec}}
    return parse(document, lambda *_: "hash", "cluster")


def templated(container: dict[str, Any] | None = None, **pod: Any) -> dict[str, Any]:
    """The Pod specification of a sync with a template of one container."""
    spec = {**pod, **({"containers": [container]} if container is not None else {})}
    return pod_of(desired(syncJobPodTemplate={"spec": spec}, auth=pod.pop("auth", {})))


def pod_of(wanted: Desired, settings: JobSettings = SETTINGS) -> dict[str, Any]:
    return sync_job(wanted, settings, "job", "first")["spec"]["template"]["spec"]


def cleaned(settings: JobSettings = SETTINGS, key: RepositoryKey | None = None, **template: Any) -> dict[str, Any]:
    return clean_up_job(key or RepositoryKey("kubeapps", "demo"), "u-1", settings, "job", 2, template)


def env(pod: dict[str, Any]) -> dict[str, Any]:
    return {each["name"]: each.get("value") or each["valueFrom"] for each in pod["containers"][0]["env"]}


def mounts(pod: dict[str, Any]) -> dict[str, str]:
    """Volumes by where the first container mounts them."""
    return {each["mountPath"]: each["name"] for each in pod["containers"][0]["volumeMounts"]}


def is_valid(pod: dict[str, Any]) -> bool:
    """What the API server would refuse: doubles, and mounts of no volume."""
    volumes = [volume["name"] for volume in pod["volumes"]]
    paths = [mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]]
    variables = [variable["name"] for variable in pod["containers"][0]["env"]]
    return all(len(each) == len(set(each)) for each in (volumes, paths, variables)) and set(mounts(pod).values()) <= set(volumes)


# Metadata -------------------------------------------------------------------------------------------------------------


def test_annotations_name_the_repository_its_source_and_what_is_asked_for() -> None:
    wanted = desired()
    cron, sync, clean = cron_job(wanted, SETTINGS, "cron", held=False), sync_job(wanted, SETTINGS, "job", "change"), cleaned()
    annotations = cron["metadata"]["annotations"]
    assert (annotations[REPOSITORY], annotations[SOURCE]) == ("kubeapps/demo", "cluster")
    assert annotations[APPLIED] == manifest_hash(cron)
    asked = {REPOSITORY: "kubeapps/demo", INCARNATION: wanted.uid, FINGERPRINT: wanted.fingerprint}
    assert cron["spec"]["jobTemplate"]["metadata"]["annotations"] == asked
    assert sync["metadata"]["annotations"] == {**asked, CAUSE: "change"}
    told = {REPOSITORY: "kubeapps/demo", "chartfleet.dev/incarnation": "u-1", "chartfleet.dev/attempt": "2"}
    assert clean["metadata"]["annotations"] == told


def test_labels_are_labels_and_annotations_are_annotations_on_every_object() -> None:
    settings = replace(SETTINGS, custom_labels={"team": "core"}, custom_annotations={"link": "https://x/?a=b"})
    for job in (sync_job(desired(), settings, "job", "first"), cleaned(settings)):
        assert job["metadata"]["labels"] == job["spec"]["template"]["metadata"]["labels"]
        assert job["metadata"]["labels"]["team"] == "core"
        assert job["metadata"]["annotations"]["link"] == "https://x/?a=b"
    cron = cron_job(desired(), settings, "cron", held=False)
    assert (cron["metadata"]["labels"]["team"], cron["metadata"]["annotations"]["link"]) == ("core", "https://x/?a=b")


def test_the_operators_labels_win_and_long_names_become_valid_labels() -> None:
    wanted = replace(desired(), repository=replace(desired().repository, key=RepositoryKey("kubeapps", "n" * 64)))
    labels = cron_job(wanted, SETTINGS, "cron", held=False)["metadata"]["labels"]
    assert len(labels["apprepositories.kubeapps.com/repo-name"]) == 63
    own = replace(SETTINGS, custom_labels={"apprepositories.kubeapps.com/repo-name": "same"})
    assert cron_job(desired(), own, "cron", held=False)["metadata"]["labels"]["apprepositories.kubeapps.com/repo-name"] == "same"


def test_an_owner_stands_where_its_namespace_is_the_objects() -> None:
    [owner] = sync_job(desired(), SETTINGS, "job", "first")["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["uid"], owner["controller"]) == ("AppRepository", "demo", "u-1", True)
    assert "ownerReferences" not in sync_job(desired("team"), SETTINGS, "job", "first")["metadata"]
    assert "ownerReferences" in sync_job(desired("team"), ELSEWHERE, "job", "first")["metadata"]
    assert "ownerReferences" not in sync_job(replace(desired(), uid=""), SETTINGS, "job", "first")["metadata"]
    assert "ownerReferences" not in cleaned()["metadata"]


def test_jobs_run_in_the_release_or_in_the_repositorys_namespace() -> None:
    assert job_namespace(RepositoryKey("team", "x"), SETTINGS) == "kubeapps"
    assert job_namespace(RepositoryKey("team", "x"), ELSEWHERE) == "team"
    assert cleaned(ELSEWHERE, RepositoryKey("team", "x"))["metadata"]["namespace"] == "kubeapps"


# CronJobs and Jobs ----------------------------------------------------------------------------------------------------


def test_a_cron_job_that_missed_an_hour_of_ticks_starts_again() -> None:
    assert cron_job(desired(), SETTINGS, "cron", held=False)["spec"]["startingDeadlineSeconds"] < 100 * 60


def test_a_held_cron_job_is_suspended_and_else_the_field_is_nobodys() -> None:
    assert cron_job(desired(), SETTINGS, "cron", held=True)["spec"]["suspend"] is True
    assert "suspend" not in cron_job(desired(), SETTINGS, "cron", held=False)["spec"]


@pytest.mark.parametrize(("spread", "schedule"), [(False, "*/10 * * * *"), (True, "0-59/10 * * * *")])
def test_the_default_schedule_is_spread_where_that_is_asked_for(spread: bool, schedule: str) -> None:
    assert cron_job(desired(), replace(SETTINGS, spread=spread), "cron", held=False)["spec"]["schedule"] == schedule
    assert cron_job(desired(interval="2h"), replace(SETTINGS, spread=spread), "cron", held=False)["spec"]["schedule"] == "0 */2 * * *"


def test_a_pod_is_never_restarted_and_an_error_that_stays_ends_its_job() -> None:
    for job, name in ((sync_job(desired(), SETTINGS, "job", "first"), "sync"), (cleaned(), "delete")):
        assert job["spec"]["template"]["spec"]["restartPolicy"] == "Never"
        ignored, fatal = job["spec"]["podFailurePolicy"]["rules"]
        assert ignored == {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
        assert fatal["onExitCodes"] == {"containerName": name, "operator": "In", "values": [1, 2]}


@pytest.mark.parametrize(("ttl", "sync", "clean"), [(3600, 3600, 3600), (0, 0, 300), (None, None, None)])
def test_a_clean_up_is_kept_until_its_end_was_seen(ttl: int | None, sync: int | None, clean: int | None) -> None:
    settings = replace(SETTINGS, ttl_seconds=ttl, active_deadline_seconds=900)
    assert sync_job(desired(), settings, "job", "first")["spec"].get("ttlSecondsAfterFinished") == sync
    assert cleaned(settings)["spec"].get("ttlSecondsAfterFinished") == clean
    assert cleaned(settings)["spec"]["activeDeadlineSeconds"] == 900


# The Pod: what it is told ---------------------------------------------------------------------------------------------


def test_what_is_newer_travels_in_one_variable_and_names_no_secret() -> None:
    asked = {"chartfleet.dev/files": "latest", "chartfleet.dev/client-certificate": "mine"}
    wanted = desired(annotations=asked, auth={**AUTH, **CA})
    pod = pod_of(wanted)
    words = shlex.split(env(pod)["CHARTFLEET_OPTIONS"])
    assert words == ["--option=files=latest", f"--option=fingerprint={wanted.listing_fingerprint}", "--option=incarnation=u-1"]
    job = from_argv(pod["containers"][0]["args"], env(pod)["CHARTFLEET_OPTIONS"]).job
    assert isinstance(job, SyncRepository)
    assert (job.repository.key, job.repository.options, job.incarnation) == (wanted.key, {"files": "latest"}, "u-1")
    assert shlex.split(env(cleaned()["spec"]["template"]["spec"])["CHARTFLEET_OPTIONS"]) == ["--option=incarnation=u-1"]


@given(st.text("$()AB x", max_size=20))
def test_no_text_of_a_resource_is_expanded_to_the_value_of_a_variable(text: str) -> None:
    wanted = replace(desired(), repository=replace(desired().repository, url=f"https://{text}"))
    args = pod_of(wanted)["containers"][0]["args"]
    assert expanded(args[-2], {"A": "secret", "B": "secret"}) == f"https://{text}"
    assert args[-2] == f"https://{text}" or "$$" in args[-2]


def expanded(text: str, variables: dict[str, str]) -> str:
    """An argument as the kubelet hands it on: `$$` is a dollar, `$(NAME)` the variable's value if there is one."""
    return re.sub(r"\$\$|\$\(([^)]*)\)", lambda found: "$" if found[0] == "$$" else variables.get(found[1], found[0]), text)


def test_a_filters_variables_are_written_as_kubeapps_writes_them() -> None:
    args = pod_of(desired(filterRule={"jq": ".name == $a", "variables": {"$a": "x"}}))["containers"][0]["args"]
    assert args[-1] == '{"jq":".name == $a","variables":{"$a":"x"}}'


@pytest.mark.parametrize(("key", "variable"), [("token", "AUTHORIZATION_HEADER"), (".dockerconfigjson", "DOCKER_CONFIG_JSON")])
@pytest.mark.parametrize(
    ("namespace", "settings", "name"),
    [("kubeapps", SETTINGS, "login"), ("team", SETTINGS, "team-apprepo-demo"), ("team", ELSEWHERE, "login")],
)
def test_a_login_comes_from_the_secret_or_its_copy(key: str, variable: str, namespace: str, settings: JobSettings, name: str) -> None:
    wanted = desired(namespace, auth={"header": {"secretKeyRef": {"name": "login", "key": key}}})
    assert env(pod_of(wanted, settings))[variable] == {"secretKeyRef": {"name": name, "key": key}}


def test_a_ca_is_mounted_where_kubeapps_has_it_also_when_its_name_is_no_volumes() -> None:
    pod = pod_of(desired(auth=CA))
    name = mounts(pod)["/usr/local/share/ca-certificates"]
    [volume] = [volume for volume in pod["volumes"] if volume["name"] == name]
    assert volume["secret"] == {"secretName": "my.ca", "items": [{"key": "ca.pem", "path": "ca.crt"}]}
    assert "." not in name
    assert is_valid(pod)


def test_a_client_certificate_is_mounted_and_named_by_its_files() -> None:
    pod = pod_of(desired(annotations={"chartfleet.dev/client-certificate": "mine"}))
    assert env(pod)["CHARTFLEET_CLIENT_CERT_FILE"] == "/etc/chartfleet/client-certificate/tls.crt"
    assert env(pod)["CHARTFLEET_CLIENT_KEY_FILE"] == "/etc/chartfleet/client-certificate/tls.key"
    name = mounts(pod)["/etc/chartfleet/client-certificate"]
    assert [volume["secret"]["secretName"] for volume in pod["volumes"] if volume["name"] == name] == ["mine"]


def test_one_secret_may_be_ca_and_client_certificate() -> None:
    ca = {"customCA": {"secretKeyRef": {"name": "mine", "key": "ca.crt"}}}
    pod = pod_of(desired(auth=ca, annotations={"chartfleet.dev/client-certificate": "mine"}))
    assert is_valid(pod)
    assert len(mounts(pod)) == 3


def test_the_databases_url_comes_whole_from_a_secret_where_one_is_named() -> None:
    settings = replace(SETTINGS, database_url_secret=SecretRef("pg", "url"))
    assert env(pod_of(desired(), settings))["CHARTFLEET_DATABASE_URL"] == {"secretKeyRef": {"name": "pg", "key": "url"}}
    assert "DB_PASSWORD" not in env(pod_of(desired(), settings))
    assert env(pod_of(desired()))["DB_PASSWORD"] == {"secretKeyRef": {"name": "kubeapps-db", "key": "postgresql-root-password"}}


def test_a_clean_up_names_no_secret_of_the_repository() -> None:
    pod = cleaned()["spec"]["template"]["spec"]
    assert set(env(pod)) == {"DB_PASSWORD", "CHARTFLEET_OPTIONS"}
    assert mounts(pod) == {"/tmp": "tmp"}


def test_a_clean_up_has_the_template_where_what_that_names_is() -> None:
    template = {"spec": {"nodeSelector": {"a": "b"}}}
    assert cleaned(**template)["spec"]["template"]["spec"]["nodeSelector"] == {"a": "b"}
    assert "nodeSelector" not in cleaned(ELSEWHERE, RepositoryKey("team", "x"), **template)["spec"]["template"]["spec"]


# The Pod: its template ------------------------------------------------------------------------------------------------


def test_a_pod_without_a_template_passes_pod_security_restricted() -> None:
    pod = templated()
    assert pod["automountServiceAccountToken"] is False
    assert pod["containers"][0]["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert mounts(pod) == {"/tmp": "tmp"}


@pytest.mark.parametrize(
    ("container", "pod", "absent"),
    [
        ({"runAsUser": 0}, {}, {"runAsNonRoot"}),
        ({}, {"runAsUser": 0}, {"runAsNonRoot"}),
        ({"runAsUser": 1001}, {"runAsUser": 0}, set[str]()),
        ({}, {"runAsNonRoot": False, "seccompProfile": {"type": "Unconfined"}}, {"runAsNonRoot", "seccompProfile"}),
        ({"privileged": True}, {}, {"allowPrivilegeEscalation"}),
        ({"capabilities": {"add": ["SYS_ADMIN"]}}, {}, {"allowPrivilegeEscalation"}),
    ],
)
def test_what_the_template_says_of_security_is_not_contradicted(container: Any, pod: Any, absent: set[str]) -> None:
    merged = templated({"securityContext": container}, securityContext=pod)
    context = merged["containers"][0]["securityContext"]
    ours = {"allowPrivilegeEscalation", "capabilities", "readOnlyRootFilesystem", "runAsNonRoot", "seccompProfile"}
    assert container.items() <= context.items()
    assert ours - set(context) == absent
    assert merged["securityContext"] == pod


def test_resources_are_the_templates_or_ours_and_never_a_mixture() -> None:
    ours = {"requests": {"cpu": "50m", "memory": "96Mi"}, "limits": {"memory": "512Mi"}}
    assert templated()["containers"][0]["resources"] == ours
    assert templated({"resources": {}})["containers"][0]["resources"] == ours
    small = {"limits": {"memory": "64Mi"}}
    assert templated({"resources": small})["containers"][0]["resources"] == small
    assert templated({}, resources=small)["containers"][0]["resources"] == {}


def test_a_templates_annotations_and_labels_stay_beside_ours() -> None:
    template = {"metadata": {"labels": {"foo": "bar"}, "annotations": {"note": "kept"}, "creationTimestamp": None}}
    settings = replace(SETTINGS, custom_annotations={"owner": "core"})
    metadata = sync_job(desired(syncJobPodTemplate=template), settings, "job", "first")["spec"]["template"]["metadata"]
    assert metadata["annotations"] == {"note": "kept", "owner": "core"}
    assert metadata["labels"]["foo"] == "bar"
    assert "creationTimestamp" not in metadata


def test_a_variable_stands_once_and_ours_replaces_the_templates() -> None:
    given = [{"name": "FOO", "value": "a"}, {"name": "DB_PASSWORD", "value": "theirs"}, {"name": "FOO", "value": "b"}]
    pod = templated({"env": given})
    assert [each["name"] for each in pod["containers"][0]["env"]] == ["FOO", "DB_PASSWORD", "CHARTFLEET_OPTIONS"]
    assert env(pod)["FOO"] == "b"
    assert "secretKeyRef" in env(pod)["DB_PASSWORD"]


def test_the_first_container_becomes_ours_and_the_others_stay() -> None:
    first = {"name": "x", "image": "other:1", "args": ["y"], "command": ["z"], "imagePullPolicy": "Always", "workingDir": "/w"}
    first["terminationMessagePath"] = "/other"
    side = {"name": "side", "image": "side:1"}
    pod = pod_of(desired(syncJobPodTemplate={"spec": {"containers": [first, side], "restartPolicy": "Always"}}))
    ours, other = pod["containers"]
    assert (ours["name"], ours["image"], ours["command"], ours["imagePullPolicy"]) == (
        "sync",
        SETTINGS.sync_image,
        ["/chart-repo"],
        "IfNotPresent",
    )
    assert (ours["args"][0], ours["workingDir"]) == ("sync", "/w")
    assert ours["terminationMessagePath"] == "/dev/termination-log"
    assert other == side


def test_pull_secrets_of_template_and_flag_stand_once_each_with_their_blanks() -> None:
    wanted = desired(syncJobPodTemplate={"spec": {"imagePullSecrets": [{"name": "own"}, {"name": "s1"}]}})
    pod = pod_of(wanted, replace(SETTINGS, pull_secrets=("s1", " s2")))
    assert pod["imagePullSecrets"] == [{"name": "own"}, {"name": "s1"}, {"name": " s2"}]


@pytest.mark.parametrize(
    ("mounted", "volumes"),
    [
        ([{"name": "cache", "mountPath": "/tmp/"}], [{"name": "cache", "emptyDir": {}}]),
        ([{"name": "certs", "mountPath": "/usr/local/share/ca-certificates"}], [{"name": "certs", "secret": {"secretName": "x"}}]),
        ([{"name": "tmp", "mountPath": "/data"}], [{"name": "tmp", "emptyDir": {}}]),
        ([], [{"name": "ca", "configMap": {"name": "x"}}]),
    ],
)
def test_paths_and_volumes_that_the_template_has_stay_its_own_and_the_pod_valid(mounted: list[Any], volumes: list[Any]) -> None:
    ca = {"customCA": {"secretKeyRef": {"name": "ca", "key": "ca.crt"}}}
    pod = pod_of(desired(auth=ca, syncJobPodTemplate={"spec": {"containers": [{"volumeMounts": mounted}], "volumes": volumes}}))
    assert is_valid(pod)
    assert pod["containers"][0]["volumeMounts"][: len(mounted)] == mounted
    assert pod["volumes"][: len(volumes)] == volumes


def test_a_container_and_a_custom_ca_make_valid_jobs_however_often_they_are_built() -> None:
    template = {"spec": {"containers": [{"securityContext": {"runAsUser": 1001}}], "securityContext": {"fsGroup": 1001}}}
    wanted = desired(auth=CA, syncJobPodTemplate=template)
    first = [cron_job(wanted, SETTINGS, "c", held=False), sync_job(wanted, SETTINGS, "j", "first"), cleaned(template=template)]
    again = [cron_job(wanted, SETTINGS, "c", held=False), sync_job(wanted, SETTINGS, "j", "first"), cleaned(template=template)]
    assert first == again
    assert is_valid(pod_of(wanted))


def test_what_is_built_shares_nothing_with_the_resource_or_with_another() -> None:
    template = {
        "metadata": {"labels": {"a": "b"}},
        "spec": {"containers": [{"env": [{"name": "A", "value": "b"}]}], "tolerations": [{"key": "k"}]},
    }
    wanted = desired(syncJobPodTemplate=template)
    before = copy.deepcopy(wanted)
    built = cron_job(wanted, SETTINGS, "c", held=False)
    kept = json.dumps(cron_job(wanted, SETTINGS, "c", held=False))
    spoil(built)
    assert wanted == before
    assert json.dumps(cron_job(wanted, SETTINGS, "c", held=False)) == kept


def spoil(value: Any) -> None:
    """Change everything that can be changed."""
    for inner in list(value.values() if isinstance(value, dict) else value if isinstance(value, list) else []):
        spoil(inner)
    if isinstance(value, dict | list):
        value.clear()


# References -----------------------------------------------------------------------------------------------------------


def test_all_that_pods_refer_to_is_named_where_they_run_and_what_they_need_told_apart() -> None:
    container = {
        "env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "one", "key": "k"}}}, {"name": "B", "value": "x"}],
        "envFrom": [{"configMapRef": {"name": "two", "optional": True}}],
    }
    spec = {
        "containers": [{}, {**container, "name": "side"}],
        "initContainers": [{"name": "first", "envFrom": [{"secretRef": {"name": "three"}}]}],
        "volumes": [
            {"name": "v", "secret": {"secretName": "four", "items": [{"key": "k", "path": "p"}]}},
            {"name": "w", "projected": {"sources": [{"configMap": {"name": "five"}}, {"secret": {"name": "six", "optional": True}}]}},
        ],
        "imagePullSecrets": [{"name": "seven"}],
    }
    wanted = desired("team", {"chartfleet.dev/client-certificate": "mine"}, auth=AUTH, syncJobPodTemplate={"spec": spec})
    needed = {("Secret", "kubeapps", name) for name in ("team-apprepo-demo", "one", "three", "four")} | {("ConfigMap", "kubeapps", "five")}
    assert needs(wanted, SETTINGS) == needed
    assert uses(wanted, SETTINGS) == needed | {
        ("Secret", "kubeapps", "six"),
        ("Secret", "kubeapps", "seven"),
        ("ConfigMap", "kubeapps", "two"),
    }
    assert ("Secret", "team", "login") in needs(wanted, ELSEWHERE)
    assert ("Secret", "team", "mine") in needs(wanted, ELSEWHERE)


def test_a_hash_changes_with_the_manifest_and_not_with_the_order_or_itself() -> None:
    manifest = cron_job(desired(), SETTINGS, "cron", held=False)
    assert manifest_hash(dict(reversed(manifest.items()))) == manifest_hash(manifest)
    assert manifest_hash(cron_job(desired(), SETTINGS, "cron", held=True)) != manifest_hash(manifest)
