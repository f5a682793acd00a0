"""One Kubernetes on 127.0.0.1: etcd, API server, controller manager, scheduler and, if asked for, a node; each a process of ours.

All ends with the process that started it, even by kill -9 (see cli/servers.py).
"""

import json
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cli import servers
from cli.ports import Claims
from tests.cluster import node
from tests.cluster.build import place
from tests.cluster.kube import Kube, write_kubeconfig

CONTROLLERS = (
    "clusterrole-aggregation-controller",
    "cronjob-controller",
    "deployment-controller",
    "disruption-controller",
    "garbage-collector-controller",
    "job-controller",
    "namespace-controller",
    "node-lifecycle-controller",
    "pod-garbage-collector-controller",
    "replicaset-controller",
    "resourcequota-controller",
    "root-ca-certificate-publisher-controller",
    "serviceaccount-controller",
    "serviceaccount-token-controller",
    "ttl-after-finished-controller",
)
# Who has a kubeconfig: user and group.
USERS = {
    "admin": ("admin", "system:masters"),
    "controller-manager": ("system:kube-controller-manager", ""),
    "scheduler": ("system:kube-scheduler", ""),
    "kubelet": (f"system:node:{node.NAME}", "system:nodes"),
}
AUDIT_POLICY = {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"], "rules": [{"level": "Metadata"}]}


@dataclass
class Part:
    """A process of the cluster. `start` waits until it is ready; `stop` and `kill` until it is gone."""

    name: str
    argv: Sequence[str]
    directory: Path
    ready: Callable[[], object] = lambda: True
    stop_signal: signal.Signals = signal.SIGTERM
    child: servers.Child | None = field(default=None, init=False)

    @property
    def log(self) -> Path:
        return self.directory / f"{self.name}.log"

    def start(self, seconds: float = 120.0) -> None:
        self.child = servers.spawn(self.name, self.argv, self.log, stop_signal=self.stop_signal, directory=self.directory)
        end = time.monotonic() + seconds
        while not self.is_ready():
            if self.child.process.poll() is not None or time.monotonic() > end:
                self.stop()
                raise servers.ServerError(f"{self.name} did not start:\n{servers.tail(self.log)}")
            time.sleep(0.05)

    def is_ready(self) -> bool:
        try:
            return bool(self.ready())
        except OSError:
            return False

    def stop(self) -> None:
        if self.child:
            servers.stop([self.child])
            self.child = None

    def kill(self) -> None:
        if self.child:
            self.child.process.kill()
        self.stop()


class Cluster:
    """A cluster whose everything is in `directory`, which must be empty; at the end logs, kubeconfigs and the audit log stay there."""

    def __init__(self, directory: Path, with_node: bool = False) -> None:
        self.directory, self.programs = directory, place()
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.claims = Claims()
        self.etcd_port, self.peer_port, self.port, self.kubelet_port = (self.claims.take_any() for _ in range(4))
        subprocess.run([self.programs / "devcluster", "pki", self.pki], check=True)
        self._write_credentials()
        (directory / "audit-policy.json").write_text(json.dumps(AUDIT_POLICY))
        self.kube = Kube(self.kubeconfig("admin"), directory / "audit.log")
        self.etcd, self.api_server = self._etcd(), self._api_server()
        self.controller_manager, self.scheduler = self._controller_manager(), self._scheduler()
        self.parts = [self.etcd, self.api_server, self.controller_manager, self.scheduler]
        if with_node:
            self.parts.append(self._node())

    @property
    def pki(self) -> Path:
        return self.directory / "pki"

    def kubeconfig(self, user: str) -> Path:
        return self.directory / f"{user}.kubeconfig"

    def start(self) -> None:
        try:
            for part in self.parts:
                part.start()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        self.kube.close()
        for part in reversed(self.parts):
            part.stop()
        node.clean_up(self.directory)
        self.claims.close()

    def _write_credentials(self) -> None:
        lines: list[str] = []
        for user, (name, group) in USERS.items():
            token = secrets.token_hex(16)
            lines.append(f'{token},{name},{user},"{group}"\n')
            write_kubeconfig(self.kubeconfig(user), f"https://127.0.0.1:{self.port}", (self.pki / "ca.crt").read_bytes(), token)
        tokens = self.directory / "tokens.csv"
        tokens.touch(mode=0o600)
        tokens.write_text("".join(lines))

    def _part(self, name: str, *flags: str, ready: Callable[[], object] = lambda: True) -> Part:
        return Part(name, [str(self.programs / "devcluster"), name, *flags], self.directory, ready)

    def _etcd(self) -> Part:
        return self._part(
            "etcd",
            f"--data-dir={self.directory / 'etcd'}",
            f"--client-url=http://127.0.0.1:{self.etcd_port}",
            f"--peer-url=http://127.0.0.1:{self.peer_port}",
            # An API server that is there before etcd listens takes its time to try again.
            ready=lambda: socket.create_connection(("127.0.0.1", self.etcd_port)).close() is None,
        )

    def _api_server(self) -> Part:
        return self._part(
            "apiserver",
            f"--etcd-servers=http://127.0.0.1:{self.etcd_port}",
            "--bind-address=127.0.0.1",
            f"--secure-port={self.port}",
            "--advertise-address=127.0.0.1",
            "--endpoint-reconciler-type=none",  # no loopback address may be an endpoint
            f"--tls-cert-file={self.pki / 'apiserver.crt'}",
            f"--tls-private-key-file={self.pki / 'apiserver.key'}",
            f"--token-auth-file={self.directory / 'tokens.csv'}",
            "--anonymous-auth=false",
            "--authorization-mode=Node,RBAC",
            "--service-cluster-ip-range=10.96.0.0/24",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={self.pki / 'service-accounts.crt'}",
            f"--service-account-signing-key-file={self.pki / 'service-accounts.key'}",
            f"--kubelet-client-certificate={self.pki / 'kubelet-client.crt'}",
            f"--kubelet-client-key={self.pki / 'kubelet-client.key'}",
            "--kubelet-preferred-address-types=Hostname",
            f"--audit-policy-file={self.directory / 'audit-policy.json'}",
            f"--audit-log-path={self.directory / 'audit.log'}",
            ready=lambda: self.kube.answers("/readyz"),
        )

    def _controller_manager(self) -> Part:
        return self._part(
            "controller-manager",
            f"--kubeconfig={self.kubeconfig('controller-manager')}",
            f"--controllers={','.join(CONTROLLERS)}",
            "--use-service-account-credentials",
            f"--root-ca-file={self.pki / 'ca.crt'}",
            f"--service-account-private-key-file={self.pki / 'service-accounts.key'}",
            "--leader-elect=false",
            "--secure-port=0",
            ready=lambda: self.kube.answers("/api/v1/namespaces/default/serviceaccounts/default"),
        )

    def _scheduler(self) -> Part:
        return self._part("scheduler", f"--kubeconfig={self.kubeconfig('scheduler')}", "--leader-elect=false", "--secure-port=0")

    def _node(self) -> Part:
        images = [path for name in ("pause", "busybox") if (path := self.programs / f"{name}.tar").exists()]
        argv = node.prepare(self.directory, self.kubelet_port, self.programs / "devcluster", images)
        # All of a node ends with its first process, which ignores gentler signals.
        return Part("node", argv, self.directory, lambda: node.takes_pods(self.kube), signal.SIGKILL)
