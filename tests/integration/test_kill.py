"""`kill -9` and a dying PostgreSQL at every step of a sync as the product starts it: what was committed stays, the next run finishes.

No moment is slept for. A step is reached by holding what the worker needs next (the server's answer, a row, a table) and shown by what is
found: the run's state and phase, the statement that waits in PostgreSQL, the locks, the requests.
"""

import json
import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from threading import Thread

import psycopg
import pytest
from sqlalchemy import text

from catalog import store
from catalog.database import FILES_LOCK, SYNC_LOCK
from catalog.engine import pooled_engine
from cli import servers
from tests.conftest import ROOT, Database, until
from tests.fakes.helm_repo import Gate, HelmRepo, archive, serving
from tests.fakes.listings import listing, many
from tests.integration.catalogue import Row, content, listed
from tests.integration.conftest import KEY, Syncer
from tests.integration.history import HISTORY, revisions

CHARTS = "lock table chartfleet.charts in access exclusive mode"
REPOSITORY = "select from chartfleet.repositories where name = 'demo' for no key update"
SCHEDULES = "lock table chartfleet.schedules in access exclusive mode"
LEDGER = "lock table chartfleet.ledger in share mode"
RUNS = "select from chartfleet.sync_runs for update"
FILE_WORK = "lock table chartfleet.file_work in access exclusive mode"
FILES = "lock table chartfleet.version_files in share mode"


