"""The removal breaker, withdrawn versions and their days of grace, over whole syncs."""

from collections.abc import Sequence
from dataclasses import replace

import psycopg
import pytest

from catalog.model import Repository
from tests.conftest import SHARED, Database
from tests.fakes.helm_repo import HelmRepo, archive, serving
from tests.fakes.listings import Charts, Entry, listing, many
from tests.integration.catalogue import content, listed
from tests.integration.conftest import KEY, Syncer
from worker.run import Outcome

BEFORE = many(5, 10)  # 50 versions: ten may go at once, eleven may not
HELD = "select reason, removals, reads, versions, released_at is not null from chartfleet.held_listings"


def without(charts: Charts, removed: int) -> Charts:
    """The same listing less so many versions, whole charts last."""
    left = sum(map(len, charts.values())) - removed
    kept: dict[str, Sequence[Entry]] = {}
    for name, entries in charts.items():
        if left > 0:
            kept[name] = entries[:left]
        left -= len(entries)
    return kept


def names(charts: Charts) -> set[tuple[str, str]]:
    return {(name, str(entry["version"])) for name, entries in charts.items() for entry in entries if not isinstance(entry, str)}


def is_held(outcome: Outcome) -> bool:
    return outcome.error is not None and outcome.error.reason == "RemovalsHeld"


def six_hours_pass(database: Database) -> None:
    database.rows("update chartfleet.held_listings set first_read_at = first_read_at - interval '6 hours'")


def release(database: Database, namespaces: str = "*") -> object:
    """As a person does by the API or the command line: as the reader's role."""
    with psycopg.connect(database.reader, autocommit=True) as connection:
        connection.execute("select set_config('chartfleet.namespaces', %s, false)", (namespaces,))
        row = connection.execute("select chartfleet.release_held(%s, %s)", (KEY.namespace, KEY.name)).fetchone()
        return row and row[0]


# What is held


@pytest.mark.parametrize("left", [2, 1])
async def test_a_big_catalogue_survives_a_valid_index_of_next_to_nothing(syncer: Syncer, left: int) -> None:
    whole = SHARED / "data/k8s-at-home/index.yaml"
    await syncer.sync(whole.read_bytes() if whole.exists() else listing(many(200, 20)))
    before = content(syncer.database, "demo")
    count = len(listed(syncer.database))
    outcome = await syncer.sync(listing(many(left, 1)))
    assert is_held(outcome)
    assert f"lacks {count:,} of {count:,} versions" in str(outcome.error)
    assert [row for row in content(syncer.database, "demo") if not str(row[0]).startswith("chart-0")] == before
    run = syncer.last_run()
    assert (run["state"], run["error_class"], run["removed"], run["added"]) == ("failed", "RemovalsHeld", 0, left)
    assert syncer.database.rows(HELD) == [("Shrunk", count, 1, left, False)]


async def test_an_empty_listing_is_held_however_few_versions_there_were(syncer: Syncer) -> None:
    await syncer.sync(listing(many(1, 1)))
    outcome = await syncer.sync(listing({}))
    assert is_held(outcome)
    assert "the 1 versions known before are kept" in str(outcome.error)
    assert listed(syncer.database) == names(many(1, 1))


@pytest.mark.parametrize(("removed", "held"), [(10, False), (11, True)])
async def test_a_fifth_of_the_versions_may_go_and_more_may_not(syncer: Syncer, removed: int, held: bool) -> None:
    await syncer.sync(listing(BEFORE))
    outcome = await syncer.sync(listing(without(BEFORE, removed)))
    assert is_held(outcome) is held
    assert len(listed(syncer.database)) == (50 if held else 50 - removed)


@pytest.mark.parametrize(("removed", "held"), [(9, False), (10, True)])
async def test_nine_versions_may_always_go(syncer: Syncer, removed: int, held: bool) -> None:
    few = many(1, 11)
    await syncer.sync(listing(few))
    assert is_held(await syncer.sync(listing(without(few, removed)))) is held


async def test_last_months_copy_neither_withdraws_nor_reverts(syncer: Syncer) -> None:
    new = {"a": [{"version": "1.0.0", "description": "new", "created": "2024-02-01T00:00:00Z"}, {"version": "1.1.0"}]}
    old = {"a": [{"version": "1.0.0", "description": "old", "created": "2024-01-01T00:00:00Z"}]}
    await syncer.sync(listing(new, generated="2024-02-02T00:00:00Z"))
    rows = "select version, metadata, removed_at from chartfleet.chart_versions order by version"
    before = syncer.database.rows(rows)
    outcome = await syncer.sync(listing(old, generated="2024-01-02T00:00:00Z"))
    assert is_held(outcome)
    assert "older than the one applied" in str(outcome.error)
    assert (outcome.report.added, outcome.report.changed, outcome.report.removed) == (0, 0, 0)
    assert syncer.database.rows(rows) == before


