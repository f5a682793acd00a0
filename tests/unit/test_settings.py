"""What a worker is told by flags and environment."""

import pytest

from catalog.errors import InvalidJob, InvalidRepository
from worker.credentials import docker_authorization
from worker.settings import Settings, kubeapps_url


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
