"""The flags of the Kubernetes controller: Kubeapps' with their defaults, and ours → JobSettings. Pure.

`kubernetes_options` is the decorator for a click command, `job_settings` takes what click made of them. A flag that Kubeapps reads
leniently (a time that is no number, an unknown concurrency policy) is read so here, and said in `warnings`; one on which Kubeapps panics
is a usage error.
"""

import csv
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import timedelta
from typing import Any, Literal

import click

from catalog.cron import cron_problem
from catalog.model import SecretRef
from catalog.schedule import DEFAULT_CRONTAB, go_duration, parse
from controller.names import LABEL_VALUE

ANNOTATION_NAME = re.compile(r"([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
GO_BOOLS = {
    **dict.fromkeys(("1", "t", "T", "true", "TRUE", "True"), True),
    **dict.fromkeys(("0", "f", "F", "false", "FALSE", "False"), False),
}
LARGEST_SECONDS = 2**31 - 1


@dataclass(frozen=True, slots=True)
class JobSettings:
    """What the operator decides for all repositories. Times in seconds; None leaves a field to Kubernetes.

    `watch_namespaces` empty is all; `cleanup_timeout` None waits for ever; `health_port` 0 serves nothing. `warnings` are sentences for
    the log at the start.
    """

    sync_image: str = "docker.io/kubeapps/asset-syncer:latest"
    pull_secrets: tuple[str, ...] = ()
    sync_command: str = "/chart-repo"
    namespace: str = "kubeapps"
    global_namespace: str = "kubeapps"
    database_url: str = "localhost"
    database_user: str = "root"
    database_name: str = "charts"
    database_secret: SecretRef = field(default_factory=lambda: SecretRef("kubeapps-db", "postgresql-root-password"))
    database_url_secret: SecretRef | None = None
    user_agent_comment: str = ""
    crontab: str = DEFAULT_CRONTAB
    ttl_seconds: int | None = 3600
    active_deadline_seconds: int | None = None
    successful_jobs_history_limit: int = 3
    failed_jobs_history_limit: int = 1
    concurrency_policy: str = "Replace"
    custom_annotations: Mapping[str, str] = field(default_factory=dict)
    custom_labels: Mapping[str, str] = field(default_factory=dict)
    oci_catalog_url: str = ""
    spread: bool = False
    job_namespace: Literal["release", "repository"] = "release"
    watch_namespaces: tuple[str, ...] = ()
    max_concurrent_first_syncs: int = 10
    cleanup_timeout: timedelta | None = None
    kubeconfig: str = ""
    apiserver: str = ""
    workers: int = 10
    health_port: int = 8081
    warnings: tuple[str, ...] = ()


DEFAULTS = JobSettings()


class GoBool(click.ParamType[bool]):
    """Go's strconv.ParseBool."""

    name = "bool"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> bool:
        if isinstance(value, bool):
            return value
        return GO_BOOLS[str(value)] if str(value) in GO_BOOLS else self.fail(f"{value!r} is neither true nor false", param, ctx)


class Read(click.ParamType[Any]):
    """A text read by a function whose ValueError is the usage error."""

    def __init__(self, name: str, read: Callable[[str], object]) -> None:
        self.name, self._read = name, read

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return self._read(value)
        except ValueError as error:
            return self.fail(str(error), param, ctx)


def words(text: str) -> tuple[str, ...]:
    """One value of pflag's string slices: a line of CSV; blanks are kept. ValueError for quotes that do not pair."""
    try:
        return tuple(next(csv.reader([text], strict=True), ()))
    except csv.Error as error:
        raise ValueError(f"{text!r} is no line of CSV: {error}") from None


def labels(text: str) -> tuple[tuple[str, str], ...]:
    """NAME=VALUE,… as labels."""
    found = annotations(text)
    if wrong := [value for _, value in found if not LABEL_VALUE.fullmatch(value)]:
        raise ValueError(f"{wrong[0]!r} is no label's value: at most 63 letters, digits, '-', '_' and '.'")
    return found


def annotations(text: str) -> tuple[tuple[str, str], ...]:
    """NAME=VALUE,… as annotations; a value may hold further `=`."""
    pairs = [word.partition("=") for word in words(text)]
    for name, equals, _ in pairs:
        if not equals:
            raise ValueError(f"{name!r} is not of the form NAME=VALUE (a value with a comma is quoted: '\"NAME=a, b\"')")
        if not ANNOTATION_NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name of a label or annotation")
    return tuple((name, value) for name, _, value in pairs)


def duration(text: str) -> timedelta | None:
    """Go's duration; None for 0."""
    seconds = go_duration(text)
    if seconds < 0:
        raise ValueError(f"{text!r} is negative")
    return timedelta(seconds=seconds) or None


def crontab(text: str) -> str:
    if wrong := cron_problem(text):
        raise ValueError(f"{text!r} is no schedule of a CronJob: {wrong}")
    parse(text)  # ValueError for a date that never comes
    return text


def secret_key(text: str) -> SecretRef:
    name, _, key = text.partition("/")
    if not name or not key:
        raise ValueError(f"{text!r} is not of the form NAME/KEY")
    return SecretRef(name, key)


def _flag(name: str, said: str, field: str = "", /, **kind: Any) -> Callable[[Any], Any]:
    """One option; without a default of its own it has JobSettings'."""
    field = field or name.removeprefix("--").replace("-", "_")
    kind = {"default": getattr(DEFAULTS, field, None), **kind}
    return click.option(name, field, help=said, **kind)


def _list(read: Callable[[str], object]) -> dict[str, Any]:
    return {"type": Read("list", read), "multiple": True, "default": ()}


_BOOL: dict[str, Any] = {"type": GoBool(), "is_flag": False, "flag_value": "true"}
_COUNT: dict[str, Any] = {"type": click.IntRange(min=0)}

KUBEAPPS = (
    _flag("--kubeconfig", "Kubeconfig; empty: the Pod's own service account."),
    _flag("--apiserver", "Address of the API server, over the kubeconfig's."),
    _flag("--repo-sync-image", "Image of the Jobs.", "sync_image"),
    _flag("--repo-sync-image-pullsecrets", "Its imagePullSecrets.", "pull_secrets", **_list(words)),
    _flag("--repo-sync-cmd", "Command of the Jobs.", "sync_command"),
    _flag("--namespace", "Namespace of this controller, and of the Jobs in the release layout."),
    _flag("--global-repos-namespace", "Namespace whose repositories all may use.", "global_namespace"),
    _flag("--repos-per-namespace", "false: only the repositories in --namespace.", default=True, **_BOOL),
    _flag("--database-url", "HOST:PORT of PostgreSQL."),
    _flag("--database-user", "Its user."),
    _flag("--database-name", "Its database."),
    _flag("--database-secret-name", "Secret with the user's password.", default=DEFAULTS.database_secret.name),
    _flag("--database-secret-key", "Key of that Secret.", default=DEFAULTS.database_secret.key),
    _flag("--user-agent-comment", "Comment in the Jobs' User-Agent."),
    _flag("--crontab", "Schedule of repositories without an interval.", type=Read("cron", crontab)),
    _flag("--ttl-lifetime-afterfinished-job", "Seconds that finished Jobs are kept.", "ttl", default="3600"),
    _flag("--active-deadline-seconds", "Seconds that a Job may take.", "deadline", default=""),
    _flag("--successful-jobs-history-limit", "Finished Jobs kept of a CronJob.", **_COUNT),
    _flag("--failed-jobs-history-limit", "Failed Jobs kept of a CronJob.", **_COUNT),
    _flag("--concurrency-policy", "Allow, Forbid or Replace."),
    _flag("--custom-annotations", "Annotations of all that is made.", **_list(annotations)),
    _flag("--custom-labels", "Labels of all that is made.", **_list(labels)),
    _flag("--v1-beta1-cron-jobs", "Accepted and ignored: batch/v1 is used.", default=False, **_BOOL),
    click.option("--v", "-v", "verbosity", default=None, help="Accepted and ignored: CHARTFLEET_LOG_LEVEL says how much is logged."),
    _flag("--oci-catalog-url", "Address of Kubeapps' OCI catalogue.", envvar="OCI_CATALOG_URL"),
)
OURS = (
    _flag("--spread/--no-spread", "Spread the default schedule over its period.", "spread", default=None),
    _flag("--job-namespace", "Where Jobs run.", type=click.Choice(["release", "repository"])),
    _flag("--database-url-secret", "NAME/KEY of a Secret with PostgreSQL's URL.", type=Read("name/key", secret_key)),
    _flag("--watch-namespaces", "Namespaces to watch; empty: all.", **_list(words)),
    _flag("--max-concurrent-first-syncs", "New repositories synced at once.", type=click.IntRange(min=1)),
    _flag("--cleanup-timeout", "When to give up a clean-up; 0: never.", default="0", type=Read("duration", duration)),
    _flag("--workers", "Repositories reconciled at once.", type=click.IntRange(min=1)),
    _flag("--health-port", "Port of /healthz, /readyz and /metrics; 0: none.", type=click.IntRange(0, 65535)),
)


def kubernetes_options(command: Callable[..., None]) -> Callable[..., None]:
    """A click command with the flags of Kubeapps and ours."""
    for option in reversed(KUBEAPPS + OURS):
        command = option(command)
    return command


def job_settings(given: Mapping[str, Any], *, drop_in: bool) -> JobSettings:
    """The settings from click's values, by name; others among them are passed over. In drop-in mode nothing is spread unasked."""
    wrong = ["--v1-beta1-cron-jobs is ignored: batch/v1 is used"] if given["v1_beta1_cron_jobs"] else []
    wrong += ["--v is ignored: CHARTFLEET_LOG_LEVEL says how much is logged"] if given["verbosity"] else []
    read: dict[str, Any] = {
        **{each.name: given[each.name] for each in fields(JobSettings) if each.name in given},
        **{name: tuple(word for words in given[name] for word in words) for name in ("pull_secrets", "watch_namespaces")},
        **{name: dict(pair for pairs in given[name] for pair in pairs) for name in ("custom_annotations", "custom_labels")},
        "ttl_seconds": _seconds("--ttl-lifetime-afterfinished-job", given["ttl"], wrong),
        "active_deadline_seconds": _seconds("--active-deadline-seconds", given["deadline"], wrong),
        "concurrency_policy": _policy(given["concurrency_policy"], wrong),
        "database_secret": SecretRef(given["database_secret_name"], given["database_secret_key"]),
        "spread": (not drop_in) if given["spread"] is None else given["spread"],
    }
    if not given["repos_per_namespace"]:
        read["watch_namespaces"] = (given["namespace"],)
    return JobSettings(**read, warnings=tuple(wrong))


def _seconds(flag: str, text: str, wrong: list[str]) -> int | None:
    if re.fullmatch(r"\+?[0-9]{1,10}", text) and int(text) <= LARGEST_SECONDS:
        return int(text)
    if text:
        wrong.append(f"{flag}={text} is no number of seconds: left unset")
    return None


def _policy(text: str, wrong: list[str]) -> str:
    policies = {spelling: name for name in ("Allow", "Forbid", "Replace") for spelling in (name, name.lower())}
    if text not in policies:
        wrong.append(f"--concurrency-policy={text} is none of Allow, Forbid, Replace: Replace is used")
    return policies.get(text, "Replace")
