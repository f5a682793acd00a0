"""The API server: every request of ours, and the one file that knows lightkube. Objects are plain mappings as the server writes them.

What we own is applied server-side under our field manager, so what others own is left alone (Kubernetes, "Server-Side Apply").
"""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import structlog
from lightkube.config.kubeconfig import KubeConfig, SingleConfig
from lightkube.core.async_client import AsyncClient
from lightkube.core.exceptions import ApiError, ConfigError
from lightkube.generic_resource import create_namespaced_resource
from lightkube.operators import not_equal
from lightkube.types import CascadeType, PatchType

from catalog.errors import CatalogError, InvalidJob

log = structlog.get_logger()
MANAGER = "chartfleet"
Object = Mapping[str, Any]

RESOURCES: dict[str, Any] = {
    "apprepositories": create_namespaced_resource("kubeapps.com", "v1alpha1", "AppRepository", "apprepositories"),
    "cronjobs": create_namespaced_resource("batch", "v1", "CronJob", "cronjobs"),
    "jobs": create_namespaced_resource("batch", "v1", "Job", "jobs"),
    "pods": create_namespaced_resource("", "v1", "Pod", "pods"),
    "secrets": create_namespaced_resource("", "v1", "Secret", "secrets"),
    "configmaps": create_namespaced_resource("", "v1", "ConfigMap", "configmaps"),
    "events": create_namespaced_resource("", "v1", "Event", "events"),
}


class ApiRefused(CatalogError):
    """The API server's own words. `code` is HTTP's; conflicts, too many requests and its own trouble are transient.

    `malformed`: what was sent can never be taken. A field that a kind does not have is 500 to server-side apply.
    """

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code
        self.malformed = code in (400, 422) or message.startswith("failed to create typed patch object")
        self.transient = code in (408, 409, 429) or code >= 500


class ApiUnavailable(CatalogError):
    transient = True


class ResourceConflict(CatalogError):
    """An object of the name that we need belongs to somebody else: hands off."""


@dataclass(frozen=True, slots=True)
class Listing:
    """All objects of a kind at one moment of the server, its resourceVersion."""

    objects: list[Object]
    version: str


def configured(kubeconfig: str = "", server: str = "") -> SingleConfig:
    """The cluster of the kubeconfig or, without one, that around this Pod, else KUBECONFIG's; `server` overrides its address.

    Raises InvalidJob.
    """
    try:
        config = (KubeConfig.from_file(kubeconfig) if kubeconfig else KubeConfig.from_env()).get()
    except ConfigError as error:
        raise InvalidJob(f"the cluster's address and login: {error}") from None
    if config is None:
        raise InvalidJob("the cluster's address and login: the kubeconfig names no current context")
    if config.user and config.user.exec:
        raise InvalidJob("the kubeconfig's login is a command (exec), which is not run here: give a token or a client certificate")
    if server:
        config.cluster.server = server
    return config