async def test_a_held_listings_additions_are_published_and_its_changes_are_not(syncer: Syncer) -> None:
    await syncer.sync(listing(BEFORE))
    changed = {**many(1, 12, description="changed"), "new": [{"version": "1.0.0"}]}
    outcome = await syncer.sync(listing(changed))
    assert is_held(outcome)
    assert listed(syncer.database) == names(BEFORE) | {("chart-000", "1.10.0"), ("chart-000", "1.11.0"), ("new", "1.0.0")}
    assert syncer.database.rows("select count(*) from chartfleet.chart_versions where metadata ->> 'description' = 'changed'") == [(2,)]
    assert syncer.database.rows("select charts, versions from chartfleet.repositories") == [(6, 53)]
    assert (outcome.report.charts, outcome.report.versions, outcome.report.added) == (6, 53, 3)


# How it ends


async def test_a_held_listing_goes_through_at_its_third_reading_after_six_hours(syncer: Syncer) -> None:
    await syncer.sync(listing(BEFORE))
    after = without(BEFORE, 20)
    assert is_held(await syncer.sync(listing(after)))
    six_hours_pass(syncer.database)
    assert is_held(await syncer.sync()), "six hours, but read twice"
    outcome = await syncer.sync()
    assert (outcome.state, outcome.report.removed) == ("done", 20)
    assert listed(syncer.database) == names(after)
    assert syncer.database.rows(HELD) == []


async def test_however_often_it_is_read_six_hours_must_pass(syncer: Syncer) -> None:
    await syncer.sync(listing(BEFORE))
    outcomes = [await syncer.sync(listing(without(BEFORE, 20))) for _ in range(5)]
    assert all(map(is_held, outcomes))
    assert "read 5 times" in str(outcomes[-1].error)
    six_hours_pass(syncer.database)
    assert (await syncer.sync()).report.removed == 20


@pytest.mark.parametrize("how", ["not modified", "the same bytes", "made anew", "written down anew"])
async def test_a_repeat_counts_in_whatever_form_it_comes(syncer: Syncer, how: str) -> None:
    after = without(BEFORE, 20)
    syncer.repo.validators = how == "not modified"
    await syncer.sync(listing(BEFORE))
    await syncer.sync(listing(after))
    repeat = {"made anew": listing(after, generated="2024-01-01T00:00:00Z"), "written down anew": listing(after, "json")}
    outcome = await syncer.sync(repeat.get(how, listing(after)))
    assert is_held(outcome)
    assert (outcome.report.bytes == 0) is (how == "not modified")
    assert syncer.database.rows(HELD) == [("Shrunk", 20, 2, 30, False)]


async def test_a_repeat_is_held_though_what_it_added_makes_its_removals_a_smaller_share(syncer: Syncer) -> None:
    await syncer.sync(listing(BEFORE))
    after = {**without(BEFORE, 12), "new": many(1, 30)["chart-000"]}
    syncer.repo.validators = False
    assert is_held(await syncer.sync(listing(after)))
    assert is_held(await syncer.sync(listing(after, generated="2024-01-01T00:00:00Z")))
    assert names(BEFORE) <= listed(syncer.database)


async def test_another_listing_starts_anew(syncer: Syncer) -> None:
    await syncer.sync(listing(BEFORE))
    await syncer.sync(listing(without(BEFORE, 20)))
    await syncer.sync()
    six_hours_pass(syncer.database)
    assert is_held(await syncer.sync(listing(without(BEFORE, 21))))
    assert syncer.database.rows(HELD) == [("Shrunk", 21, 1, 29, False)]
    assert is_held(await syncer.sync())


async def test_a_release_of_another_listing_is_void(syncer: Syncer) -> None:
    await syncer.sync(listing(BEFORE))
    await syncer.sync(listing(without(BEFORE, 20)))
    assert release(syncer.database)
    assert is_held(await syncer.sync(listing(without(BEFORE, 21))))
    assert len(listed(syncer.database)) == 50


