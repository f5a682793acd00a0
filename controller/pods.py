"""The Pods of a repository's Jobs: `syncJobPodTemplate` with our container in it. Pure; what comes in is never changed.

By Kubeapps' rules: the template's first container becomes ours and keeps what is not ours to say; everything else of the template stays.
Where the template is silent, the defaults below pass Pod Security "restricted". The other containers keep what they have.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from catalog.jobs import CleanUpRepository, SyncRepository, kubeapps_argv, options_text
from catalog.model import RepositoryKey, SecretRef
from controller.desired import Desired
from controller.flags import JobSettings
from controller.names import copied_secret_name, label_value, volume_name

Manifest = dict[str, Any]
Reference = tuple[str, str, str]  # "Secret" or "ConfigMap", namespace, name

REPOSITORY_NAME = "apprepositories.kubeapps.com/repo-name"
REPOSITORY_NAMESPACE = "apprepositories.kubeapps.com/repo-namespace"
CA_DIRECTORY = "/usr/local/share/ca-certificates"
CERTIFICATE_DIRECTORY = "/etc/chartfleet/client-certificate"
TLS_KEYS = ("tls.crt", "tls.key")
SECURITY = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}
RESOURCES = {"requests": {"cpu": "50m", "memory": "96Mi"}, "limits": {"memory": "512Mi"}}
SECRETS, CONFIG_MAPS = ("secretKeyRef", "secretRef", "secret", "nodePublishSecretRef"), ("configMapKeyRef", "configMapRef", "configMap")


@dataclass(frozen=True, slots=True)
class Mount:
    """A volume of ours and where it is mounted; `source` is the volume without its name."""

    name: str
    path: str
    source: Manifest
    read_only: bool = True


TMP = Mount("tmp", "/tmp", {"emptyDir": {}}, read_only=False)  # noqa: S108 - a Pod's own


def sync_pod(desired: Desired, settings: JobSettings) -> Manifest:
    """The Pod template of a sync: Kubeapps' arguments, and in CHARTFLEET_OPTIONS what is newer than those."""
    repository = desired.repository
    options = {name: value for name, value in repository.options.items() if name != "client-certificate"}
    # A Pod has its Secrets as environment and volumes, and no token to look for them by name.
    job = SyncRepository(replace(repository, auth=None, ca=None, options=options), desired.uid, desired.listing_fingerprint)
    comment = [f"--user-agent-comment={settings.user_agent_comment}"] if settings.user_agent_comment else []
    flags = [*_database_flags(settings), *comment, f"--global-repos-namespace={settings.global_namespace}"]
    env = [*_database_env(settings), *_catalog_env(settings), *_credentials(desired, settings), *_certificate_env(desired)]
    env += _options_env(options_text(job))
    mounts = [*_ca(desired, settings), *_certificate(desired, settings), TMP]
    container = _container("sync", kubeapps_argv(job, flags), settings)
    return _pod(desired.pod_template, container, env, mounts, desired.key, settings)


def clean_up_pod(job: CleanUpRepository, settings: JobSettings, template: Mapping[str, Any]) -> Manifest:
    """The Pod template of a clean-up: it needs the database and none of the repository's Secrets."""
    env = [*_database_env(settings), *_catalog_env(settings), *_options_env(options_text(job))]
    container = _container("delete", kubeapps_argv(job, _database_flags(settings)), settings)
    return _pod(template, container, env, [TMP], job.key, settings)


def repository_labels(key: RepositoryKey, settings: JobSettings) -> dict[str, str]:
    """Labels of all that is made for a repository; the operator's own win, as with Kubeapps."""
    own = {REPOSITORY_NAME: label_value(key.name), REPOSITORY_NAMESPACE: label_value(key.namespace)}
    return {**own, **settings.custom_labels}


def job_namespace(key: RepositoryKey, settings: JobSettings) -> str:
    """Where a repository's CronJob and sync Jobs run."""
    return key.namespace if settings.job_namespace == "repository" else settings.namespace


def secret_name(name: str, key: RepositoryKey, settings: JobSettings) -> str:
    """A repository's Secret as its Pods name it: the copy, where they run in another namespace."""
    return name if job_namespace(key, settings) == key.namespace else copied_secret_name(key)


def uses(desired: Desired, settings: JobSettings) -> frozenset[Reference]:
    """What the repository and its template refer to, where the Pods run: when any of it changes, a sync is due."""
    return frozenset(reference for reference, _ in _references(desired, settings))


