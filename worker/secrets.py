"""Where Secrets are looked for: in the cluster, or among manifests. What each of them imports is paid for when a job needs one."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from catalog.model import SecretRef
from worker.settings import Settings

if TYPE_CHECKING:
    from worker.cluster_secrets import ClusterSecrets


class Secrets:
    """A worker's, for its life."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._cluster: ClusterSecrets | None = None

    async def texts(self, namespace: str, wanted: Iterable[SecretRef]) -> dict[SecretRef, str]:
        """The text of each Secret's key. Raises WaitingForSecret."""
        if not self.settings.secrets_in_cluster:
            from worker.directory_secrets import secret_texts  # noqa: PLC0415 - brings YAML

            return await secret_texts(self.settings.secrets_directory, namespace, wanted)
        if self._cluster is None:
            from worker.cluster_secrets import ClusterSecrets  # noqa: PLC0415 - brings lightkube

            self._cluster = await ClusterSecrets.open()
        return await self._cluster.texts(namespace, wanted)

    async def close(self) -> None:
        if self._cluster:
            await self._cluster.close()
