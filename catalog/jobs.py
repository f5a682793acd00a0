"""A job and the one way it is written down: Kubeapps' own argv.

The same words start `python -m worker`, stand in a Pod's `args` and travel as the Celery message. Kubeapps' flags come as it writes them;
whatever is newer is a repeatable `--option=key=value`. No secret and, in messages, no database address is ever among them.
"""

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from catalog.errors import InvalidJob
from catalog.model import FilterRule, Repository, RepositoryKey, SecretRef
from catalog.options import OPTIONS, problem

# Kubeapps' flags that take a value, and those that are true by their presence (pflag semantics: --flag, --flag=true).
VALUES = {
    "database-url",
    "database-user",
    "database-name",
    "namespace",
    "global-repos-namespace",
    "user-agent-comment",
    "oci-repositories",
    "filter-rules",
    "option",
}
SWITCHES = {"tls-insecure-skip-verify", "pass-credentials", "debug"}
# klog's, which all of Kubeapps' programs take: read, and of no effect.
KLOG_VALUES = {"v", "vmodule", "stderrthreshold", "log_backtrace_at", "log_dir", "log_file", "log_file_max_size"}
KLOG_SWITCHES = {"logtostderr", "alsologtostderr", "add_dir_header", "one_output", "skip_headers", "skip_log_headers"}
LONGEST_NAME = 253  # as Kubernetes has it


@dataclass(frozen=True, slots=True)
class SyncRepository:
    """Bring a repository's rows in line with its listing. `incarnation` and `fingerprint` are the asking resource's, "" if unknown."""

    repository: Repository
    incarnation: str = ""
    fingerprint: str = ""

    @property
    def key(self) -> RepositoryKey:
        return self.repository.key

    @property
    def terms(self) -> str:
        """What besides type and URL decides what a remote answers: the resource's fingerprint, or the flags of one that gives none."""
        flags = {"insecure": not self.repository.verify_tls, "pass-credentials": self.repository.pass_credentials}
        return self.fingerprint or ",".join(name for name, given in flags.items() if given)


@dataclass(frozen=True, slots=True)
class FetchFiles:
    """Read the archives that a sync left over."""

    repository: Repository
    incarnation: str = ""

    @property
    def key(self) -> RepositoryKey:
        return self.repository.key


@dataclass(frozen=True, slots=True)
class CleanUpRepository:
    """Remove a repository's rows. Without an incarnation: whatever stands under the name."""

    key: RepositoryKey
    incarnation: str = ""


Job = SyncRepository | FetchFiles | CleanUpRepository


@dataclass(frozen=True, slots=True)
class Command:
    """A job as it was started: with the flags that say where and as whom."""

    job: Job
    flags: Mapping[str, str] = field(default_factory=dict)


def to_argv(job: Job, flags: Sequence[str] = ()) -> list[str]:
    """The argv of a job; `flags` (database, user agent …) go where Kubeapps puts them."""
    return [*kubeapps_argv(job, flags), *option_words(job)]


def kubeapps_argv(job: Job, flags: Sequence[str] = ()) -> list[str]:
    """The argv without what is newer than Kubeapps (contract 2.7): also Kubeapps' own syncer takes it."""
    match job:
        case CleanUpRepository(key):
            return ["delete", key.name, f"--namespace={key.namespace}", *flags]
        case SyncRepository(repository):
            return ["sync", *flags, *_repository(repository)]
        case FetchFiles(repository):
            return ["files", *flags, *_repository(repository)]


def option_words(job: Job) -> list[str]:
    """What Kubeapps' flags cannot say, as `--option=name=value`, by name."""
    match job:
        case CleanUpRepository(_, incarnation):
            return _words({"incarnation": incarnation})
        case SyncRepository(repository, incarnation, fingerprint):
            return _words({**_options(repository), "incarnation": incarnation, "fingerprint": fingerprint})
        case FetchFiles(repository, incarnation):
            return _words({**_options(repository), "incarnation": incarnation})


def options_text(job: Job) -> str:
    """What Kubeapps' flags cannot say as one text, for the variable CHARTFLEET_OPTIONS beside `kubeapps_argv`."""
    return shlex.join(option_words(job))


def from_argv(argv: Sequence[str], options: str = "") -> Command:
    """The job of an argv, and of an `options_text` beside it. Raises InvalidJob, naming the word that is wrong."""
    command = _from_argv(argv)
    if not options:
        return command
    try:
        words = shlex.split(options)
        if strange := [word for word in words if not word.startswith("--option=")]:
            raise InvalidJob(f"{strange[0]!r} is not of the form --option=key=value")
        return _from_argv([*words, *argv])  # in front: a `--` in the argv ends its flags
    except (ValueError, InvalidJob) as error:
        raise InvalidJob(f"CHARTFLEET_OPTIONS: {error}") from None


def _from_argv(argv: Sequence[str]) -> Command:
    words, flags = words_and_flags(argv)
    verb, *rest = words or [""]
    wanted = {"sync": ("NAME", "URL", "TYPE"), "files": ("NAME", "URL", "TYPE"), "delete": ("NAME",)}.get(verb)
    if wanted is None:
        raise InvalidJob(f"unknown command {verb!r}: one of sync, files, delete")
    if len(rest) != len(wanted):
        raise InvalidJob(f"{verb} takes {' '.join(wanted)}, not {len(rest)} argument(s)")
    options = dict(_pair(text) for text in flags.get("option", ()))
    return Command(_job(verb, rest, flags, options), {name: values[-1] for name, values in flags.items() if name != "option"})