@pytest.mark.parametrize("anew", [False, True])
async def test_the_old_listing_back_again_lets_go_and_takes_the_additions_away(syncer: Syncer, anew: bool) -> None:
    await syncer.sync(listing(BEFORE))
    before = content(syncer.database, "demo")
    await syncer.sync(listing({"new": [{"version": "1.0.0"}], "chart-000": [{"version": "9.0.0"}]}))
    assert len(listed(syncer.database)) == 52
    outcome = await syncer.sync(listing(BEFORE, generated="2024-01-01T00:00:00Z" if anew else None))
    assert outcome.state == "done"
    assert syncer.database.rows(HELD) == []
    assert content(syncer.database, "demo") == before
    assert syncer.database.rows("select charts, versions from chartfleet.repositories") == [(5, 50)]


async def test_the_old_listing_back_again_is_no_accident_however_much_the_held_one_added(syncer: Syncer) -> None:
    await syncer.sync(listing(BEFORE))
    await syncer.sync(listing({"other": many(1, 300)["chart-000"]}))
    outcome = await syncer.sync(listing(BEFORE))
    assert (outcome.state, outcome.report.removed) == ("done", 300)
    assert listed(syncer.database) == names(BEFORE)


async def test_a_person_releases_it_by_name_within_their_namespaces(syncer: Syncer) -> None:
    await syncer.sync(listing(BEFORE))
    after = {**without(BEFORE, 30), "new": [{"version": "1.0.0"}]}
    await syncer.sync(listing(after))
    assert release(syncer.database, "elsewhere") is None
    assert is_held(await syncer.sync())
    assert release(syncer.database, f"elsewhere,{KEY.namespace}")
    outcome = await syncer.sync()
    assert (outcome.state, outcome.report.removed) == ("done", 30)
    await syncer.sync(repository=fresh(syncer))
    assert content(syncer.database, "demo") == content(syncer.database, "fresh")
    assert release(syncer.database) is None, "nothing is held any more"


async def test_an_empty_listing_may_be_released_too(syncer: Syncer) -> None:
    await syncer.sync(listing(BEFORE))
    await syncer.sync(listing({}))
    release(syncer.database)
    outcome = await syncer.sync()
    assert (outcome.state, outcome.report.removed, outcome.report.charts) == ("done", 50, 0)
    assert content(syncer.database, "demo") == []


async def test_what_a_held_listing_half_told_of_a_chart_is_told_wholly_by_the_next(syncer: Syncer) -> None:
    """A chart of a held listing got a version and lost none of its own: neither hash may say that it is known now."""
    await syncer.sync(listing(BEFORE))
    held = {"chart-000": [{"version": "1.0.0", "description": "changed", "urls": ["x.tgz"]}, {"version": "5.0.0", "urls": ["x.tgz"]}]}
    assert is_held(await syncer.sync(listing(held)))
    healthy = {**BEFORE, **held}
    outcome = await syncer.sync(listing(healthy))
    assert (outcome.state, outcome.report.changed, outcome.report.removed) == ("done", 1, 9)
    await syncer.sync(repository=fresh(syncer))
    assert content(syncer.database, "demo") == content(syncer.database, "fresh")


# Days of grace


async def test_another_url_is_asked_for_so_what_it_does_not_list_goes_at_once(syncer: Syncer) -> None:
    await syncer.sync(listing(BEFORE))
    other = {"z": [{"version": "1.0.0", "urls": ["z.tgz"]}]}
    with serving(HelmRepo(index=listing(other))) as moved:
        elsewhere = replace(syncer.job.repository, url=moved.url)
        assert (await syncer.sync(repository=elsewhere)).state == "done"
        assert listed(syncer.database) == {("z", "1.0.0")}
        moved.index = listing({})
        assert is_held(await syncer.sync(repository=elsewhere))
    with serving(HelmRepo(index=listing({}))) as empty:
        assert is_held(await syncer.sync(repository=replace(syncer.job.repository, url=empty.url)))
        assert syncer.database.rows("select url from chartfleet.repositories") == [(moved.url,)], "the address of what is shown"


async def test_within_the_grace_a_withdrawn_version_is_out_of_sight_and_comes_back_without_a_download(syncer: Syncer) -> None:
    two = {"a": [{"version": "1.0.0", "urls": ["a-1.0.0.tgz"]}, {"version": "1.1.0", "urls": ["a-1.1.0.tgz"]}]}
    syncer.repo.archives = {"a-1.0.0.tgz": archive("a", README__md="old"), "a-1.1.0.tgz": archive("a", README__md="new")}
    await syncer.sync(listing(two))
    await syncer.files()
    before, asked = content(syncer.database, "demo"), syncer.repo.archive_requests()
    await syncer.sync(listing({"a": two["a"][:1]}))
    assert listed(syncer.database) == {("a", "1.0.0")}
    assert syncer.database.rows("select version from chartfleet.charts") == [("1.0.0",)]
    assert syncer.database.rows("select count(*) from chartfleet.version_files") == [(2,)]
    await syncer.sync(listing(two))
    await syncer.files()
    assert content(syncer.database, "demo") == before
    assert syncer.repo.archive_requests() == asked
    assert syncer.database.rows("select change from chartfleet.ledger where version = '1.1.0' order by seq") == [
        ("added",),
        ("removed",),
        ("reappeared",),
    ]


