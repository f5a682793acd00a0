"""Workers read Secrets from a real Kubernetes, each with what its own ServiceAccount may."""

import base64
from pathlib import Path

import pytest

from tests.cluster.kube import Kube
from tests.conftest import Database
from tests.fakes.helm_repo import HelmRepo
from tests.integration.pods import Ended, Pod

READS_SECRETS = {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}


class Account:
    """A worker with the rights of a ServiceAccount in one namespace."""

    def __init__(self, kube: Kube, namespace: str, pod: Pod, directory: Path) -> None:
        self.kube, self.namespace, self.pod = kube, namespace, pod
        self.config = kube.new_account(namespace, "worker", [READS_SECRETS], [], directory)

    def put_secret(self, **texts: str) -> None:
        data = {key: base64.b64encode(text.encode()).decode() for key, text in texts.items()}
        self.kube.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "login", "namespace": self.namespace}, "data": data})

    def sync(self, key: str = "header", namespace: str = "", **environment: str) -> Ended:
        words = [
            "sync",
            f"--namespace={namespace or self.namespace}",
            "demo",
            self.pod.repo.url,
            "helm",
            f"--option=auth-secret=login/{key}",
        ]
        ended = self.pod.run(*words, **{"CHARTFLEET_SECRETS": "kubernetes", "KUBECONFIG": str(self.config), **environment})
        assert "canary" not in ended.out + ended.err + ended.message
        return ended


@pytest.fixture
def account(cluster: Kube, namespace: str, database: Database, repo: HelmRepo, tmp_path: Path) -> Account:
    return Account(cluster, namespace, Pod(database.writer, repo, tmp_path / "termination-log"), tmp_path)


def test_a_login_comes_from_the_secret_of_the_repositorys_namespace(account: Account) -> None:
    account.put_secret(header="Bearer canary")
    assert account.sync().code == 0
    assert account.pod.repo.requests[0][1]["Authorization"] == "Bearer canary"


def test_a_secret_or_key_that_is_not_there_is_waited_for(account: Account) -> None:
    absent = account.sync()
    account.put_secret(other="canary")
    without_key = account.sync()
    account.put_secret(header="Bearer canary")
    assert [(each.code, each.summary.error_class) for each in (absent, without_key)] == [(75, "WaitingForSecret")] * 2
    assert f"{account.namespace}/login" in (absent.summary.error or "")
    assert "key header" in (without_key.summary.error or "")
    assert account.sync().code == 0


def test_a_right_that_is_missing_is_named(account: Account) -> None:
    ended = account.sync(namespace="kube-system")
    assert (ended.code, ended.summary.error_class) == (75, "WaitingForSecret")
    assert "`get` on `secrets` in namespace kube-system" in (ended.summary.error or "")


def test_an_api_server_that_does_not_answer_is_waited_for(account: Account) -> None:
    account.config.write_text(account.config.read_text().replace(account.kube.server, "https://127.0.0.1:1"))
    ended = account.sync()
    assert (ended.code, ended.summary.error_class) == (75, "WaitingForSecret")
    assert "does not answer" in (ended.summary.error or "")


def test_without_a_token_or_a_configuration_the_setting_is_named(account: Account) -> None:
    ended = account.sync(KUBECONFIG="/nowhere")
    assert (ended.code, ended.summary.error_class) == (2, "InvalidJob")
    assert "KUBECONFIG" in (ended.summary.error or "")
