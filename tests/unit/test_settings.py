"""What a worker is told by flags and environment."""

import pytest

from catalog.errors import InvalidJob, InvalidRepository
from catalog.model import Repository, RepositoryKey
from catalog.options import Limits
from worker.credentials import docker_authorization
from worker.settings import BY_HAND, IN_A_CLUSTER, Settings, allowed, kubeapps_url


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setenv("CHARTFLEET_DATABASE_URL", "postgresql://h/d")
    return monkeypatch


def test_kubeapps_database_flags_become_an_address() -> None:
    flags = {"database-url": "10.11.12.13:5432", "database-user": "admin", "database-name": "assets"}
    assert kubeapps_url(flags, "p@ss/word") == "postgresql://admin:p%40ss%2Fword@10.11.12.13:5432/assets"


@pytest.mark.parametrize(("flags", "said"), [({}, "CHARTFLEET_DATABASE_URL"), ({"database-url": "postgresql://u:canary@h/d"}, "HOST:PORT")])
def test_a_missing_or_full_address_says_where_it_belongs(flags: dict[str, str], said: str) -> None:
    with pytest.raises(InvalidJob, match=said) as refused:
        kubeapps_url(flags, "")
    assert "canary" not in str(refused.value)


def test_settings_show_no_secret() -> None:
    shown = repr(Settings(database_url="canary", broker_url="canary", authorization="canary", docker_config="canary"))
    assert "canary" not in shown


def test_a_docker_config_becomes_a_basic_header() -> None:
    assert docker_authorization('{"auths": {"foo": {"username": "foo", "password": "bar"}}}') == "Basic Zm9vOmJhcg=="
    assert docker_authorization('{"auths": {"foo": {"auth": "Zm9vOmJhcg==", "username": "x"}}}') == "Basic Zm9vOmJhcg=="


@pytest.mark.parametrize("config", ["", "{}", '{"auths": {}}', '{"auths": {"a": {}, "b": {}}}', '{"auths": {"a": {"auth": "%"}}}', "[]"])
def test_a_docker_config_with_not_exactly_one_login_is_refused(config: str) -> None:
    with pytest.raises(InvalidRepository, match="exactly one"):
        docker_authorization(config)


def repository(**options: str) -> Repository:
    return Repository(RepositoryKey("default", "r"), "helm", "https://h", options=options)


def test_a_repository_may_go_as_far_as_the_operator_lets_it(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("CHARTFLEET_MAX_INDEX_BYTES", "1000:5000")
    environment.setenv("CHARTFLEET_MIN_BYTES_PER_SECOND", "100:50")
    settings = Settings.from_env({})
    assert settings.limits_for(repository()) == Limits(max_index_bytes=1000, min_bytes_per_second=100)
    asked = {"max-index-bytes": "9000", "min-bytes-per-second": "7", "max-redirects": "3", "max-versions": "2000000", "timeout": "5"}
    assert settings.limits_for(repository(**asked)) == Limits(
        max_index_bytes=5000, min_bytes_per_second=50, max_redirects=3, max_versions=1_000_000, timeout=5
    )
    assert settings.limits_for(repository(**{"min-bytes-per-second": "900"})).min_bytes_per_second == 900


@pytest.mark.parametrize("text", ["0", "-1", "many", "10:", ":10", "1e3", "²", "9" * 30])
def test_a_limit_that_is_no_number_is_named(environment: pytest.MonkeyPatch, text: str) -> None:
    environment.setenv("CHARTFLEET_MAX_SECONDS", text)
    with pytest.raises(InvalidJob, match="CHARTFLEET_MAX_SECONDS"):
        Settings.from_env({})


def test_a_pod_is_kept_from_its_own_loopback_and_everybody_from_the_metadata_service() -> None:
    assert allowed({}) == BY_HAND
    assert allowed({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}) == IN_A_CLUSTER
    assert (BY_HAND.classes, IN_A_CLUSTER.classes) == ({"public", "private", "loopback"}, {"public", "private"})
    assert allowed({"KUBERNETES_SERVICE_HOST": "x", "CHARTFLEET_ALLOW_ADDRESSES": "link-local"}).classes == {"link-local"}
    with pytest.raises(InvalidJob, match=r"CHARTFLEET_ALLOW_ADDRESSES.*'everything'"):
        allowed({"CHARTFLEET_ALLOW_ADDRESSES": "everything"})


def test_proxies_come_from_the_environment_in_either_case(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("https_proxy", "http://user:canary@proxy:3128")
    environment.setenv("NO_PROXY", "internal")
    settings = Settings.from_env({})
    assert (settings.proxies["https"], settings.proxies["no"]) == ("http://user:canary@proxy:3128", "internal")
    assert "canary" not in repr(settings)


@pytest.mark.parametrize(
    ("variables", "in_cluster"),
    [
        ({}, False),
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, True),
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1", "CHARTFLEET_SECRETS_DIRECTORY": "/m"}, False),
        ({"CHARTFLEET_SECRETS": "kubernetes", "CHARTFLEET_SECRETS_DIRECTORY": "/m"}, True),
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1", "CHARTFLEET_SECRETS": "directory"}, False),
    ],
)
def test_secrets_are_looked_for_in_the_cluster_around_a_worker_that_has_no_directory(
    environment: pytest.MonkeyPatch, variables: dict[str, str], in_cluster: bool
) -> None:
    for name, value in variables.items():
        environment.setenv(name, value)
    assert Settings.from_env({}).secrets_in_cluster == in_cluster


def test_another_place_for_secrets_is_refused(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("CHARTFLEET_SECRETS", "vault")
    with pytest.raises(InvalidJob, match="CHARTFLEET_SECRETS"):
        Settings.from_env({})