class OneShot:
    """One-shot workers on one repository, what is held against them, and what is to be seen of them from outside."""

    def __init__(self, database: Database, repo: HelmRepo, *options: str) -> None:
        self.database, self.repo, self.options = database, repo, options
        self.process: subprocess.Popen[bytes] | None = None
        self._held: dict[str, psycopg.Connection] = {}

    def offer(self, index: bytes) -> None:
        """Serve an index, and an archive for each url in it."""
        self.repo.index = index
        self.repo.archives = {name.decode(): archive("any", README__md=name.decode()) for name in re.findall(rb'[^\s"]+\.tgz', index)}

    def spawn(self, verb: str = "sync") -> subprocess.Popen[bytes]:
        words = [verb, KEY.name, *([self.repo.url, "helm"] if verb == "sync" else []), f"--namespace={KEY.namespace}"]
        argv = servers.python("worker", *words, *(f"--option={option}" for option in self.options))
        environment = {**os.environ, "CHARTFLEET_DATABASE_URL": self.database.writer}
        return subprocess.Popen(argv, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def run(self, verb: str = "sync") -> dict[str, object]:
        """A whole life that ends well; its JSON."""
        return said_by(self.spawn(verb))

    # What stops it

    def stop_answer(self, name: str, at: int) -> Gate:
        gate = self.repo.gates[name] = Gate(at)
        return gate

    def hold(self, statement: str) -> None:
        """Take locks, at once."""
        connection = self._held[statement] = psycopg.connect(self.database.admin)
        connection.execute(statement.encode())

    def queue(self, statement: str) -> None:
        """Take locks as soon as they are free, before anybody who asks later."""
        connection = self._held[statement] = psycopg.connect(self.database.admin)
        Thread(target=connection.execute, args=(statement.encode(),), daemon=True).start()
        waiting = "select from pg_locks where pid = %s and not granted"
        until("a place in the queue", lambda: self.count(waiting, connection.info.backend_pid))

    def release(self, statement: str) -> None:
        self._held.pop(statement).close()

    def let_go(self) -> None:
        """Of everything."""
        for statement in list(self._held):
            self.release(statement)
        for gate in self.repo.gates.values():
            gate.open.set()
        self.repo.gates.clear()

    def kill(self) -> None:
        """`kill -9`. Its own children go too; a statement of its that waits in PostgreSQL ends when it is let go, and its transaction."""
        assert self.process
        pid = self.process.pid
        readers = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        self.process.kill()
        self.process.communicate()
        assert self.process.returncode == -signal.SIGKILL
        self.let_go()
        until("its backend to go", lambda: not self.backends())
        until("its readers to go", lambda: not any(is_reader(reader) for reader in readers))

    # What is seen of it

    def waits(self, words: str) -> bool:
        """Whether the worker waits for a lock in a statement with these words."""
        query = "select from pg_stat_activity where datname = %s and application_name = 'chartfleet worker' and wait_event_type = 'Lock'"
        return bool(self.count(f"{query} and query ilike %s", self.database.name, f"%{words}%"))

    def backends(self) -> list[int]:
        query = "select pid from pg_stat_activity where datname = %s and application_name = 'chartfleet worker'"
        return [pid for (pid,) in self.database.rows(query, self.database.name)]  # pyright: ignore[reportReturnType]

    def locks(self) -> list[object]:
        """Classes of the repository's advisory locks that somebody holds."""
        query = """select classid::bigint from pg_locks where locktype = 'advisory' and classid in (%s, %s)
                   and database = (select oid from pg_database where datname = current_database())"""
        return [kind for (kind,) in self.database.rows(query, SYNC_LOCK, FILES_LOCK)]

    def last_run(self) -> tuple[str, str, str]:
        """(job, state, first word of the phase) of the newest run."""
        query = "select job, state, coalesce(split_part(phase, ' ', 1), '') from chartfleet.sync_runs order by id desc limit 1"
        return self.database.rows(query)[0]  # pyright: ignore[reportReturnType]

    def count(self, query: str, *values: object) -> int:
        [(number,)] = self.database.rows(f"select count(*) from ({query}) q", *values)
        assert isinstance(number, int)
        return number


def is_reader(pid: str) -> bool:
    """Whether a process that reads indexes has this number."""
    try:
        return b"worker.walk_server" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def said_by(process: subprocess.Popen[bytes]) -> dict[str, object]:
    """The JSON of a process that ends well."""
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err.decode()
    return json.loads(out.splitlines()[-1])


@pytest.fixture
def oneshot(database: Database, repo: HelmRepo) -> Iterator[OneShot]:
    made = OneShot(database, repo)
    yield made
    made.let_go()
    if made.process and made.process.poll() is None:
        made.process.kill()
        made.process.communicate()


@pytest.fixture(scope="module")
def history() -> list[bytes]:
    """Two revisions of a real index, or made-up ones."""
    return list(islice(revisions(), 12, 22, 9)) if HISTORY.exists() else [listing(many(3, 4)), listing(many(4, 5))]


@pytest.fixture(scope="module")
def fresh(history: list[bytes], new_database: Callable[[], Database]) -> list[list[Row]]:
    """What a sync of each revision into an empty database makes."""
    found: list[list[Row]] = []
    for index in history:
        with serving(HelmRepo(index=index)) as repo:
            oneshot = OneShot(new_database(), repo, "files=none")
            oneshot.run()
            found.append(content(oneshot.database, KEY.name))
    return found


# The steps of a sync, each reached by way of an earlier one


def fetching(it: OneShot) -> None:
    """Within the index's body."""
    gate = it.stop_answer("index.yaml", at=100)
    it.process = it.spawn()
    assert gate.reached.wait(60)


def reading(it: OneShot) -> None:
    """The body is here; what is known is about to be looked up."""
    stopped_by(it, CHARTS, "from chartfleet.charts")


def staged(it: OneShot) -> None:
    """Changed charts are in the temporary table; nothing is published."""
    stopped_by(it, REPOSITORY, "for no key update")


def publishing(it: OneShot) -> None:
    """Within the transaction, all rows written."""
    stopped_by(it, LEDGER, "insert into chartfleet.ledger")


def committing(it: OneShot) -> None:
    """In the transaction's last statement."""
    publishing(it)
    it.hold(RUNS)
    it.release(LEDGER)
    until("the last statement", lambda: it.waits("update chartfleet.sync_runs"))


def committed(it: OneShot) -> None:
    """After the commit, before any archive."""
    committing(it)
    it.queue(FILE_WORK)
    it.release(RUNS)
    until("the look for file work", lambda: it.waits("files_due"))


def downloading(it: OneShot) -> None:
    """Within an archive's body."""
    read = set(it.repo.archive_requests())
    gate = it.stop_answer(next(name for name in it.repo.archives if f"/{name}" not in read), at=50)
    it.process = it.spawn()
    assert gate.reached.wait(60)


def recording(it: OneShot) -> None:
    """Within the transaction that stores archives' files."""
    it.hold(FILES)
    it.process = it.spawn()
    until("files to be stored", lambda: it.waits("chartfleet.version_files"))


def stopped_by(it: OneShot, statement: str, words: str) -> None:
    """Go on from `fetching` until a statement with `words` waits for what `statement` holds."""
    fetching(it)
    it.hold(statement)
    it.repo.gates["index.yaml"].open.set()
    until(words, lambda: it.waits(words))


@dataclass(frozen=True)
class Step:
    """How to get there, the run and the locks found there, and whether the listing is committed."""

    reach: Callable[[OneShot], None]
    run: tuple[str, str, str]
    locks: tuple[int, ...]
    committed: bool = False


STEPS = [
    Step(fetching, ("sync", "running", ""), (SYNC_LOCK,)),
    Step(reading, ("sync", "running", "reading"), (SYNC_LOCK,)),
    Step(staged, ("sync", "running", "reading"), (SYNC_LOCK,)),
    Step(publishing, ("sync", "running", "reading"), (SYNC_LOCK,)),
    Step(committing, ("sync", "running", "reading"), (SYNC_LOCK,)),
    Step(committed, ("sync", "done", ""), (), committed=True),
    Step(downloading, ("files", "running", "enriching"), (FILES_LOCK,), committed=True),
    Step(recording, ("files", "running", "enriching"), (FILES_LOCK,), committed=True),
]


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.reach.__name__)
def test_a_worker_killed_at_any_step_leaves_what_was_committed_and_the_next_one_finishes(
    oneshot: OneShot, history: list[bytes], fresh: list[list[Row]], step: Step
) -> None:
    before: list[Row] = []
    for index, after in zip(history, fresh, strict=True):  # a first sync and a later one
        oneshot.offer(index)
        step.reach(oneshot)
        assert (oneshot.last_run(), oneshot.locks()) == (step.run, [*step.locks])
        oneshot.kill()
        assert content(oneshot.database, KEY.name) == (after if step.committed else before)
        assert oneshot.locks() == []
        assert oneshot.run()["state"] == "done"
        assert content(oneshot.database, KEY.name) == after
        assert all_files_are_read(oneshot)
        before = after


