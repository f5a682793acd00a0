"""Where a job's secrets come from: the environment and mounted files of a Pod, the cluster's Secrets, or documents beside the manifests."""

import base64
import json
from pathlib import Path

from catalog.errors import InvalidJob, InvalidRepository
from catalog.model import Repository, SecretRef
from worker.http import Credentials
from worker.secrets import Secrets
from worker.settings import Settings

DOCKER_CONFIG = ".dockerconfigjson"


async def credentials_for(repository: Repository, secrets: Secrets) -> Credentials:
    """What opens the repository. Raises WaitingForSecret or InvalidRepository; the secret itself is in no message."""
    texts: dict[SecretRef, str] = {}
    settings, certificate = secrets.settings, client_certificate(repository)
    if wanted := [ref for ref in (repository.auth, repository.ca, *certificate) if ref]:
        texts = await secrets.texts(repository.key.namespace, wanted)
    authorization = settings.authorization or None
    if settings.docker_config:
        authorization = docker_authorization(settings.docker_config)
    if repository.auth:
        text = texts[repository.auth]
        authorization = docker_authorization(text) if repository.auth.key == DOCKER_CONFIG else text.strip()
    if authorization is not None and not _is_header_value(authorization):
        raise InvalidRepository("the Authorization header of the repository's Secret has characters that no header may have")
    ca = texts[repository.ca] if repository.ca else await _text_of(settings.ca_file, "CHARTFLEET_CA_FILE")
    pem = "\n".join(texts[ref] for ref in certificate) if certificate else await _mounted_certificate(settings)
    return Credentials(authorization, ca, pem)


def client_certificate(repository: Repository) -> tuple[SecretRef, ...]:
    """Certificate and key of the kubernetes.io/tls Secret that the option `client-certificate` names; nothing without it."""
    name = repository.options.get("client-certificate")
    return (SecretRef(name, "tls.crt"), SecretRef(name, "tls.key")) if name else ()


async def _mounted_certificate(settings: Settings) -> str | None:
    """The certificate and key of a Pod, which has them as files."""
    files = (settings.client_cert_file, settings.client_key_file)
    if files == (None, None):
        return None
    if None in files:
        raise InvalidJob("CHARTFLEET_CLIENT_CERT_FILE and CHARTFLEET_CLIENT_KEY_FILE go together")
    certificate = await _text_of(settings.client_cert_file, "CHARTFLEET_CLIENT_CERT_FILE")
    return f"{certificate}\n{await _text_of(settings.client_key_file, 'CHARTFLEET_CLIENT_KEY_FILE')}"


async def _text_of(path: Path | None, setting: str) -> str | None:
    try:
        return path.read_text() if path else None
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidJob(f"{setting} {path} cannot be read: {type(error).__name__}") from None


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
