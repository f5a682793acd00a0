"""What a worker is told by its environment and flags, read once. No pydantic here: a one-shot process pays for each import."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote
from urllib.request import getproxies_environment

from catalog.errors import InvalidJob
from catalog.model import Repository
from catalog.options import LIMITS, Limits, whole_number
from worker import addresses, proxies
from worker.addresses import Addresses

BY_HAND, IN_A_CLUSTER = addresses.parse("public,private,loopback"), addresses.parse("public,private")


@dataclass(frozen=True)
class Settings:
    """The worker's settings; docs/reference.md lists them for users.

    database_url         CHARTFLEET_DATABASE_URL, or Kubeapps' --database-url/-user/-name with DB_PASSWORD
    broker_url           CHARTFLEET_BROKER_URL, for `serve` and `schedule`
    secrets_directory    CHARTFLEET_SECRETS_DIRECTORY: manifests among which Secrets are looked for
    secrets_in_cluster   CHARTFLEET_SECRETS: whether they are looked for in the Kubernetes API instead
    authorization        AUTHORIZATION_HEADER, as Kubeapps' Pods have it
    docker_config        DOCKER_CONFIG_JSON, the same
    ca_file              CHARTFLEET_CA_FILE: PEM certificates to trust besides the system's
    client_cert_file     CHARTFLEET_CLIENT_CERT_FILE: PEM certificate to show to a repository, with
    client_key_file      CHARTFLEET_CLIENT_KEY_FILE: its key
    grace                CHARTFLEET_GRACE_DAYS: how long withdrawn versions keep their rows
    allow_addresses      CHARTFLEET_ALLOW_ADDRESSES: what may be connected to, as classes and networks
    proxies              HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY, by scheme
    limits, bounds       what a repository may cost, and how far its annotations may go, each as NUMBER or NUMBER:BOUND:
                         CHARTFLEET_MAX_INDEX_BYTES, CHARTFLEET_MAX_VERSIONS, CHARTFLEET_MAX_SECONDS, CHARTFLEET_MAX_REDIRECTS,
                         CHARTFLEET_MIN_BYTES_PER_SECOND, CHARTFLEET_CONNECT_TIMEOUT, CHARTFLEET_TIMEOUT
    user_agent           chartfleet/VERSION, with Kubeapps' --user-agent-comment
    """

    database_url: str = field(repr=False)
    broker_url: str = field(default="", repr=False)
    secrets_directory: Path | None = None
    secrets_in_cluster: bool = False
    authorization: str = field(default="", repr=False)
    docker_config: str = field(default="", repr=False)
    ca_file: Path | None = None
    client_cert_file: Path | None = None
    client_key_file: Path | None = None
    grace: timedelta = timedelta(days=7)
    allow_addresses: Addresses = BY_HAND
    proxies: Mapping[str, str] = field(default_factory=dict, repr=False)
    limits: Limits = field(default_factory=Limits)
    bounds: Limits = field(default_factory=Limits)
    user_agent: str = "chartfleet"

    @classmethod
    def from_env(cls, flags: Mapping[str, str]) -> "Settings":
        """Settings from the process's environment and a command's flags. Raises InvalidJob, naming what is missing."""
        env = os.environ
        default_ca = "/usr/local/share/ca-certificates/ca.crt"
        ca = env.get("CHARTFLEET_CA_FILE") or (default_ca if Path(default_ca).is_file() else "")
        comment = flags.get("user-agent-comment", "")
        limits = {name: _limit(env, f"CHARTFLEET_{name.upper()}") for name in LIMITS.values()}
        limits = {name: numbers for name, numbers in limits.items() if numbers}
        return cls(
            database_url=env.get("CHARTFLEET_DATABASE_URL") or kubeapps_url(flags, env.get("DB_PASSWORD", "")),
            broker_url=env.get("CHARTFLEET_BROKER_URL", ""),
            secrets_directory=_path(env.get("CHARTFLEET_SECRETS_DIRECTORY")),
            secrets_in_cluster=_secrets_in_cluster(env),
            authorization=env.get("AUTHORIZATION_HEADER", ""),
            docker_config=env.get("DOCKER_CONFIG_JSON", ""),
            ca_file=_path(ca),
            grace=timedelta(days=_number(env, "CHARTFLEET_GRACE_DAYS", cls.grace.days)),
            client_cert_file=_path(env.get("CHARTFLEET_CLIENT_CERT_FILE")),
            client_key_file=_path(env.get("CHARTFLEET_CLIENT_KEY_FILE")),
            allow_addresses=allowed(env),
            proxies=proxies.checked(getproxies_environment()),
            limits=Limits(**{name: number for name, (number, _) in limits.items()}),
            bounds=Limits(**{name: bound for name, (_, bound) in limits.items()}),
            user_agent=f"{cls.user_agent} ({comment})" if comment else cls.user_agent,
        )

    def limits_for(self, repository: Repository) -> Limits:
        """The limits of one repository's jobs: the operator's, with what its options ask for within the bounds."""
        return self.limits.within(self.bounds, repository.options)


def termination_log() -> Path:
    """CHARTFLEET_TERMINATION_LOG: where a one-shot run's summary goes when the file exists, also when no other setting can be read."""
    return Path(os.environ.get("CHARTFLEET_TERMINATION_LOG") or "/dev/termination-log")