@pytest.mark.parametrize("step", [STEPS[0], STEPS[2], STEPS[3], STEPS[7]], ids=lambda step: step.reach.__name__)
def test_a_worker_whose_postgresql_dies_says_so_and_the_next_one_finishes(
    oneshot: OneShot, history: list[bytes], fresh: list[list[Row]], step: Step
) -> None:
    oneshot.offer(history[1])
    step.reach(oneshot)
    [backend] = oneshot.backends()
    oneshot.database.rows("select pg_terminate_backend(%s)", backend)
    oneshot.let_go()
    assert oneshot.process
    _, said = oneshot.process.communicate(timeout=60)
    assert (oneshot.process.returncode, b"StoreUnavailable: PostgreSQL went away" in said) == (75, True), said.decode()
    assert content(oneshot.database, KEY.name) == (fresh[1] if step.committed else [])
    assert oneshot.locks() == []
    oneshot.run()
    assert content(oneshot.database, KEY.name) == fresh[1]
    assert all_files_are_read(oneshot)


def all_files_are_read(it: OneShot) -> bool:
    """Whether every visible version has its files and no work is left."""
    unread = "select v.id from chartfleet.chart_versions v left join chartfleet.version_files f on f.version_id = v.id"
    return it.count(f"{unread} where v.removed_at is null and f.version_id is null") == it.count("select from chartfleet.file_work") == 0


def test_a_worker_killed_between_the_two_transactions_of_a_big_first_sync_has_shown_every_newest_version(oneshot: OneShot) -> None:
    charts = many(170, 10, description="x" * 10_000)
    oneshot.options = ("files=none",)
    oneshot.repo.index = listing(charts)
    publishing(oneshot)
    oneshot.queue(REPOSITORY)
    oneshot.release(LEDGER)
    until("the second transaction", lambda: oneshot.waits("for no key update"))
    newest = {(name, "1.9.0") for name in charts}
    assert listed(oneshot.database) == newest
    oneshot.kill()
    assert listed(oneshot.database) == newest
    assert oneshot.database.rows("select charts, versions, body_sha256 from chartfleet.repositories") == [(170, 170, None)]
    said = oneshot.run()
    assert (said["state"], said["added"], len(listed(oneshot.database))) == ("done", 1530, 1700)


