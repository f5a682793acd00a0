"""The controller's flags: Kubeapps' as Kubeapps reads them, or a usage error; and ours."""

import subprocess
from datetime import timedelta
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from catalog.model import SecretRef
from cli import servers
from controller.flags import JobSettings, job_settings, kubernetes_options


def settings(*flags: str, drop_in: bool = True, **environment: str) -> JobSettings:
    """Raises ValueError with what is printed for a command line that is refused."""
    found: list[JobSettings] = []

    @click.command()
    @kubernetes_options
    def main(**given: Any) -> None:
        found.append(job_settings({"directory": None, **given}, drop_in=drop_in))

    result = CliRunner().invoke(main, flags, env=environment)
    if not found:
        assert result.exit_code == 2
        raise ValueError(result.output)
    return found[0]


def test_without_flags_everything_is_kubeapps_default() -> None:
    assert settings() == JobSettings()


def test_the_flags_that_kubeapps_chart_passes_are_taken() -> None:
    found = settings(
        *(
            "--user-agent-comment=kubeapps/2.12.1",
            "--repo-sync-image=x/asset-syncer:1",
            "--repo-sync-cmd=/asset-syncer",
            "--namespace=apps",
        ),
        *("--global-repos-namespace=apps-global", "--database-secret-name=pg", "--database-secret-key=password", "--database-url=pg:5432"),
        *("--database-user=postgres", "--database-name=assets", "--repos-per-namespace=true"),
    )
    assert (found.sync_image, found.sync_command, found.namespace) == ("x/asset-syncer:1", "/asset-syncer", "apps")
    assert (found.global_namespace, found.database_secret) == ("apps-global", SecretRef("pg", "password"))
    assert (found.database_url, found.database_user, found.database_name) == ("pg:5432", "postgres", "assets")
    assert (found.user_agent_comment, found.watch_namespaces, found.warnings) == ("kubeapps/2.12.1", (), ())


@pytest.mark.parametrize(
    ("flag", "values"),
    [
        ("--repos-per-namespace", {"1": (), "t": (), "TRUE": (), "0": ("kubeapps",), "f": ("kubeapps",), "False": ("kubeapps",)}),
        ("--repos-per-namespace=false", {"": ("kubeapps",)}),
        ("--repos-per-namespace", {"": ()}),
    ],
)
def test_a_truth_is_read_as_go_reads_it(flag: str, values: dict[str, tuple[str, ...]]) -> None:
    for value, watched in values.items():
        assert settings(f"{flag}={value}" if value else flag).watch_namespaces == watched


def test_lists_are_csv_and_keep_their_blanks() -> None:
    found = settings("--repo-sync-image-pullsecrets=s1, s2", "--repo-sync-image-pullsecrets= s3", '--custom-labels="team=core",b=c')
    assert found.pull_secrets == ("s1", " s2", " s3")
    assert found.custom_labels == {"team": "core", "b": "c"}
    assert settings("--repo-sync-image-pullsecrets=").pull_secrets == ()


def test_an_annotation_keeps_all_of_its_value() -> None:
    found = settings("--custom-annotations=link=https://x/?a=b", '--custom-annotations="note=hello, world",x=')
    assert found.custom_annotations == {"link": "https://x/?a=b", "note": "hello, world", "x": ""}


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ("--custom-labels=justaword", "'justaword' is not of the form NAME=VALUE"),
        ("--custom-annotations=note=hello world, it is", "' it is' is not of the form NAME=VALUE"),
        ("--custom-labels=a=b c", "'b c' is no label's value"),
        ("--custom-labels==b", "'' is no name of a label"),
        ('--custom-labels="a=b', "is no line of CSV"),
        ("--crontab=never", "'never' is no schedule of a CronJob"),
        ("--crontab=0 0 31 2 *", "failed to find next date"),
        ("--repos-per-namespace=3", "'3' is neither true nor false"),
        ("--successful-jobs-history-limit=-1", "--successful-jobs-history-limit"),
        ("--database-url-secret=name", "'name' is not of the form NAME/KEY"),
        ("--job-namespace=here", "--job-namespace"),
        ("--cleanup-timeout=1d", "'1d'"),
        ("--cleanup-timeout=-1s", "'-1s' is negative"),
        ("--max-concurrent-first-syncs=0", "--max-concurrent-first-syncs"),
        ("--nope", "--nope"),
    ],
)
def test_a_flag_that_cannot_be_used_is_a_usage_error_that_names_it(flag: str, said: str) -> None:
    with pytest.raises(ValueError) as raised:  # noqa: PT011 - its whole text is looked at
        settings(flag)
    assert said in str(raised.value)
    assert flag.partition("=")[0] in str(raised.value)


