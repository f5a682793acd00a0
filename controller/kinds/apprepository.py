"""kubeapps.com/v1alpha1 AppRepository → Desired, field by field as Kubeapps' CRD has them; `suspend` and the annotations are ours."""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from catalog import schedule
from catalog.jobs import filter_json
from catalog.model import FilterRule, Repository, RepositoryKey, SecretRef
from catalog.options import OPTIONS, problem
from controller.desired import Desired
from controller.kinds.fields import MOST_NESTED, Fields, InvalidDocument, is_too_deep
from controller.kinds.pod_template import pod_template

TYPES = ("helm", "oci")
SPEC = (
    "type", "url", "description", "auth", "dockerRegistrySecrets", "tlsInsecureSkipVerify", "passCredentials", "interval", "filterRule",
    "ociRepositories", "resyncRequests", "syncJobPodTemplate", "suspend",
)  # fmt: skip
# What a listing was read with: when it changes, the validators and hash of the last reading say nothing. The filter, and whose files are
# wanted, the worker compares by itself: stored rows serve a new filter as well.
LISTING = ("type", "url", "auth", "passCredentials", "ociRepositories", "tlsInsecureSkipVerify")
ANNOTATION = "chartfleet.dev/"
REQUESTED_AT = "requested-at"  # any text: another one asks for a sync
ABOUT = (REQUESTED_AT, "force-delete", "status")  # annotations that are no options of the sync
DEFAULT = schedule.Every(timedelta(minutes=10))
LARGEST_ARGUMENT = 100_000  # bytes
NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")


def parse(value: Mapping[str, Any], secret_hash: Callable[[str, str, str], str], source: str) -> Desired:
    """Raises InvalidDocument. `secret_hash(namespace, name, key)` makes a rotated Secret a change."""
    metadata, spec = Fields(value).inside("metadata"), Fields(value).inside("spec")
    key = RepositoryKey(_name(metadata, "namespace", "default"), _name(metadata, "name"))
    spec.only(*SPEC)
    if is_too_deep(value["spec"]):
        raise InvalidDocument(("spec",), f"is nested more than {MOST_NESTED} deep")
    options = _options(metadata.inside("annotations"))
    asked = metadata.inside("annotations").text(ANNOTATION + REQUESTED_AT, "")
    repository = _repository(key, spec, options)
    when, reason, said = _schedule(spec.text("interval", ""))
    secrets = [secret_hash(key.namespace, name, field) for name, field in _secrets(repository)]
    plain = spec.plain()
    listing = {name: plain.get(name) for name in LISTING}
    spec.number("resyncRequests")
    return Desired(
        repository=repository,
        schedule=when,
        fingerprint=fingerprint({**plain, "options": options, **({"asked": asked} if asked else {})}, secrets),
        listing_fingerprint=fingerprint({**listing, "client-certificate": options.get("client-certificate")}, secrets),
        source=source,
        suspended=spec.flag("suspend"),
        problem_reason=reason,
        problem=said,
        interval=spec.text("interval", ""),
        uid=metadata.text("uid", ""),
        pod_template=pod_template(spec.inside("syncJobPodTemplate")),
    )


def fingerprint(spec: Mapping[str, Any], secrets: list[str]) -> str:
    """32 hexadecimal digits over what is asked for."""
    text = json.dumps([_ordered(spec), secrets], default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _ordered(value: Any) -> Any:
    """Mappings as sorted pairs: YAML's keys may be of any type, and of several."""
    match value:
        case dict():
            return sorted(([str(name), _ordered(item)] for name, item in value.items()), key=lambda pair: pair[0])
        case list():
            return [_ordered(item) for item in value]
        case _:
            return value


def _options(annotations: Fields) -> dict[str, str]:
    """The options among a resource's annotations; those of others are passed over."""
    names = [name for name in annotations.plain() if str(name).startswith(ANNOTATION) and name.removeprefix(ANNOTATION) not in ABOUT]
    options = {name.removeprefix(ANNOTATION): annotations.text(name) for name in names}
    for option, value in options.items():
        wrong = problem(option, value) if option in OPTIONS else f"there is no such annotation (known: {', '.join((*OPTIONS, *ABOUT))})"
        if wrong:
            raise InvalidDocument(("metadata", "annotations", ANNOTATION + option), wrong)
    return options


def _secrets(repository: Repository) -> list[tuple[str, str]]:
    """Name and key of each Secret that the repository is opened with."""
    certificate = repository.options.get("client-certificate")
    own = [(certificate, "tls.crt"), (certificate, "tls.key")] if certificate else []
    return [(ref.name, ref.key) for ref in (repository.auth, repository.ca) if ref] + own


def _repository(key: RepositoryKey, spec: Fields, options: Mapping[str, str]) -> Repository:
    type_ = spec.text("type")
    if type_ not in TYPES:
        raise InvalidDocument(("spec", "type"), f"must be one of {', '.join(TYPES)}, not {type_[:40]!r}")
    spec.texts("dockerRegistrySecrets")
    repositories = _argument(("spec", "ociRepositories"), ",".join(spec.texts("ociRepositories")))
    return Repository(
        key=key,
        type=type_,
        url=_argument(("spec", "url"), _url(spec.text("url").strip())),
        auth=_secret(spec.inside("auth").inside("header")),
        ca=_secret(spec.inside("auth").inside("customCA")),
        filter=_filter(spec.inside("filterRule")),
        verify_tls=not spec.flag("tlsInsecureSkipVerify"),
        pass_credentials=spec.flag("passCredentials"),
        options={**options, **({"oci-repositories": repositories} if repositories else {})},
    )


def _url(text: str) -> str:
    """The URL; its text is in no message, since it may hold a password."""
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https", "oci") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        usable, parts = False, urlsplit("")
    if "@" in parts.netloc:
        raise InvalidDocument(
            ("spec", "url"), "holds a user or password: put `Basic …` into a Secret and name it in spec.auth.header.secretKeyRef"
        )
    if not usable or not text.isprintable():
        raise InvalidDocument(("spec", "url"), "must be a URL such as https://charts.example.com/stable")
    return text


def _secret(parent: Fields) -> SecretRef | None:
    ref = parent.inside("secretKeyRef")
    return SecretRef(ref.text("name"), ref.text("key")) if ref else None


def _filter(rule: Fields) -> FilterRule | None:
    jq = rule.text("jq", "")
    variables = rule.inside("variables").plain()
    filter_ = FilterRule(jq, {str(name): str(value) for name, value in variables.items()}) if jq else None
    _argument(("spec", "filterRule"), filter_json(filter_) if filter_ else "")
    return filter_


def _argument(path: tuple[str, ...], text: str) -> str:
    """The text, if a process can be given it as one argument: Linux takes 128 KiB."""
    if (size := len(text.encode(errors="replace"))) > LARGEST_ARGUMENT:
        raise InvalidDocument(path, f"is {size:,} bytes long, more than the {LARGEST_ARGUMENT:,} that a job can be given")
    return text


def _schedule(interval: str) -> tuple[schedule.Schedule, str | None, str | None]:
    """The schedule; like Kubeapps the default where the interval is none, but said."""
    try:
        return schedule.parse(interval), None, None
    except ValueError as error:
        return DEFAULT, "InvalidSchedule", f"spec.interval: {error}; the default schedule is used"


def _name(metadata: Fields, field: str, default: str | None = None) -> str:
    text = metadata.text(field, default)
    if not NAME.fullmatch(text):
        raise InvalidDocument(("metadata", field), f"{text[:80]!r} is no Kubernetes name: lower-case letters, digits, '-' and '.'")
    return text