def test_of_two_at_once_the_second_leaves_quietly(oneshot: OneShot, history: list[bytes]) -> None:
    oneshot.offer(history[0])
    publishing(oneshot)
    runs = oneshot.count("select from chartfleet.sync_runs")
    assert oneshot.run()["state"] == "skipped"
    assert oneshot.count("select from chartfleet.sync_runs") == runs
    assert oneshot.process
    oneshot.let_go()
    assert said_by(oneshot.process)["state"] == "done"


# Deletion


def test_a_clean_up_waits_for_the_sync_that_publishes_and_a_late_one_is_refused(oneshot: OneShot, history: list[bytes]) -> None:
    oneshot.options = ("incarnation=first",)
    oneshot.offer(history[0])
    publishing(oneshot)
    removal = oneshot.spawn("delete")
    until("the clean-up to run", lambda: oneshot.last_run()[:2] == ("delete", "running"))
    assert oneshot.locks() == [SYNC_LOCK]
    oneshot.let_go()
    assert oneshot.process
    said_by(oneshot.process)
    assert said_by(removal)["result"] == "changed"
    late = oneshot.run()
    assert (late["state"], late["error_class"]) == ("skipped", "RepositoryGone")
    for table in ("repositories", "charts", "chart_versions", "version_files", "file_work", "blobs"):
        assert oneshot.count(f"select from chartfleet.{table}") == 0, table


async def test_a_sync_whose_repository_goes_before_its_transaction_is_refused_and_brings_nothing_back(
    oneshot: OneShot, history: list[bytes]
) -> None:
    oneshot.options = ("incarnation=first",)
    oneshot.offer(history[0])
    engine = pooled_engine(oneshot.database.writer, "chartfleet_writer", "test")
    fetching(oneshot)
    async with engine.begin() as connection:
        await store.lock_repository(connection, 1)
        oneshot.repo.gates["index.yaml"].open.set()
        until("the worker to publish", lambda: oneshot.waits("for no key update"))
        assert await store.delete_repository(connection, KEY, "first")
    await engine.dispose()
    assert oneshot.process
    out, _ = oneshot.process.communicate(timeout=60)
    assert json.loads(out.splitlines()[-1])["error_class"] == "RepositoryGone"
    assert oneshot.run()["state"] == "skipped"
    assert oneshot.count("select from chartfleet.repositories") == 0
    oneshot.options = ("incarnation=second",)
    assert oneshot.run()["state"] == "done", "the name lives on"


async def test_a_late_sync_that_begins_while_its_repository_is_removed_makes_no_other(oneshot: OneShot, history: list[bytes]) -> None:
    oneshot.options = ("incarnation=first",)
    oneshot.offer(history[0])
    oneshot.run()
    engine = pooled_engine(oneshot.database.writer, "chartfleet_writer", "test")
    async with engine.begin() as connection:
        await connection.execute(text(SCHEDULES))
        late = oneshot.process = oneshot.spawn()
        until("the late sync to look for its repository", lambda: oneshot.waits("files_due"))
        assert await store.delete_repository(connection, KEY, "first")
    await engine.dispose()
    assert (said := said_by(late))["state"] == "skipped", said
    assert oneshot.count("select from chartfleet.repositories") == 0


# A sync that takes too long


@pytest.mark.parametrize("statement", [REPOSITORY, LEDGER])
async def test_a_sync_that_waits_too_long_in_postgresql_fails_by_name_and_its_worker_serves_on(syncer: Syncer, statement: str) -> None:
    await syncer.sync(listing(many(2, 3)))
    before = content(syncer.database, KEY.name)
    watched = OneShot(syncer.database, syncer.repo)
    watched.hold(statement)
    outcome = await syncer.sync(listing(many(3, 4)), repository=replace(syncer.job.repository, options={"max-seconds": "1"}))
    watched.release(statement)
    assert outcome.error
    assert (outcome.error.reason, syncer.last_run()["error_class"]) == ("LimitExceeded", "LimitExceeded")
    assert content(syncer.database, KEY.name) == before
    assert watched.locks() == []
    assert (await syncer.sync()).state == "done"
    assert len(listed(syncer.database)) == 12