def needs(desired: Desired, settings: JobSettings) -> frozenset[Reference]:
    """Those of `uses` without which no Pod starts: neither optional nor a pull secret."""
    return frozenset(reference for reference, needed in _references(desired, settings) if needed)


def keys(desired: Desired, settings: JobSettings) -> list[tuple[Reference, str]]:
    """The keys that must be in the repository's own Secrets."""
    repository, certificate = desired.repository, desired.repository.options.get("client-certificate")
    named = [(ref.name, ref.key) for ref in (repository.auth, repository.ca) if ref]
    named += [(certificate, key) for key in TLS_KEYS if certificate]
    namespace = job_namespace(desired.key, settings)
    return [(("Secret", namespace, secret_name(name, desired.key, settings)), key) for name, key in named]


def _references(desired: Desired, settings: JobSettings) -> Iterator[tuple[Reference, bool]]:
    namespace = job_namespace(desired.key, settings)
    for ref in (desired.repository.auth, desired.repository.ca, _certificate_ref(desired)):
        if ref:
            yield ("Secret", namespace, secret_name(ref.name, desired.key, settings)), True
    spec = desired.pod_template.get("spec") or {}
    for kind, name, needed in _named(spec):
        yield (kind, namespace, name), needed
    for pull in spec.get("imagePullSecrets") or []:
        if name := pull.get("name"):
            yield ("Secret", namespace, name), False


def _named(value: Any) -> Iterator[tuple[str, str, bool]]:
    """Kind, name and need of each reference at any depth of a Pod's specification."""
    if isinstance(value, list):
        for item in value:
            yield from _named(item)
    elif isinstance(value, dict):
        for field, inner in value.items():
            kind = "Secret" if field in SECRETS else "ConfigMap" if field in CONFIG_MAPS else None
            if kind and isinstance(inner, dict) and (name := inner.get("secretName") or inner.get("name")):
                yield kind, str(name), not inner.get("optional")
            else:
                yield from _named(inner)


def _pod(
    template: Mapping[str, Any],
    container: Manifest,
    env: Iterable[Manifest],
    mounts: Sequence[Mount],
    key: RepositoryKey,
    settings: JobSettings,
) -> Manifest:
    given = _copied(template)
    metadata, spec = given.get("metadata", {}), given.get("spec", {})
    first, *others = spec.get("containers") or [{}]
    volumes, mounted = _mounted(spec.get("volumes", []), first.get("volumeMounts", []), mounts)
    ours = {
        "terminationMessagePolicy": "File",
        **first,
        **container,
        "env": _unique("name", [*first.get("env", []), *env]),
        "volumeMounts": mounted,
        "resources": first.get("resources") or ({} if spec.get("resources") else _copied(RESOURCES)),
        "securityContext": _security(spec.get("securityContext", {}), first.get("securityContext", {})),
    }
    annotations = {**metadata.get("annotations", {}), **settings.custom_annotations}
    labels = {**metadata.get("labels", {}), **repository_labels(key, settings)}
    pulls = _unique("name", [*spec.get("imagePullSecrets", []), *({"name": name} for name in settings.pull_secrets)])
    return {
        "metadata": {**metadata, "labels": labels, **({"annotations": annotations} if annotations else {})},
        "spec": {
            "automountServiceAccountToken": False,
            **spec,
            "restartPolicy": "Never",
            "containers": [ours, *others],
            "volumes": volumes,
            **({"imagePullSecrets": pulls} if pulls else {}),
        },
    }


def _mounted(volumes: list[Manifest], mounted: list[Manifest], ours: Sequence[Mount]) -> tuple[list[Manifest], list[Manifest]]:
    """Volumes and mounts with ours: a path that the template mounts itself stays its own, a volume's name that it has is not taken."""
    paths, names = {mount["mountPath"].rstrip("/") for mount in mounted}, {volume["name"] for volume in volumes}
    for mount in ours:
        if mount.path in paths:
            continue
        name = volume_name(f"chartfleet.{mount.name}") if mount.name in names else mount.name
        volumes = [*volumes, {"name": name, **_copied(mount.source)}]
        read_only = {"readOnly": True} if mount.read_only else {}
        mounted = [*mounted, {"name": name, "mountPath": mount.path, **read_only}]
        names.add(name)
    return volumes, mounted


