"""What a worker is told by its environment and flags, read once. No pydantic here: a one-shot process pays for each import."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote

from catalog.errors import InvalidJob


@dataclass(frozen=True)
class Settings:
    """The worker's settings; docs/reference.md lists them for users.

    database_url         CHARTFLEET_DATABASE_URL, or Kubeapps' --database-url/-user/-name with DB_PASSWORD
    broker_url           CHARTFLEET_BROKER_URL, for `serve` and `schedule`
    secrets_directory    CHARTFLEET_SECRETS_DIRECTORY: manifests among which Secrets are looked for
    authorization        AUTHORIZATION_HEADER, as Kubeapps' Pods have it
    docker_config        DOCKER_CONFIG_JSON, the same
    ca_file              CHARTFLEET_CA_FILE: PEM certificates to trust besides the system's
    termination_log      CHARTFLEET_TERMINATION_LOG: where the run's JSON goes when the file exists
    index_bytes          CHARTFLEET_MAX_INDEX_BYTES
    grace                CHARTFLEET_GRACE_DAYS: how long withdrawn versions keep their rows
    timeout              CHARTFLEET_TIMEOUT: seconds that a remote may be silent
    user_agent           chartfleet/VERSION, with Kubeapps' --user-agent-comment
    """

    database_url: str = field(repr=False)
    broker_url: str = field(default="", repr=False)
    secrets_directory: Path | None = None
    authorization: str = field(default="", repr=False)
    docker_config: str = field(default="", repr=False)
    ca_file: Path | None = None
    termination_log: Path = Path("/dev/termination-log")
    index_bytes: int = 256 * 1024 * 1024
    grace: timedelta = timedelta(days=7)
    timeout: float = 30.0
    user_agent: str = "chartfleet"

    @classmethod
    def from_env(cls, flags: Mapping[str, str]) -> "Settings":
        """Settings from the process's environment and a command's flags. Raises InvalidJob, naming what is missing."""
        env = os.environ
        default_ca = "/usr/local/share/ca-certificates/ca.crt"
        ca = env.get("CHARTFLEET_CA_FILE") or (default_ca if Path(default_ca).is_file() else "")
        comment = flags.get("user-agent-comment", "")
        return cls(
            database_url=env.get("CHARTFLEET_DATABASE_URL") or kubeapps_url(flags, env.get("DB_PASSWORD", "")),
            broker_url=env.get("CHARTFLEET_BROKER_URL", ""),
            secrets_directory=_path(env.get("CHARTFLEET_SECRETS_DIRECTORY")),
            authorization=env.get("AUTHORIZATION_HEADER", ""),
            docker_config=env.get("DOCKER_CONFIG_JSON", ""),
            ca_file=_path(ca),
            termination_log=Path(env.get("CHARTFLEET_TERMINATION_LOG") or cls.termination_log),
            index_bytes=_number(env, "CHARTFLEET_MAX_INDEX_BYTES", cls.index_bytes),
            grace=timedelta(days=_number(env, "CHARTFLEET_GRACE_DAYS", cls.grace.days)),
            timeout=float(_number(env, "CHARTFLEET_TIMEOUT", int(cls.timeout))),
            user_agent=f"{cls.user_agent} ({comment})" if comment else cls.user_agent,
        )


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


def _number(env: Mapping[str, str], name: str, default: int) -> int:
    text = env.get(name, "")
    if not text:
        return default
    if not text.isdigit() or int(text) == 0:
        raise InvalidJob(f"{name} must be a positive whole number, not {text!r}")
    return int(text)
