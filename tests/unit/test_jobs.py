"""The wire form of a job is Kubeapps' argv."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.errors import InvalidJob
from catalog.jobs import CleanUpRepository, FetchFiles, Job, SyncRepository, filter_hash, from_argv, kubeapps_argv, options_text, to_argv
from catalog.model import FilterRule, Repository, RepositoryKey, SecretRef

KEY = RepositoryKey("kubeapps", "my-charts")
URL = "https://charts.acme.com/my-charts"
DATABASE = ["--database-url=postgresql.kubeapps", "--database-user=admin", "--database-name=assets"]


def sync(**more: object) -> SyncRepository:
    return SyncRepository(Repository(KEY, **{"type": "helm", "url": URL, **more}))  # pyright: ignore[reportArgumentType]


def test_a_plain_sync_is_kubeapps_golden_line() -> None:
    argv = to_argv(sync(), [*DATABASE, "--global-repos-namespace=kubeapps-global"])
    assert argv == ["sync", *DATABASE, "--global-repos-namespace=kubeapps-global", "--namespace=kubeapps", "my-charts", URL, "helm"]


def test_optional_arguments_come_last_in_kubeapps_order() -> None:
    rule = FilterRule(".name == $var1", {"$var1": "wordpress"})
    job = sync(type="oci", options={"oci-repositories": "apache,jenkins"}, verify_tls=False, pass_credentials=True, filter=rule)
    assert to_argv(job)[5:] == [
        *("--oci-repositories", "apache,jenkins", "--tls-insecure-skip-verify", "--pass-credentials"),
        *("--filter-rules", '{"jq":".name == $var1","variables":{"$var1":"wordpress"}}'),
    ]


def test_a_filter_is_escaped_as_go_does() -> None:
    job = sync(filter=FilterRule(".a < .b & .c > 1"))
    assert to_argv(job)[-1] == '{"jq":".a \\u003c .b \\u0026 .c \\u003e 1"}'
    assert from_argv(to_argv(job)).job == job


def test_a_clean_up_is_kubeapps_golden_line() -> None:
    assert to_argv(CleanUpRepository(KEY), DATABASE) == ["delete", "my-charts", "--namespace=kubeapps", *DATABASE]


def test_kubeapps_flags_are_understood_in_both_forms() -> None:
    command = from_argv(["sync", "--database-url", "h:5432", "--namespace=ns", "--tls-insecure-skip-verify=true", "n", URL, "helm"])
    assert command.flags["database-url"] == "h:5432"
    assert command.job == SyncRepository(Repository(RepositoryKey("ns", "n"), "helm", URL, verify_tls=False))


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([], "unknown command"),
        (["dance"], "dance"),
        (["sync", "--namespace=n", "a"], "NAME URL TYPE"),
        (["delete", "a"], "--namespace"),
        (["sync", "--namespace=n", "--what", "a", "b", "c"], "--what"),
        (["delete", "a", "--namespace"], "needs a value"),
        (["sync", "--namespace=n", "a", "b", "c", "--filter-rules", "{"], "--filter-rules"),
        (["delete", "a", "--namespace=n", "--option=x"], "--option=x"),
        (["delete", "a", "--namespace=a,b"], "','"),
        (["sync", "--namespace=n", "a", "http://u:canary@h/", "helm"], "user or password"),
        (["sync", "--namespace=n", "a", "http://h/", "helm", "--option=auth-secret=s"], "NAME/KEY"),
        (["sync", "--namespace=n", "a", "http://h/", "helm", "--option=files=some"], "all, latest, none"),
        (["sync", "--namespace=n", "a", "http://h/", "helm", "--option=max-seconds=0"], "max-seconds"),
    ],
)
def test_an_argv_that_is_no_job_says_which_word_is_wrong(argv: list[str], said: str) -> None:
    with pytest.raises(InvalidJob, match=said):
        from_argv(argv)


def test_equal_rules_have_one_hash_and_no_rule_has_none() -> None:
    rule = FilterRule("true", {"$a": "1", "$b": "2"})
    others = [FilterRule("false", rule.variables), FilterRule("true"), FilterRule("true", {"$a": "1", "$b": "3"})]
    assert filter_hash(rule) == filter_hash(FilterRule("true", {"$b": "2", "$a": "1"}))
    assert len({filter_hash(each) for each in (rule, *others, None)}) == 5
    assert filter_hash(None) == ""


words = st.text(min_size=1, max_size=20).filter(lambda text: not text.startswith("--") and "@" not in text)
names = st.from_regex(r"[a-z0-9][a-z0-9.-]{0,20}", fullmatch=True)
secrets = st.none() | st.builds(SecretRef, names, names)
repositories = st.builds(
    Repository,
    st.builds(RepositoryKey, names, names),
    type=st.sampled_from(["helm", "oci"]),
    url=words,
    auth=secrets,
    ca=secrets,
    filter=st.none() | st.builds(FilterRule, words, st.dictionaries(words, st.text(max_size=9), max_size=3)),
    verify_tls=st.booleans(),
    pass_credentials=st.booleans(),
    options=st.sampled_from(
        [{}, {"oci-repositories": "a,b/c"}, {"files": "none", "max-versions": "5", "client-certificate": "s", "new": "x"}]
    ),
)
jobs: st.SearchStrategy[Job] = (
    st.builds(SyncRepository, repositories, names | st.just(""), names | st.just(""))
    | st.builds(FetchFiles, repositories, names | st.just(""))
    | st.builds(CleanUpRepository, st.builds(RepositoryKey, names, names), names | st.just(""))
)


@given(jobs)
def test_a_job_survives_being_written_down(job: Job) -> None:
    assert from_argv(to_argv(job, DATABASE)).job == job


@given(jobs)
def test_a_job_survives_as_kubeapps_argv_with_the_rest_beside_it(job: Job) -> None:
    assert from_argv(kubeapps_argv(job, DATABASE), options_text(job)).job == job


def test_the_end_of_flags_in_an_argv_is_not_that_of_the_options_beside_it() -> None:
    assert from_argv(["delete", "--namespace=ns", "--", "n"], "--option=incarnation=u").job == CleanUpRepository(
        RepositoryKey("ns", "n"), "u"
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--option='files", "quotation"),
        ("word", "'word'"),
        ("--namespace=other", "--namespace=other"),
        ("--option=files", "--option=files"),
        ("--option=max-seconds=0", "max-seconds"),
    ],
)
def test_options_that_cannot_be_read_name_their_variable(options: str, said: str) -> None:
    with pytest.raises(InvalidJob, match=f"CHARTFLEET_OPTIONS: .*{said}"):
        from_argv(["sync", "--namespace=n", "a", "http://h/", "helm"], options)
