"""Whatever listings come one after the other, and whatever goes wrong between them: in the end the rows are those of a fresh sync."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from catalog.errors import StoreUnavailable
from catalog.model import RepositoryKey
from tests.conftest import LONG, Database
from tests.fakes.helm_repo import HelmRepo
from tests.fakes.listings import LAYOUTS, Entry, listing, many
from tests.integration.catalogue import content, listed, places
from tests.integration.conftest import Syncer
from worker.process import Worker
from worker.run import Outcome
from worker.settings import Settings

VERSIONS = ("0.9.0", "1.0.0-rc.1", "1.0.0", "1.0.0+build", "1.10.0")
STAMPS = ("2024-01-02T03:04:05Z", "2024-02-03T04:05:06.789Z", "2025-01-01T00:00:00+02:00")
ODD: tuple[Entry, ...] = (
    *("text", {}, {"name": "a"}, {"version": "not semver"}, {"version": "1.0.0-01"}),
    *(
        {"version": "1.0.0"},
        {"version": "1.0.0", "urls": [], "unknown": 1},
        {"version": "1.10.0", "description": "a \0", "urls": ["x.tgz"]},
    ),
)

entries = st.fixed_dictionaries(
    {
        "version": st.sampled_from(VERSIONS),
        "urls": st.sampled_from([["x.tgz"], ["https://example.org/x.tgz"]]),
        "description": st.sampled_from(["one", "two: # of\nthem"]),
    },
    optional={
        "created": st.sampled_from(STAMPS),
        "digest": st.sampled_from(["aa", "sha256:aa", "bb"]),
        "deprecated": st.booleans(),
        "keywords": st.sampled_from([["k"], None]),
    },
)
versions = st.lists(entries, max_size=5, unique_by=lambda entry: entry["version"])
plain = st.dictionaries(st.sampled_from(["a", "b", "b.c"]), versions)
odd = st.dictionaries(st.sampled_from(["a", "b", "project/d", "odd name"]), st.lists(st.one_of(entries, st.sampled_from(ODD)), max_size=6))
BULK = many(1, 40, description="stands in every listing, so that what changes is a small part and the pieces' way is taken")
numbers = count(1)

bounded = settings(
    max_examples=200 if LONG else 20,
    derandomize=not LONG,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@dataclass(frozen=True)
class Listing:
    """What a repository offers at one time, and in which layout."""

    charts: Mapping[str, Sequence[Entry]]
    layout: str

    def text(self, generated: str = "2025-01-01T00:00:00Z") -> bytes:
        return listing({**BULK, **self.charts}, self.layout, generated)

    def turned(self) -> "Listing":
        """The same, each chart's versions and the charts the other way round."""
        return Listing({name: self.charts[name][::-1] for name in reversed(self.charts)}, self.layout)

    def publishable(self) -> set[tuple[str, str]]:
        """(chart, version) of every entry that Helm takes."""
        return {
            (name, str(entry["version"]))
            for name, entries in {**BULK, **self.charts}.items()
            for entry in entries
            if isinstance(entry, dict) and (name in BULK or entry.get("version") in VERSIONS)
        }


listings = st.one_of(
    st.builds(Listing, plain, st.just("helm")),
    st.builds(Listing, plain, st.just("helm")),
    st.builds(Listing, st.one_of(plain, odd), st.sampled_from(LAYOUTS)),
)


@pytest.fixture
async def syncer(database: Database, repo: HelmRepo) -> AsyncIterator[Syncer]:
    """One whose worker may be started anew."""
    made = Syncer(await Worker.open(Settings(database_url=database.writer)), database, repo)
    yield made
    await made.worker.close()


class Repository:
    """One of many in a test's database."""

    def __init__(self, syncer: Syncer) -> None:
        self.syncer, self.name = syncer, f"r{next(numbers)}"

    async def sync(self, text: bytes) -> Outcome:
        key = RepositoryKey("default", self.name)
        return await self.syncer.sync(text, repository=replace(self.syncer.job.repository, key=key))

    async def publish(self, text: bytes) -> Outcome:
        """A sync whose removals a person releases, should they be held."""
        outcome = await self.sync(text)
        if outcome.state == "failed":
            assert outcome.error
            assert outcome.error.reason == "RemovalsHeld"
            self.syncer.database.rows("update chartfleet.held_listings set released_at = now()")
            outcome = await self.sync(text)
        assert outcome.state == "done"
        return outcome

    def content(self) -> list[tuple[object, ...]]:
        return content(self.syncer.database, self.name)

    def places(self) -> list[tuple[object, ...]]:
        return places(self.syncer.database, self.name)