class Cluster:
    """One client for the process's life."""

    def __init__(self, config: SingleConfig) -> None:
        self.config = config
        self._client = AsyncClient(config=config, field_manager=MANAGER, timeout=httpx2.Timeout(15.0))
        self._replaces: set[str] = set()

    async def close(self) -> None:
        await self._client.close()

    async def login(self) -> dict[str, Any]:
        """How to reach the API server, for another client: a Pod's token as it is now, since it is renewed every hour."""
        cluster, user, path = self.config.cluster, self.config.user, self.config.abs_file
        token = Path(user.token_file).read_text().strip() if user and user.token_file else user and user.token
        return {
            "server": cluster.server,
            "ca_path": path(cluster.certificate_auth) if cluster.certificate_auth else None,
            "ca_data": cluster.certificate_auth_data or None,
            "insecure": cluster.insecure or None,
            "username": user and user.username,
            "password": user and user.password,
            "token": token,
            "certificate_path": path(user.client_cert) if user and user.client_cert else None,
            "certificate_data": (user and user.client_cert_data) or None,
            "private_key_path": path(user.client_key) if user and user.client_key else None,
            "private_key_data": (user and user.client_key_data) or None,
        }

    async def list(self, resource: str, namespace: str | None = None, labels: str | None = None, fields: str | None = None) -> Listing:
        """Raises ApiRefused, ApiUnavailable. `namespace` None: all of them. Selectors: `name`, `name=value` or `name!=value`."""
        selectors = {"labels": _selector(labels), "fields": _selector(fields)}
        async with _translated():
            found = self._client.list(RESOURCES[resource], namespace=namespace or "*", chunk_size=1000, **selectors)
            objects = [item async for item in found]
            return Listing(objects, found.resourceVersion)

    async def get(self, resource: str, namespace: str, name: str) -> Object | None:
        try:
            async with _translated():
                return await self._client.get(RESOURCES[resource], name, namespace=namespace)
        except ApiRefused as refused:
            if refused.code == 404:
                return None
            raise

    async def apply(self, resource: str, manifest: Object) -> Object:
        """Our fields as they should be; fields that others took from us become ours again."""
        return await self._patch(resource, manifest["metadata"], manifest, PatchType.APPLY, force=True)

    async def create(self, resource: str, manifest: Object) -> Object | None:
        """The object; None when one of its name is there."""
        kind = RESOURCES[resource]
        try:
            async with _translated():
                return await self._client.create(kind(manifest), namespace=manifest["metadata"]["namespace"])  # pyright: ignore[reportCallIssue]
        except ApiRefused as refused:
            if refused.code == 409:
                return None
            raise

    async def delete(self, resource: str, namespace: str, name: str) -> None:
        """Gone, and what it owns after it; nothing when it is not there."""
        try:
            async with _translated():
                await self._client.delete(RESOURCES[resource], name, namespace=namespace, cascade=CascadeType.BACKGROUND)
        except ApiRefused as refused:
            if refused.code != 404:
                raise

    async def merge(self, resource: str, metadata: Object, change: Object) -> Object:
        """A JSON merge patch of the object that `metadata` names."""
        return await self._patch(resource, metadata, change, PatchType.MERGE)

    async def merge_status(self, metadata: Object, change: Object) -> Object:
        """A merge patch of an AppRepository's status. Raises ApiRefused with 404 where the CRD has no status subresource."""
        return await self._patch("apprepositories", metadata, change, PatchType.MERGE, status=True)

    async def _patch(
        self, resource: str, metadata: Object, change: Any, how: PatchType, *, force: bool = False, status: bool = False
    ) -> Object:
        kind = RESOURCES[resource].Status if status else RESOURCES[resource]
        name, namespace = metadata["name"], metadata["namespace"]
        try:
            async with _translated():
                return await self._client.patch(kind, name, change, namespace=namespace, patch_type=how, force=force)
        except ApiRefused as refused:
            if refused.code != 403 or status:
                raise
            return await self._replace(resource, metadata, change, refused, whole=how is PatchType.APPLY)

    async def _replace(self, resource: str, metadata: Object, change: Object, refused: ApiRefused, *, whole: bool) -> Object:
        """The same with the rights that Kubeapps' Role has, create and update. `whole`: the change is all that the object says."""
        known = await self.get(resource, metadata["namespace"], metadata["name"])
        if known is None:
            made = await self.create(resource, change) if whole else None
            if made is None:
                raise refused
            return made
        if resource not in self._replaces:
            self._replaces.add(resource)
            log.warning("a right is missing: what others set is lost", action="degrade", resource=resource, error=str(refused))
        merged = {**known, **change, "metadata": {**known["metadata"], **change["metadata"]}} if whole else merged_into(known, change)
        kind = RESOURCES[resource]
        async with _translated():
            return await self._client.replace(kind(merged), metadata["name"], namespace=metadata["namespace"])  # pyright: ignore[reportCallIssue]


def merged_into(known: Object, change: Object) -> dict[str, Any]:
    """RFC 7386."""
    result = dict(known)
    for name, value in change.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged_into(result.get(name) or {}, value) if isinstance(value, Mapping) else value
    return result


def _selector(text: str | None) -> Any:
    if not text:
        return None
    name, differs, value = text.partition("!=")
    if differs:
        return {name: not_equal(value)}
    name, equals, value = text.partition("=")
    return {name: value if equals else None}


@asynccontextmanager
async def _translated() -> AsyncGenerator[None]:
    """The one door for lightkube's and HTTP's errors."""
    try:
        yield
    except ApiError as error:
        raise ApiRefused(str(error.status.message or error), error.status.code or 500) from None
    except httpx2.HTTPStatusError as error:
        raise ApiRefused(str(error), error.response.status_code) from None
    except httpx2.HTTPError as error:
        raise ApiUnavailable(f"the API server does not answer: {error or type(error).__name__}") from None
