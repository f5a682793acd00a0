"""What every backend owes the plan: applying twice is applying once, a request is one sync, a removal drops before it cleans up."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from lightkube.config.kubeconfig import KubeConfig

from catalog.engine import pooled_engine
from catalog.jobs import CleanUpRepository
from catalog.model import Repository, RepositoryKey
from catalog.schedule import Every
from controller.backends import Backend
from controller.backends.celery import CeleryBackend
from controller.backends.kubernetes import KubernetesBackend
from controller.cluster import Cluster
from controller.desired import Desired
from controller.flags import JobSettings
from controller.plan import EnsureSchedule, Remove, RunNow, plan
from controller.seen import Seen
from tests.cluster.kube import Kube
from tests.conftest import Database


@dataclass(frozen=True)
class World:
    """A backend, a repository that asks for something, and what can be seen of it from outside."""

    backend: Backend
    wanted: Desired
    database: Database | None = None
    kube: Kube | None = None

    @property
    def key(self) -> RepositoryKey:
        return self.wanted.key

    def schedules(self) -> int:
        if self.database:
            return len(self.database.rows("select 1 from chartfleet.schedules"))
        return len([each for each in self._all("cronjobs") if not each["spec"]["suspend"]])

    def asked(self) -> int:
        """Syncs that were asked for."""
        if self.database:
            return len(self.database.rows("select 1 from chartfleet.schedules where requested_at is not null"))
        return len([each for each in self._all("jobs") if "-sync-" in each["metadata"]["name"]])

    def clean_ups(self) -> list[Any]:
        """The words of each clean-up that was asked for."""
        if self.database:
            return [argv for (argv,) in self.database.rows("select argv from chartfleet.sync_runs where job = 'delete'")]
        jobs = [each for each in self._all("jobs") if "-cleanup-" in each["metadata"]["name"]]
        return [each["spec"]["template"]["spec"]["containers"][0]["args"] for each in jobs]

    def _all(self, kind: str) -> list[dict[str, Any]]:
        assert self.kube
        return self.kube.all(kind, self.key.namespace)


def desired(namespace: str) -> Desired:
    return Desired(
        Repository(RepositoryKey(namespace, "a"), "helm", "http://x"), Every(timedelta(hours=1)), "f1", "l1", "test", interval="1h"
    )


@pytest.fixture(params=["celery", "kubernetes"])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    if request.param == "celery":
        database: Database = request.getfixturevalue("database")
        engine = pooled_engine(database.writer, "chartfleet_writer", "test")
        yield World(CeleryBackend(engine), desired("default"), database=database)
        await engine.dispose()
        return
    kube: Kube = request.getfixturevalue("cluster")
    namespace: str = request.getfixturevalue("namespace")
    config = KubeConfig.from_file(str(Path(kube.kubeconfig))).get()
    assert config
    client = Cluster(config)
    yield World(KubernetesBackend(client, Seen(namespace), JobSettings(namespace=namespace)), desired(namespace), kube=kube)
    await client.close()


async def apply(world: World, wanted: Desired) -> None:
    """As a source does it: look, plan, apply."""
    stands = (await world.backend.applied("test")).get(wanted.key)
    await world.backend.apply(plan(wanted, stands, world.backend.mark(wanted), "i"))


async def test_what_was_applied_needs_nothing_more(world: World) -> None:
    await apply(world, world.wanted)
    stands = await world.backend.applied("test")
    assert plan(world.wanted, stands[world.key], world.backend.mark(world.wanted), "other") == ()
    assert await world.backend.owner(world.key) == "test"
    assert await world.backend.applied("another source") == {}
    assert (world.schedules(), world.asked()) == (1, 1)


async def test_applying_twice_is_applying_once(world: World) -> None:
    for _ in range(2):
        await world.backend.apply((EnsureSchedule(world.wanted, "i"), RunNow(world.wanted)))
    assert (world.schedules(), world.asked()) == (1, 1)


async def test_a_changed_schedule_is_applied_and_syncs_nothing(world: World) -> None:
    await apply(world, world.wanted)
    later = replace(world.wanted, schedule=Every(timedelta(hours=2)), interval="2h", listing_fingerprint="l2")
    assert world.backend.mark(later) != world.backend.mark(world.wanted)
    await apply(world, later)
    stands = (await world.backend.applied("test"))[world.key]
    assert plan(later, stands, world.backend.mark(later), "other") == ()
    assert (world.schedules(), world.asked()) == (1, 1)


async def test_a_removal_drops_the_schedule_and_asks_for_one_clean_up(world: World) -> None:
    await apply(world, world.wanted)
    for _ in range(2):
        await world.backend.apply((Remove(CleanUpRepository(world.key, "i")),)) if await world.backend.applied("test") else None
    assert world.schedules() == 0
    [words] = world.clean_ups()
    assert words[:2] == ["delete", "a"]
    assert f"--namespace={world.key.namespace}" in words