def test_a_kubeconfig_that_is_not_there_is_a_usage_error(tmp_path: Path) -> None:
    argv = [*servers.python("controller"), "--kubernetes", f"--kubeconfig={tmp_path}/none"]
    ended = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, "Traceback" in ended.stderr) == (2, False)
    assert f"{tmp_path}/none" in ended.stderr


@pytest.mark.parametrize(("text", "seconds"), [("3600", 3600), ("0", 0), ("", None), ("1h", None), ("-1", None), ("99999999999", None)])
def test_a_time_that_is_no_number_leaves_the_field_unset_and_is_said(text: str, seconds: int | None) -> None:
    found = settings(f"--ttl-lifetime-afterfinished-job={text}", f"--active-deadline-seconds={text}")
    assert (found.ttl_seconds, found.active_deadline_seconds) == (seconds, seconds)
    assert len(found.warnings) == (2 if text and seconds is None else 0)


@pytest.mark.parametrize(
    ("text", "policy"), [("Allow", "Allow"), ("forbid", "Forbid"), ("replace", "Replace"), ("FORBID", "Replace"), ("x", "Replace")]
)
def test_a_concurrency_policy_is_read_as_kubeapps_reads_it(text: str, policy: str) -> None:
    found = settings(f"--concurrency-policy={text}")
    assert found.concurrency_policy == policy
    assert bool(found.warnings) == (text in ("FORBID", "x"))


def test_v1beta1_is_accepted_ignored_and_said() -> None:
    [warning] = settings("--v1-beta1-cron-jobs").warnings
    assert "--v1-beta1-cron-jobs" in warning
    assert settings("--v1-beta1-cron-jobs=false").warnings == ()


@pytest.mark.parametrize("flags", [("--v=4",), ("-v", "4"), ("-v=4",), ("-v4",)])
def test_a_verbosity_is_accepted_ignored_and_said(flags: tuple[str, ...]) -> None:
    [warning] = settings(*flags).warnings
    assert "CHARTFLEET_LOG_LEVEL" in warning


def test_the_oci_catalogue_may_stand_in_the_environment() -> None:
    assert settings(OCI_CATALOG_URL="cat:1").oci_catalog_url == "cat:1"
    assert settings("--oci-catalog-url=flag:1", OCI_CATALOG_URL="cat:1").oci_catalog_url == "flag:1"


@pytest.mark.parametrize(
    ("flags", "drop_in", "spread"),
    [((), True, False), ((), False, True), (("--spread",), True, True), (("--no-spread",), False, False)],
)
def test_nothing_is_spread_in_drop_in_mode_unless_asked(flags: tuple[str, ...], drop_in: bool, spread: bool) -> None:
    assert settings(*flags, drop_in=drop_in).spread == spread


def test_our_own_flags() -> None:
    found = settings(
        *("--job-namespace=repository", "--database-url-secret=pg/url", "--watch-namespaces=a,b", "--watch-namespaces=c"),
        *(
            "--max-concurrent-first-syncs=3",
            "--cleanup-timeout=1h30m",
            "--kubeconfig=/k",
            "--apiserver=https://x",
            "--workers=2",
            "--health-port=0",
        ),
    )
    assert (found.job_namespace, found.database_url_secret, found.watch_namespaces) == (
        "repository",
        SecretRef("pg", "url"),
        ("a", "b", "c"),
    )
    assert (found.max_concurrent_first_syncs, found.cleanup_timeout) == (3, timedelta(minutes=90))
    assert (found.kubeconfig, found.apiserver, found.workers, found.health_port) == ("/k", "https://x", 2, 0)