def kubeapps_url(flags: Mapping[str, str], password: str) -> str:
    """Kubeapps' --database-url=host:port, --database-user and --database-name as one URL. InvalidJob without them."""
    address = flags.get("database-url", "")
    if not address:
        raise InvalidJob("no database: set CHARTFLEET_DATABASE_URL, or give --database-url=HOST:PORT with DB_PASSWORD in the environment")
    if "://" in address:
        raise InvalidJob("--database-url is HOST:PORT; a full address goes into CHARTFLEET_DATABASE_URL, where no process list shows it")
    user, name = quote(flags.get("database-user") or "postgres", safe=""), quote(flags.get("database-name") or "charts", safe="")
    return f"postgresql://{user}:{quote(password, safe='')}@{address}/{name}"


def _path(text: str | None) -> Path | None:
    return Path(text) if text else None


def allowed(env: Mapping[str, str]) -> Addresses:
    """What may be connected to: in a cluster not the Pod's own loopback, and nowhere the metadata service. Raises InvalidJob."""
    text = env.get("CHARTFLEET_ALLOW_ADDRESSES")
    if not text:
        return IN_A_CLUSTER if env.get("KUBERNETES_SERVICE_HOST") else BY_HAND
    try:
        return addresses.parse(text)
    except ValueError as error:
        raise InvalidJob(f"CHARTFLEET_ALLOW_ADDRESSES: {error}") from None


def _secrets_in_cluster(env: Mapping[str, str]) -> bool:
    """As CHARTFLEET_SECRETS says; by itself in a cluster, if no directory is named. Raises InvalidJob."""
    text = env.get("CHARTFLEET_SECRETS") or ""
    if text not in ("", "directory", "kubernetes"):
        raise InvalidJob(f"CHARTFLEET_SECRETS must be directory or kubernetes, not {text[:40]!r}")
    by_itself = bool(env.get("KUBERNETES_SERVICE_HOST")) and not env.get("CHARTFLEET_SECRETS_DIRECTORY")
    return text == "kubernetes" or (text == "" and by_itself)


def _number(env: Mapping[str, str], name: str, default: int) -> int:
    text = env.get(name, "")
    if text and not whole_number(text):
        raise InvalidJob(f"{name} must be a positive whole number, not {text[:40]!r}")
    return int(text or default)


def _limit(env: Mapping[str, str], name: str) -> tuple[int, int] | None:
    """A limit and how far an annotation may go, from `NUMBER` or `NUMBER:BOUND`; None when it is not set."""
    text = env.get(name, "")
    if not text:
        return None
    number, colon, bound = text.partition(":")
    if not whole_number(number) or (colon and not whole_number(bound)):
        raise InvalidJob(f"{name} must be a positive whole number, or two with a colon between, not {text[:40]!r}")
    return int(number), int(bound or number)
