"""Shelves: the newest word on each object counts, in whatever order the words arrive."""

from typing import Any

import pytest

from catalog.model import RepositoryKey
from controller.manifests import REPOSITORY
from controller.seen import NAME_LABEL, NAMESPACE_LABEL, Seen

KEY = RepositoryKey("team", "a")
TENANT = RepositoryKey("tenant", "a")
LABELS = {NAME_LABEL: "a", NAMESPACE_LABEL: "tenant"}


def job(name: str = "j", version: int = 1, whose: str = "team/a", created: str = "2026-01-01T00:00:00Z") -> dict[str, Any]:
    annotations = {REPOSITORY: whose} if whose else {}
    metadata = {
        "name": name,
        "namespace": "home",
        "resourceVersion": str(version),
        "annotations": annotations,
        "creationTimestamp": created,
    }
    return {"metadata": metadata, "spec": {"template": {"big": "thing"}}, "status": {}}


def test_what_is_put_belongs_to_its_repository_and_an_older_word_is_no_news() -> None:
    shelf = Seen("home").jobs
    assert shelf.put(job(version=5)) == KEY
    assert shelf.put(job(version=5)) is None
    assert shelf.put(job(version=4)) is None
    assert [each["metadata"]["resourceVersion"] for each in shelf.of(KEY)] == ["5"]


def test_a_late_word_of_a_deletion_takes_no_newer_object_away() -> None:
    shelf = Seen("home").jobs
    shelf.put(job(version=7))
    assert shelf.gone(job(version=6)) is None
    assert len(shelf.of(KEY)) == 1
    assert shelf.gone(job(version=8)) == KEY
    assert shelf.of(KEY) == []
    assert shelf.gone(job(version=9)) is None


def test_a_listing_drops_what_it_lacks_unless_that_is_newer() -> None:
    shelf = Seen("home").jobs
    for name, version in (("old", 1), ("new", 9)):
        shelf.put(job(name, version))
    assert shelf.replace([job("listed", 3, "team/b")], 5, "home") == {KEY, RepositoryKey("team", "b")}
    assert sorted(name for _, name in shelf.objects) == ["listed", "new"]


def test_a_listing_of_a_namespace_leaves_the_others_alone() -> None:
    shelf = Seen("home").jobs
    shelf.put(job())
    assert shelf.replace([], 5, "elsewhere") == set()
    assert len(shelf.of(KEY)) == 1


def test_an_object_that_changes_hands_leaves_its_former_owner() -> None:
    shelf = Seen("home").jobs
    shelf.put(job(version=1))
    assert shelf.put(job(version=2, whose="team/b")) == RepositoryKey("team", "b")
    assert shelf.of(KEY) == []


def test_kubeapps_labels_name_the_repository_where_our_annotation_is_not() -> None:
    labelled = job(whose="")
    labelled["metadata"]["labels"] = {NAMESPACE_LABEL: "team", NAME_LABEL: "a"}
    assert Seen("home").cron_jobs.put(labelled) == KEY
    assert Seen("home").cron_jobs.put(job(whose="")) is None


def test_a_repositorys_objects_come_oldest_first() -> None:
    shelf = Seen("home").jobs
    for name, created in (("c", "2026-01-02T00:00:00Z"), ("b", "2026-01-01T00:00:00Z"), ("a", "2026-01-02T00:00:00Z")):
        shelf.put(job(name, created=created))
    assert [each["metadata"]["name"] for each in shelf.of(KEY)] == ["b", "a", "c"]


def test_of_a_secret_only_its_version_and_the_names_of_its_keys_are_kept() -> None:
    seen = Seen("home")
    seen.secrets.put({"metadata": {"name": "s", "namespace": "home", "resourceVersion": "3"}, "data": {"token": "canary"}})
    kept = seen.secrets.objects["home", "s"]
    assert kept["keys"] == {"token"}
    assert "canary" not in str(kept)


def test_of_a_job_its_template_is_not_kept() -> None:
    seen = Seen("home")
    seen.jobs.put(job())
    assert "big" not in str(seen.jobs.objects)


@pytest.mark.parametrize(("namespace", "believed"), [("home", True), ("tenant", True), ("other", False)])
@pytest.mark.parametrize("says", [{"annotations": {"chartfleet.dev/repository": "tenant/a"}}, {"labels": LABELS}])
def test_a_job_is_a_repository_s_where_its_jobs_run_and_nowhere_else(namespace: str, believed: bool, says: dict[str, object]) -> None:
    seen = Seen("home")
    for shelf in (seen.jobs, seen.cron_jobs):
        concerns = shelf.put({"metadata": {"namespace": namespace, "name": "x", "resourceVersion": "1", **says}})
        assert (concerns, len(shelf.of(TENANT))) == ((TENANT, 1) if believed else (None, 0))
        shelf.drop((namespace, "x"))
        assert not shelf.objects