def _security(pod: Manifest, container: Manifest) -> Manifest:
    """The container's context with our defaults, except where they would contradict what the template says for Pod or container."""
    said = {*pod, *container}
    if container.get("runAsUser", pod.get("runAsUser")) == 0:
        said.add("runAsNonRoot")
    if container.get("privileged") or "SYS_ADMIN" in str(container.get("capabilities", {}).get("add")):
        said.add("allowPrivilegeEscalation")  # the API server refuses these together
    return {**{name: _copied(value) for name, value in SECURITY.items() if name not in said}, **container}


def _container(name: str, argv: Sequence[str], settings: JobSettings) -> Manifest:
    """The fields that are ours to say, whatever the template does."""
    return {
        "name": name,
        "image": settings.sync_image,
        "imagePullPolicy": "IfNotPresent",
        "command": [settings.sync_command],
        "args": [_literal(word) for word in argv],
        "terminationMessagePath": "/dev/termination-log",  # where the worker leaves what the status is made of
    }


def _literal(word: str) -> str:
    """The word with Kubernetes' expansion of `$(NAME)` stopped: a URL could ask for the database's password."""
    return re.sub(r"\$+(?=\()|\$\$+", lambda dollars: dollars[0] * 2, word)


def _database_flags(settings: JobSettings) -> list[str]:
    words = {"url": settings.database_url, "user": settings.database_user, "name": settings.database_name}
    return [f"--database-{name}={value}" for name, value in words.items()]


def _database_env(settings: JobSettings) -> list[Manifest]:
    if settings.database_url_secret:
        return [_from_secret("CHARTFLEET_DATABASE_URL", settings.database_url_secret)]
    return [_from_secret("DB_PASSWORD", settings.database_secret)]


def _catalog_env(settings: JobSettings) -> list[Manifest]:
    return [{"name": "OCI_CATALOG_URL", "value": settings.oci_catalog_url}] if settings.oci_catalog_url else []


def _options_env(text: str) -> list[Manifest]:
    return [{"name": "CHARTFLEET_OPTIONS", "value": _literal(text)}] if text else []


def _credentials(desired: Desired, settings: JobSettings) -> list[Manifest]:
    ref = desired.repository.auth
    if ref is None:
        return []
    variable = "DOCKER_CONFIG_JSON" if ref.key == ".dockerconfigjson" else "AUTHORIZATION_HEADER"
    return [_from_secret(variable, SecretRef(secret_name(ref.name, desired.key, settings), ref.key))]


def _ca(desired: Desired, settings: JobSettings) -> list[Mount]:
    ref = desired.repository.ca
    if ref is None:
        return []
    items = [{"key": ref.key, "path": "ca.crt"}]
    source = {"secret": {"secretName": secret_name(ref.name, desired.key, settings), "items": items}}
    return [Mount(volume_name(ref.name), CA_DIRECTORY, source)]


def _certificate(desired: Desired, settings: JobSettings) -> list[Mount]:
    """The volume of a kubernetes.io/tls Secret; `_certificate_env` says where it is."""
    ref = _certificate_ref(desired)
    if ref is None:
        return []
    source = {"secret": {"secretName": secret_name(ref.name, desired.key, settings), "items": [{"key": k, "path": k} for k in TLS_KEYS]}}
    return [Mount(volume_name(f"{ref.name}.client-certificate"), CERTIFICATE_DIRECTORY, source)]


def _certificate_env(desired: Desired) -> list[Manifest]:
    if _certificate_ref(desired) is None:
        return []
    variables = zip(("CHARTFLEET_CLIENT_CERT_FILE", "CHARTFLEET_CLIENT_KEY_FILE"), TLS_KEYS, strict=True)
    return [{"name": variable, "value": f"{CERTIFICATE_DIRECTORY}/{key}"} for variable, key in variables]


def _certificate_ref(desired: Desired) -> SecretRef | None:
    name = desired.repository.options.get("client-certificate")
    return SecretRef(name, TLS_KEYS[0]) if name else None


def _from_secret(variable: str, ref: SecretRef) -> Manifest:
    return {"name": variable, "valueFrom": {"secretKeyRef": {"name": ref.name, "key": ref.key}}}


def _unique(field: str, items: Iterable[Manifest]) -> list[Manifest]:
    """The items without those that a later one of the same name replaces: server-side apply takes no doubles."""
    return list({item.get(field): item for item in items}.values())


def _copied(value: Any) -> Any:
    """A copy to the bottom, without the fields that are null: those say nothing."""
    if isinstance(value, Mapping):
        return {str(name): _copied(item) for name, item in value.items() if item is not None}
    return [_copied(item) for item in value] if isinstance(value, list) else value
