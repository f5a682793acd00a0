"""A directory of manifests against the real database: what is asked for is applied, and deletions are careful."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from catalog.engine import pooled_engine
from controller.backends.celery import CeleryBackend
from controller.directory import ABSENT_FOR, Directory
from tests.conftest import Database

MANIFEST = """apiVersion: kubeapps.com/v1alpha1
kind: AppRepository
metadata: {name: %s, namespace: default}
spec: {type: helm, url: 'http://charts.example.com/%s', interval: 1h, resyncRequests: %d}
"""


class House:
    """A directory and the clock that it is looked at by."""

    def __init__(self, path: Path, directory: Directory, database: Database) -> None:
        self.path, self.directory, self.database, self.now = path, directory, database, 0.0

    def write(self, name: str, resync: int = 0, text: str = "") -> None:
        (self.path / f"{name}.yaml").write_text(text or MANIFEST % (name, name, resync))

    async def look(self, later: float = 0.0) -> None:
        self.now += later
        await self.directory.compare(self.now)

    def requested(self) -> list[str]:
        """Names of repositories that were asked to sync, and clears the requests as a scheduler would."""
        rows = self.database.rows("""
            select r.name from chartfleet.schedules s join chartfleet.repositories r on r.id = s.repository_id
            where requested_at is not null order by 1""")
        self.database.rows("update chartfleet.schedules set requested_at = null where requested_at is not null")
        return [str(name) for (name,) in rows]

    def scheduled(self) -> list[str]:
        rows = self.database.rows(
            "select r.name from chartfleet.schedules s join chartfleet.repositories r on r.id = s.repository_id order by 1"
        )
        return [str(name) for (name,) in rows]

    def deletions(self) -> list[tuple[object, ...]]:
        return self.database.rows("select name, state, argv[1] from chartfleet.sync_runs where job = 'delete' order by name")

    def problems(self) -> list[tuple[object, ...]]:
        return self.database.rows("select file, line, name, message from chartfleet.source_problems order by file, line")


@pytest.fixture
async def house(database: Database, tmp_path: Path) -> AsyncIterator[House]:
    engine = pooled_engine(database.writer, "chartfleet_writer", "test", size=1)
    yield House(tmp_path, Directory(tmp_path, "directory:test", CeleryBackend(engine)), database)
    await engine.dispose()


async def test_a_new_manifest_is_scheduled_and_synced_once(house: House) -> None:
    house.write("a")
    await house.look()
    assert (house.scheduled(), house.requested()) == (["a"], ["a"])


async def test_a_restart_writes_nothing_and_starts_nothing(house: House, database: Database) -> None:
    house.write("a")
    await house.look()
    house.requested()
    before = database.rows("select xmin::text from chartfleet.schedules union all select xmin::text from chartfleet.repositories")
    await Directory(house.path, "directory:test", house.directory.backend).compare(0.0)
    assert house.requested() == []
    assert database.rows("select xmin::text from chartfleet.schedules union all select xmin::text from chartfleet.repositories") == before


async def test_a_bumped_resync_request_syncs_that_repository_alone(house: House) -> None:
    house.write("a")
    house.write("b")
    await house.look()
    house.requested()
    house.write("a", resync=1)
    await house.look()
    assert house.requested() == ["a"]


async def test_a_deleted_manifest_is_cleaned_up_after_two_seconds_of_absence(house: House) -> None:
    house.write("a")
    house.write("b")
    await house.look()
    (house.path / "a.yaml").unlink()
    await house.look()
    assert house.deletions() == []
    await house.look(later=ABSENT_FOR)
    assert house.deletions() == [("a", "queued", "delete")]
    assert house.scheduled() == ["b"]


async def test_a_manifest_that_comes_back_in_time_loses_nothing(house: House) -> None:
    house.write("a")
    await house.look()
    (house.path / "a.yaml").unlink()
    await house.look()
    house.write("a")
    await house.look(later=1.0)
    (house.path / "a.yaml").unlink()
    await house.look(later=1.5)
    assert house.deletions() == []


async def test_a_deletion_during_a_stop_is_noticed_at_the_next_start(house: House) -> None:
    house.write("a")
    await house.look()
    (house.path / "a.yaml").unlink()
    restarted = Directory(house.path, "directory:test", house.directory.backend)
    await restarted.compare(100.0)
    await restarted.compare(100.0 + ABSENT_FOR)
    assert [name for name, *_ in house.deletions()] == ["a"]


@pytest.mark.parametrize(
    "what",
    [
        *("a file that does not parse", "a file that is no text", "a directory that is gone", "a document made invalid"),
        *("a name mistyped", "a name that is none", "an empty file"),
    ],
)
async def test_what_cannot_be_read_deletes_nothing(house: House, what: str) -> None:
    house.write("a")
    await house.look()
    match what:
        case "a file that does not parse":
            house.write("a", text="kind: [")
        case "a file that is no text":
            (house.path / "a.yaml").write_bytes(b"\xff\xfe\x00")
        case "a directory that is gone":
            (house.path / "a.yaml").unlink()
            house.path.rmdir()
        case "a name mistyped":
            house.write("a", text=(MANIFEST % ("a", "a", 0)).replace("name: a", "nmae: a"))
        case "a name that is none":
            house.write("a", text=(MANIFEST % ("a", "a", 0)).replace("name: a", "name: A"))
        case "an empty file":
            house.write("a", text=" ")
        case _:
            house.write("a", text=(MANIFEST % ("a", "a", 0)).replace("helm", "git"))
    await house.look()
    await house.look(later=60.0)
    assert (house.deletions(), house.scheduled()) == ([], ["a"])
    assert len(house.problems()) == 1


async def test_a_document_in_doubt_keeps_no_other_files_repository(house: House) -> None:
    house.write("a")
    house.write("b")
    await house.look()
    house.write("b", text=(MANIFEST % ("b", "b", 0)).replace("name: b", "nmae: b"))
    (house.path / "a.yaml").unlink()
    await house.look()
    await house.look(later=ABSENT_FOR)
    assert ([name for name, *_ in house.deletions()], house.scheduled()) == (["a"], ["b"])


async def test_a_secret_of_the_wrong_shape_stops_nothing(house: House) -> None:
    house.write("b")
    house.write("secret", text="kind: Secret\nmetadata: {name: s}\nstringData: [token]\n")
    reference = "auth: {header: {secretKeyRef: {name: s, key: token}}}, interval"
    house.write("a", text=(MANIFEST % ("a", "a", 0)).replace("interval", reference))
    await house.look()
    assert house.scheduled() == ["a", "b"]


async def test_an_invalid_document_is_said_with_file_and_line_and_stops_nothing_else(house: House) -> None:
    house.write("two", text=MANIFEST % ("good", "good", 0) + "---\n" + (MANIFEST % ("bad", "bad", 0)).replace("type: helm", "\n  type: 7"))
    house.write("worse", text="kind: AppRepository\nmetadata: [\n")
    await house.look()
    assert house.scheduled() == ["good"]
    [(file, line, name, message), (other, *_)] = house.problems()
    assert (file, line, name, other) == ("two.yaml", 10, "bad", "worse.yaml")
    assert "spec.type" in str(message)


async def test_a_password_in_the_url_is_refused_and_stands_nowhere(house: House, database: Database) -> None:
    house.write("a", text=(MANIFEST % ("a", "a", 0)).replace("http://", "http://user:canary@"))
    await house.look()
    [(_, line, _, message)] = house.problems()
    assert (line, "Secret" in str(message), "canary" in str(message)) == (4, True, False)
    assert house.scheduled() == []


async def test_a_rotated_secret_is_a_change_and_its_value_stands_in_no_row(house: House, database: Database) -> None:
    secret = "kind: Secret\napiVersion: v1\nmetadata: {name: s, namespace: default}\nstringData: {token: Bearer canary-%d}\n"
    reference = "\n  auth: {header: {secretKeyRef: {name: s, key: token}}}\n"
    text = (MANIFEST % ("a", "a", 0)).replace("spec: {", "spec:\n  {").replace("}\n", "}\n")
    text = f"apiVersion: kubeapps.com/v1alpha1\nkind: AppRepository\nmetadata: {{name: a}}\nspec:\n  type: helm\n  url: http://x.example{reference}"
    house.write("a", text=text)
    await house.look()
    house.requested()
    house.write("secret", text=secret % 1)
    await house.look()
    assert house.requested() == ["a"]
    house.write("secret", text=secret % 2)
    await house.look()
    assert house.requested() == ["a"]
    assert "canary" not in str(database.rows("select to_jsonb(s) from chartfleet.schedules s"))
    assert "--option=auth-secret=s/token" in str(database.rows("select argv from chartfleet.schedules"))


async def test_the_same_name_from_a_second_source_is_refused(house: House, tmp_path: Path) -> None:
    house.write("a")
    await house.look()
    other = tmp_path / "other"
    other.mkdir()
    (other / "a.yaml").write_text(MANIFEST % ("a", "elsewhere", 0))
    await Directory(other, "directory:other", house.directory.backend).compare(0.0)
    assert "belongs to another source" in str(house.problems())
    assert house.database.rows("select url from chartfleet.repositories") == [("http://charts.example.com/a",)]


async def test_a_type_that_is_not_synced_yet_is_the_workers_to_refuse_and_a_wrong_interval_is_said(
    house: House, database: Database
) -> None:
    house.write("oci", text=(MANIFEST % ("oci", "oci", 0)).replace("type: helm", "type: oci"))
    house.write("odd", text=(MANIFEST % ("odd", "odd", 0)).replace("1h", "1d"))
    await house.look()
    rows = database.rows("""
        select r.name, s.problem_reason, s.next_due_at is null from chartfleet.schedules s
        join chartfleet.repositories r on r.id = s.repository_id order by 1""")
    assert rows == [("oci", None, False), ("odd", "InvalidSchedule", False)]
    assert house.requested() == ["oci", "odd"]