@pytest.mark.parametrize("validators", [True, False])
async def test_after_the_grace_an_unchanged_sync_deletes_what_was_withdrawn(syncer: Syncer, validators: bool) -> None:
    syncer.repo.validators = validators
    await withdraw_two(syncer)
    assert (await syncer.sync()).report.result == "unchanged"
    assert len(syncer.database.rows("select id from chartfleet.chart_versions")) == 3, "not yet"
    days_pass(syncer.database, 7)
    outcome = await syncer.sync()
    assert (outcome.state, outcome.report.result) == ("done", "unchanged")
    assert syncer.database.rows("select version from chartfleet.chart_versions") == [("1.0.0",)]
    assert syncer.database.rows("select name from chartfleet.charts") == [("a",)]
    assert syncer.database.rows("select count(*) from chartfleet.version_files") == [(1,)]
    assert syncer.database.rows("select change, count(*) from chartfleet.ledger group by 1 order by 1") == [("added", 3), ("removed", 2)]
    assert syncer.database.rows("select purge_at from chartfleet.repositories") == [(None,)]


async def test_after_the_grace_a_changed_listing_deletes_it_too_and_what_comes_back_is_new(syncer: Syncer) -> None:
    await withdraw_two(syncer)
    days_pass(syncer.database, 7)
    await syncer.sync(listing({"a": [{"version": "1.0.0", "urls": ["a-1.0.0.tgz"]}, {"version": "2.0.0"}]}))
    assert len(syncer.database.rows("select id from chartfleet.chart_versions")) == 2
    await syncer.sync(listing({"a": [{"version": "1.0.0", "urls": ["a-1.0.0.tgz"]}, {"version": "1.1.0"}, {"version": "2.0.0"}]}))
    assert syncer.database.rows("select change from chartfleet.ledger where version = '1.1.0' order by seq") == [
        ("added",),
        ("removed",),
        ("added",),
    ]


async def test_what_was_withdrawn_later_stays_its_own_days(syncer: Syncer) -> None:
    await withdraw_two(syncer)
    days_pass(syncer.database, 5)
    await syncer.sync(listing({"a": [{"version": "2.0.0"}]}))
    days_pass(syncer.database, 2)
    await syncer.sync()
    assert syncer.database.rows("select version from chartfleet.chart_versions order by 1") == [("1.0.0",), ("2.0.0",)]
    assert syncer.database.rows("select purge_at > now() + interval '4 days' from chartfleet.repositories") == [(True,)]
    days_pass(syncer.database, 5)
    await syncer.sync()
    assert syncer.database.rows("select version from chartfleet.chart_versions") == [("2.0.0",)]


async def test_contents_that_only_a_purged_version_had_are_marked_for_the_sweep(syncer: Syncer) -> None:
    await withdraw_two(syncer)
    days_pass(syncer.database, 7)
    await syncer.sync()
    assert syncer.database.rows("select wanted from chartfleet.housekeeping where task = 'contents'") == [(True,)]


async def withdraw_two(syncer: Syncer) -> None:
    """Of three versions of two charts, all with files, one is left."""
    three = {
        "a": [{"version": "1.0.0", "urls": ["a-1.0.0.tgz"]}, {"version": "1.1.0", "urls": ["a-1.1.0.tgz"]}],
        "b": [{"version": "1.0.0", "urls": ["b.tgz"]}],
    }
    syncer.repo.archives = {name: archive("a", README__md=name) for name in ("a-1.0.0.tgz", "a-1.1.0.tgz", "b.tgz")}
    await syncer.sync(listing(three))
    await syncer.files()
    await syncer.sync(listing({"a": three["a"][:1]}))


def days_pass(database: Database, days: int) -> None:
    database.rows("update chartfleet.chart_versions set removed_at = removed_at - make_interval(days => %s)", days)
    database.rows("update chartfleet.charts set removed_at = removed_at - make_interval(days => %s)", days)
    database.rows("update chartfleet.repositories set purge_at = purge_at - make_interval(days => %s)", days)


def fresh(syncer: Syncer) -> Repository:
    """The same repository under a name that nothing is known of."""
    return replace(syncer.job.repository, key=replace(KEY, name="fresh"))
