"""Real repositories, each served on 127.0.0.1 and synced once by our worker into one database, for all tests here to look at."""

import asyncio
import gzip
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field

import pytest

from catalog.jobs import FetchFiles, SyncRepository
from catalog.model import Repository, RepositoryKey
from catalog.options import Limits
from tests.conformance.collection import Input, inputs
from tests.conftest import SHARED, Database
from tests.fakes.helm_repo import HelmRepo, serving
from tests.integration.conftest import repo, syncer, worker
from worker.addresses import parse
from worker.process import Worker
from worker.run import Outcome, run
from worker.settings import Settings

__all__ = ["repo", "syncer", "worker"]


@dataclass
class Catalogue:
    """What became of each input: how its sync ended, and where it is served."""

    database: Database
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    urls: dict[str, str] = field(default_factory=dict)


@pytest.fixture(scope="session")
def catalogue(new_database: Callable[[], Database]) -> Iterator[Catalogue]:
    if not (SHARED / "data").is_dir():
        pytest.skip("the collection of real repositories is not beside this checkout")
    synced = Catalogue(new_database())
    with ExitStack() as servers:
        asyncio.run(sync_all(synced, servers))
        yield synced


async def sync_all(synced: Catalogue, servers: ExitStack) -> None:
    worker = await Worker.open(Settings(database_url=synced.database.writer, limits=Limits(timeout=5), allow_addresses=parse("loopback")))
    for each in inputs():
        served = servers.enter_context(serving(as_served(each)))
        served.index = served.index.replace(each.prefix.encode(), f"{served.url}/".encode()) if each.prefix else served.index
        repository = Repository(RepositoryKey("kubeapps", each.name), "helm", served.url)
        synced.urls[each.name] = served.url
        synced.outcomes[each.name] = await run(worker, SyncRepository(repository))
        if each.files:
            assert (await run(worker, FetchFiles(repository))).state == "done"
    await worker.close()


def as_served(each: Input) -> HelmRepo:
    data = each.index.read_bytes()
    archives = {path.name: path.read_bytes() for path in each.index.parent.rglob("*.tgz")} if each.files else {}
    return HelmRepo(gzip.decompress(data) if each.index.suffix == ".gz" else data, archives)
