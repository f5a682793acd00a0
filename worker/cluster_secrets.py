"""The texts of Secrets from the Kubernetes API, read with the worker's own ServiceAccount when a job needs them; apart for its imports."""

from collections.abc import Iterable

import httpx2
from lightkube.config.kubeconfig import KubeConfig
from lightkube.core.async_client import AsyncClient
from lightkube.core.exceptions import ConfigError
from lightkube.generic_resource import create_namespaced_resource

from catalog.documents import value_of_key
from catalog.errors import InvalidJob, WaitingForSecret
from catalog.model import SecretRef

SECRET = create_namespaced_resource("", "v1", "Secret", "secrets", verbs=["get"])


class ClusterSecrets:
    """One client for the worker's life; a token that is no longer taken is read from its file again."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    @classmethod
    async def open(cls) -> "ClusterSecrets":
        """Of the cluster around this Pod, else that of KUBECONFIG. Raises InvalidJob."""
        try:
            return cls(AsyncClient(config=KubeConfig.from_env(), timeout=httpx2.Timeout(15.0)))
        except (ConfigError, OSError, LookupError) as error:
            raise InvalidJob(f"Secrets cannot be had from Kubernetes: {error}; mount a ServiceAccount's token, or set KUBECONFIG") from None

    async def texts(self, namespace: str, wanted: Iterable[SecretRef]) -> dict[SecretRef, str]:
        """The text of each Secret's key. Raises WaitingForSecret for the first that cannot be had."""
        refs = list(wanted)
        found = {name: await self._get(namespace, name) for name in dict.fromkeys(ref.name for ref in refs)}
        return {ref: value_of_key(found[ref.name], namespace, ref) for ref in refs}

    async def close(self) -> None:
        await self._client.close()

    async def _get(self, namespace: str, name: str) -> dict[str, object]:
        try:
            return dict(await self._client.get(SECRET, name=name, namespace=namespace))
        except httpx2.HTTPStatusError as error:
            raise WaitingForSecret(refusal(namespace, name, error.response.status_code, str(error))) from None
        except (httpx2.HTTPError, ConfigError) as error:
            said = str(error) or type(error).__name__
            raise WaitingForSecret(f"waiting for Secret {namespace}/{name}: the Kubernetes API does not answer ({said})") from None


def refusal(namespace: str, name: str, status: int, said: str) -> str:
    """What there is to say of a Secret that the API server does not give."""
    match status:
        case 404:
            return f"waiting for Secret {namespace}/{name}"
        case 401 | 403:
            right = f"the worker's ServiceAccount needs the verb `get` on `secrets` in namespace {namespace}"
            return f"waiting for Secret {namespace}/{name}: {right}"
        case _:
            return f"waiting for Secret {namespace}/{name}: {said}"
