"""Where a job's secrets come from: the environment and mounted files of a Pod, or Secret documents beside the manifests."""

import base64
import json
from pathlib import Path

from catalog.errors import InvalidJob, InvalidRepository
from catalog.model import Repository, SecretRef
from worker.http import Credentials
from worker.settings import Settings

DOCKER_CONFIG = ".dockerconfigjson"


async def credentials_for(repository: Repository, settings: Settings) -> Credentials:
    """What opens the repository. Raises WaitingForSecret or InvalidRepository; the secret itself is in no message."""
    texts: dict[SecretRef, str] = {}
    if wanted := [ref for ref in (repository.auth, repository.ca) if ref]:
        from worker.secrets import secret_texts  # noqa: PLC0415 - brings YAML, which most runs do without

        texts = await secret_texts(settings.secrets_directory, repository.key.namespace, wanted)
    authorization = settings.authorization or None
    if settings.docker_config:
        authorization = docker_authorization(settings.docker_config)
    if repository.auth:
        text = texts[repository.auth]
        authorization = docker_authorization(text) if repository.auth.key == DOCKER_CONFIG else text.strip()
    if authorization is not None and not _is_header_value(authorization):
        raise InvalidRepository("the Authorization header of the repository's Secret has characters that no header may have")
    ca = texts[repository.ca] if repository.ca else None
    if ca is None and settings.ca_file:
        ca = await _ca_file(settings.ca_file)
    return Credentials(authorization, ca)


async def _ca_file(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidJob(f"CHARTFLEET_CA_FILE {path} cannot be read: {error}") from None


def docker_authorization(text: str) -> str:
    """The Basic value of a docker config; like Kubeapps', with exactly one registry. Raises InvalidRepository."""
    try:
        [(_, entry)] = json.loads(text)["auths"].items()
        pair = base64.b64decode(entry["auth"], validate=True).decode() if entry.get("auth") else f"{entry['username']}:{entry['password']}"
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InvalidRepository("the docker config of the repository's Secret must have exactly one entry in `auths`") from None
    return "Basic " + base64.b64encode(pair.encode()).decode()


def _is_header_value(text: str) -> bool:
    return text.isascii() and text.isprintable() and bool(text)