@bounded
@given(st.lists(listings, min_size=1, max_size=4))
async def test_listings_one_after_the_other_end_as_a_fresh_sync_of_the_last(syncer: Syncer, history: list[Listing]) -> None:
    repository, fresh = Repository(syncer), Repository(syncer)
    for each in history:
        await repository.publish(each.text())
        assert listed(syncer.database, repository.name) == each.publishable(), "no version is lost, none is left"
    await fresh.publish(history[-1].text())
    assert repository.content() == fresh.content()
    assert unread(syncer, repository.name) == []


@bounded
@given(listings, listings)
async def test_the_same_content_again_in_whatever_order_writes_nothing(syncer: Syncer, first: Listing, last: Listing) -> None:
    repository = Repository(syncer)
    await repository.publish(first.text())
    await repository.publish(last.text())
    before = repository.places()
    await repository.publish(last.text("2025-02-02T00:00:00Z"))
    assert repository.places() == before
    outcome = await repository.publish(last.turned().text())
    assert outcome.report.result == "unchanged"
    assert [row for row in repository.places() if row[0] != "chart"] == [row for row in before if row[0] != "chart"]


# A backend that dies at the first statement of a kind on a table, or at the commit of one: whatever the worker was doing, it did it then.
STEPS = {
    "reading": ("sync_runs", "after update", "statement"),
    "a new chart": ("charts", "after insert", "statement"),
    "a version": ("chart_versions", "before insert", "statement"),
    "a withdrawal": ("chart_versions", "after update", "statement"),
    "a chart": ("charts", "after update", "statement"),
    "file work": ("file_work", "after insert", "statement"),
    "a held listing": ("held_listings", "after insert or delete", "statement"),
    "the repository": ("repositories", "after update", "row"),
    "history": ("ledger", "after insert", "row"),
    "the commit": ("ledger", "deferred", "row"),
}
CRASH = """
    create or replace function public.crash() returns trigger language plpgsql security definer as
    $$ begin perform pg_terminate_backend(pg_backend_pid()); return null; end $$"""


async def test_a_sync_that_dies_at_any_step_leaves_what_was_and_the_next_one_finishes_it(syncer: Syncer) -> None:
    first, second = (Listing({name: [{"version": "1.0.0", "urls": ["x.tgz"]}]}, "helm") for name in "ab")
    fresh = Repository(syncer)
    await fresh.publish(second.text())
    for step in STEPS.keys() - {"a held listing"}:  # which neither of the two is
        repository = Repository(syncer)
        if step != "a withdrawal":  # of which a first listing has none
            assert await crashed(syncer, repository, first.text(), step), step
            assert repository.content() == [], step
        await repository.publish(first.text())
        before = repository.content()
        assert await crashed(syncer, repository, second.text(), step), step
        assert repository.content() == before, step
        await repository.publish(second.text())
        assert repository.content() == fresh.content(), step


@settings(bounded, max_examples=100 if LONG else 12)
@given(st.lists(st.tuples(listings, st.sampled_from([None, *STEPS])), min_size=1, max_size=3), listings)
async def test_listings_with_crashes_between_end_as_a_fresh_sync_of_the_last(
    syncer: Syncer, history: list[tuple[Listing, str | None]], last: Listing
) -> None:
    repository, fresh = Repository(syncer), Repository(syncer)
    for each, step in history:
        before = repository.content()
        if await crashed(syncer, repository, each.text(), step):
            assert repository.content() == before
    await repository.publish(last.text())
    await fresh.publish(last.text())
    assert repository.content() == fresh.content()
    assert unread(syncer, repository.name) == []


async def crashed(syncer: Syncer, repository: Repository, text: bytes, step: str | None) -> bool:
    """Sync with a backend that dies at a step; whether it came to that. The worker is started anew, as its process would be."""
    if step is None:
        await repository.publish(text)
        return False
    table, when, each = STEPS[step]
    constraint, deferred = ("constraint", "deferrable initially deferred") if when == "deferred" else ("", "")
    when = "after insert" if when == "deferred" else when
    syncer.database.rows(CRASH)
    syncer.database.rows(
        f"create {constraint} trigger crash {when} on chartfleet.{table} {deferred} for each {each} execute function public.crash()"
    )
    try:
        await repository.sync(text)
    except StoreUnavailable:
        await syncer.worker.close()
        syncer.worker = await Worker.open(syncer.worker.settings)
        return True
    else:
        return False
    finally:
        syncer.database.rows(f"drop trigger crash on chartfleet.{table}")


def unread(syncer: Syncer, name: str) -> list[tuple[object, ...]]:
    """Visible versions that have a url, no files and no work that would read them: there may be none."""
    return syncer.database.rows(
        """
        select c.name, v.version from chartfleet.repositories r join chartfleet.charts c on c.repository_id = r.id
        join chartfleet.chart_versions v on v.chart_id = c.id and v.removed_at is null
        where r.name = %s and v.urls <> '{}' and not exists (select from chartfleet.file_work w where w.version_id = v.id)""",
        name,
    )
