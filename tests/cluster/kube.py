"""An API server as tests ask it: plain dicts as they are on the wire, kubectl as a user has it, and who asked what (the audit log)."""

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx2
import pytest
import yaml
from lightkube import KubeConfig
from lightkube.config.client_adapter import Client, ConnectionParams

from tests.conftest import missing

Document = dict[str, Any]

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
APPLY, MERGE = "application/apply-patch+yaml", "application/merge-patch+json"
READS = frozenset({"get", "list", "watch"})


class Refused(Exception):
    """What the API server refused: `code` (HTTP) and `reason` (its own word, such as AlreadyExists or Forbidden)."""

    def __init__(self, status: Mapping[str, Any]) -> None:
        super().__init__(str(status.get("message")))
        self.code, self.reason = int(status.get("code", 0)), str(status.get("reason"))


@dataclass(frozen=True)
class Resource:
    """Where a kind is, such as /apis/batch/v1, jobs, True."""

    group: str
    plural: str
    namespaced: bool


class Kube:
    """Whoever the kubeconfig says, at its API server. Kinds are named as kubectl names them: "cronjobs", "pods", "apprepositories"."""

    def __init__(self, kubeconfig: Path, audit_log: Path | None = None) -> None:
        self.kubeconfig, self.audit_log = kubeconfig, audit_log
        config = KubeConfig.from_file(str(kubeconfig)).get()
        assert config
        self.server = config.cluster.server
        self._http = Client(config, ConnectionParams(timeout=httpx2.Timeout(30), trust_env=False))
        self._resources: dict[str, Resource] = {}

    def close(self) -> None:
        self._http.close()

    # Objects ----------------------------------------------------------------------------------------------------------

    def apply(self, *documents: Mapping[str, Any], manager: str = "tests") -> list[Document]:
        """Server-side apply, as `kubectl apply --server-side --force-conflicts` does it."""
        query = f"?fieldManager={manager}&force=true"
        return [self.request("PATCH", self._path_of(document, named=True) + query, document, APPLY) for document in documents]

    def create(self, document: Mapping[str, Any]) -> Document:
        return self.request("POST", self._path_of(document, named=False), document)

    def replace(self, document: Mapping[str, Any]) -> Document:
        return self.request("PUT", self._path_of(document, named=True), document)

    def get(self, kind: str, name: str, namespace: str = "") -> Document:
        return self.request("GET", self.path(kind, namespace, name))

    def find(self, kind: str, name: str, namespace: str = "") -> Document | None:
        """The object, None if there is none."""
        try:
            return self.get(kind, name, namespace)
        except Refused as refused:
            if refused.code == 404:
                return None
            raise

    def all(self, kind: str, namespace: str = "", labels: str = "") -> list[Document]:
        """All objects of a kind, of one namespace or ("") of all; `labels` is a selector, such as "app=x,!y"."""
        query = f"?{urlencode({'labelSelector': labels})}"
        return self.request("GET", self.path(kind, namespace) + query)["items"]

    def patch(self, kind: str, name: str, namespace: str, change: Mapping[str, Any], subresource: str = "") -> Document:
        """A merge patch; `subresource` may be "status"."""
        return self.request("PATCH", self.path(kind, namespace, name, subresource), change, MERGE)

    def delete(self, kind: str, name: str, namespace: str = "") -> None:
        """Ask for the deletion, of what it owns too (in the background); it is not waited for."""
        self.request("DELETE", self.path(kind, namespace, name), {"propagationPolicy": "Background"})

    # The wire ---------------------------------------------------------------------------------------------------------

    def request(self, method: str, path: str, body: Mapping[str, Any] | None = None, content_type: str = "application/json") -> Document:
        content = None if body is None else json.dumps(body).encode()
        answer = self._http.request(method, path, content=content, headers={"Content-Type": content_type})
        document = answer.json()
        if answer.is_error:
            raise Refused(document)
        return document

    def answers(self, path: str) -> bool:
        try:
            return self._http.get(path).is_success
        except httpx2.TransportError:
            return False

    def path(self, kind: str, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """Where objects are; `kind` is a plural or "apiVersion/Kind". For custom ones the CRD must be there."""
        assert self.serves(kind), f"the API server has no {kind}"
        resource = self._resources[kind]
        scope = f"namespaces/{namespace}" if resource.namespaced and namespace else ""
        return "/".join(filter(None, (resource.group, scope, resource.plural, name, subresource)))

    def serves(self, kind: str) -> bool:
        if kind not in self._resources:
            self._resources = dict(self._discover())
        return kind in self._resources

    def _path_of(self, document: Mapping[str, Any], *, named: bool) -> str:
        metadata = document["metadata"]
        kind, name = f"{document['apiVersion']}/{document['kind']}", metadata["name"] if named else ""
        return self.path(kind, metadata.get("namespace", "default"), name)

    def _discover(self) -> Iterator[tuple[str, Resource]]:
        """Every resource by its plural (where two groups share one, the older group's) and by its apiVersion and kind."""
        seen: set[str] = set()
        for root in ("/api", "/apis"):
            for group in self._http.get(root, headers={"Accept": AGGREGATED}).raise_for_status().json()["items"]:
                for version in group["versions"]:
                    api_version = "/".join(filter(None, (group["metadata"].get("name"), version["version"])))
                    for listed in version["resources"]:
                        resource = Resource(f"{root}/{api_version}", listed["resource"], listed["scope"] == "Namespaced")
                        yield f"{api_version}/{listed['responseKind']['kind']}", resource
                        if resource.plural not in seen:
                            seen.add(resource.plural)
                            yield resource.plural, resource

    # kubectl ----------------------------------------------------------------------------------------------------------

    def kubectl(self, *words: str, stdin: str = "", check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run kubectl, KUBECTL=/path/to/kubectl or the one on PATH."""
        argv = [kubectl(), f"--kubeconfig={self.kubeconfig}", *words]
        done = subprocess.run(argv, input=stdin, capture_output=True, text=True, check=False, timeout=120)
        if check and done.returncode:
            pytest.fail(f"kubectl {' '.join(words)}: {done.stderr}")
        return done

    # Who asks ---------------------------------------------------------------------------------------------------------

    def account(self, namespace: str, name: str, directory: Path) -> Path:
        """The kubeconfig, below `directory`, of a ServiceAccount that is there; it lasts an hour."""
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}}
        token = self.request("POST", self.path("serviceaccounts", namespace, name, "token"), body)["status"]["token"]
        path = directory / f"{namespace}-{name}.kubeconfig"
        write_kubeconfig(path, self.server, self._authority(), token)
        return path

    def new_account(self, namespace: str, name: str, rules: Sequence[Document], cluster_rules: Sequence[Document], directory: Path) -> Path:
        """The kubeconfig of a new ServiceAccount that may do, in its namespace and in the cluster, exactly what the rules say."""
        subject = {"kind": "ServiceAccount", "name": name, "namespace": namespace}
        self.create({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": namespace}})
        for kind, unique, given in (("Role", name, rules), ("ClusterRole", f"{namespace}-{name}", cluster_rules)):
            rbac = {"apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": unique, "namespace": namespace}}
            self.apply({**rbac, "kind": kind, "rules": list(given)})
            reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": unique}
            self.apply({**rbac, "kind": f"{kind}Binding", "roleRef": reference, "subjects": [subject]})
        return self.account(namespace, name, directory)

    def _authority(self) -> bytes:
        cluster = yaml.safe_load(self.kubeconfig.read_text())["clusters"][0]["cluster"]
        given = cluster.get("certificate-authority-data")
        return base64.b64decode(given) if given else (self.kubeconfig.parent / cluster["certificate-authority"]).read_bytes()

    def requests(self, *, user: str = "", agent: str = "", namespace: str = "") -> list[Document]:
        """The audit events of requests that were answered (a watch's: when it began), by user name, beginning of the user agent, namespace.

        An event has `verb`, `user.username`, `userAgent`, `objectRef.resource/.namespace/.name/.subresource`, `responseStatus.code`.
        The last answer's event may be a moment behind the answer.
        """
        if not self.audit_log:
            pytest.skip("this cluster's audit log is not ours to read: unset CHARTFLEET_TEST_KUBECONFIG")
        lines = self.audit_log.read_bytes().splitlines(keepends=True)
        events = [json.loads(line) for line in lines if line.endswith(b"\n")]
        return [
            event
            for event in events
            if event["stage"] == ("ResponseStarted" if event["verb"] == "watch" else "ResponseComplete")
            if user in ("", event["user"]["username"])
            if event.get("userAgent", "").startswith(agent)
            if namespace in ("", event.get("objectRef", {}).get("namespace"))
        ]


def writes(events: Sequence[Document]) -> list[Document]:
    return [event for event in events if event["verb"] not in READS]


def kubectl() -> str:
    found = os.environ.get("KUBECTL") or shutil.which("kubectl")
    if not found:
        missing(
            "kubectl", "put it on PATH or set KUBECTL=/path/to/kubectl; https://kubernetes.io/docs/tasks/tools/ says where it comes from"
        )
    return str(found)


def write_kubeconfig(path: Path, server: str, authority: bytes, token: str) -> None:
    path.touch(mode=0o600)
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "tests", "cluster": {"server": server, "certificate-authority-data": base64.b64encode(authority).decode()}}],
        "users": [{"name": "tests", "user": {"token": token}}],
        "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": "tests"}}],
        "current-context": "tests",
    }
    path.write_text(json.dumps(config))