def _job(verb: str, rest: list[str], flags: Mapping[str, list[str]], options: dict[str, str]) -> Job:
    key = RepositoryKey(_last(flags, "namespace"), rest[0])
    if not all(0 < len(part) <= LONGEST_NAME for part in (key.namespace, key.name)) or set(key.namespace) & set(",*"):
        raise InvalidJob(f"{verb} needs a NAME and a --namespace of at most {LONGEST_NAME} characters, the latter without ',' and '*'")
    if len(rest) > 1 and "@" in rest[1].partition("//")[2].partition("/")[0]:
        raise InvalidJob(f"the URL of {key} holds a user or password: give it as AUTHORIZATION_HEADER, or in a Secret")
    incarnation, fingerprint = options.pop("incarnation", ""), options.pop("fingerprint", "")
    if verb == "delete":
        return CleanUpRepository(key, incarnation)
    auth, ca = _secret(options.pop("auth-secret", "")), _secret(options.pop("ca-secret", ""))
    for name, value in options.items():  # a name of a newer release's is carried, not refused
        if name in OPTIONS and (wrong := problem(name, value)):
            raise InvalidJob(f"--option={name} {wrong}")
    if repositories := ",".join(flags.get("oci-repositories", ())):
        options["oci-repositories"] = repositories
    repository = Repository(
        key,
        type=rest[2],
        url=rest[1],
        auth=auth,
        ca=ca,
        filter=_filter(_last(flags, "filter-rules")),
        verify_tls=_last(flags, "tls-insecure-skip-verify") != "true",
        pass_credentials=_last(flags, "pass-credentials") == "true",
        options=options,
    )
    return FetchFiles(repository, incarnation) if verb == "files" else SyncRepository(repository, incarnation, fingerprint)


def _repository(r: Repository) -> Iterable[str]:
    yield from (f"--namespace={r.key.namespace}", r.key.name, r.url, r.type)
    if repositories := r.options.get("oci-repositories"):
        yield from ("--oci-repositories", repositories)
    if not r.verify_tls:
        yield "--tls-insecure-skip-verify"
    if r.pass_credentials:
        yield "--pass-credentials"
    if r.filter:
        yield from ("--filter-rules", filter_json(r.filter))


def _options(r: Repository) -> dict[str, str | None]:
    secrets = {"auth-secret": r.auth and f"{r.auth.name}/{r.auth.key}", "ca-secret": r.ca and f"{r.ca.name}/{r.ca.key}"}
    return {**secrets, **{name: value for name, value in r.options.items() if name != "oci-repositories"}}


def _words(options: Mapping[str, str | None]) -> list[str]:
    return [f"--option={name}={value}" for name, value in sorted(options.items()) if value]


def filter_json(rule: FilterRule) -> str:
    """The rule as Go's encoder writes it: sorted keys, no blanks, <, > and & escaped (Kubeapps' golden lines)."""
    document: dict[str, object] = {"jq": rule.jq}
    if rule.variables:
        document["variables"] = dict(sorted(rule.variables.items()))
    text = json.dumps(document, separators=(",", ":"), ensure_ascii=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def filter_hash(rule: FilterRule | None) -> str:
    """64 hexadecimal digits for a rule, "" for none."""
    return sha256(filter_json(rule).encode()).hexdigest() if rule else ""


def _filter(text: str) -> FilterRule | None:
    if not text:
        return None
    try:
        document = json.loads(text)
        return FilterRule(document["jq"], dict(document.get("variables") or {})) if document.get("jq") else None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidJob(f'--filter-rules is not JSON of the form {{"jq": …, "variables": {{…}}}}: {error}') from None


def words_and_flags(argv: Sequence[str]) -> tuple[list[str], dict[str, list[str]]]:
    """Words, and each flag's values, in pflag's manner: `--flag=value`, `--flag value`, switches, `-v4`; `--` ends the flags.

    Raises InvalidJob for a flag that there is not."""
    words: list[str] = []
    flags: dict[str, list[str]] = {}
    rest = iter(argv)
    for word in rest:
        if word == "--":
            words.extend(rest)
        elif not word.startswith("-"):
            words.append(word)
        else:
            name, equals, value = _long(word).partition("=")
            flags.setdefault(name, []).append(_value(name, value if equals else None, rest))
    return words, flags


def _long(word: str) -> str:
    """A flag without its dashes; of the short ones there is klog's verbosity: -v 4, -v=4, -v4."""
    if word.startswith("--"):
        return word[2:]
    if word[1:2] != "v":
        raise InvalidJob(f"unknown flag {word}")
    level = word[2:].removeprefix("=")
    return f"v={level}" if level else "v"


def _value(name: str, value: str | None, rest: Iterable[str]) -> str:
    if name in SWITCHES | KLOG_SWITCHES:
        return "true" if value is None else value.lower()
    if name not in VALUES | KLOG_VALUES:
        raise InvalidJob(f"unknown flag --{name}")
    if value is None:
        value = next(iter(rest), None)
    if value is None:
        raise InvalidJob(f"--{name} needs a value")
    return value


def _last(flags: Mapping[str, list[str]], name: str) -> str:
    return flags.get(name, [""])[-1]


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise InvalidJob(f"--option={text} is not of the form --option=key=value")
    return name, value


def _secret(text: str) -> SecretRef | None:
    if not text:
        return None
    name, _, key = text.partition("/")
    if not name or not key:
        raise InvalidJob(f"a Secret is named as NAME/KEY, not {text!r}")
    return SecretRef(name, key)
