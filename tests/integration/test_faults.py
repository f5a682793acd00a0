"""What a remote does wrong, fault by fault, and what comes of it: docs/operations.md has the same table for people."""

import hashlib
import json
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from catalog.options import Limits
from tests.conftest import ROOT, SHARED, missing
from tests.fakes.helm_repo import archive, index
from tests.integration.conftest import Syncer
from worker.http import Http
from worker.run import Outcome

TOOL = SHARED / "tools/serve_repo.py"
DOCUMENTED = ROOT / "docs" / "operations.md"

# fault of the index → what the run says; None: it is done.
INDEX = {
    **dict.fromkeys(("400", "401", "403", "404", "410"), ("SourceRefused", False)),
    **dict.fromkeys(("429", "500", "502", "503", "504"), ("SourceUnavailable", True)),
    **dict.fromkeys(("truncate", "chunktrunc", "reset", "hang", "stall", "slow"), ("SourceUnavailable", True)),
    **dict.fromkeys(("corrupt", "badgzip", "badlength"), ("SourceUnavailable", True)),
    **dict.fromkeys(("empty", "html"), ("SourceMalformed", False)),
    "loop": ("SourceRefused", False),
    "redirect": None,
    "stale": None,
}
# fault of an archive → what its file work says; None: it was read. The run is done in any case.
ARCHIVE = {
    **dict.fromkeys(("403", "404", "410", "loop"), "SourceRefused"),
    **dict.fromkeys(("429", "500", "503", "truncate", "chunktrunc", "reset", "hang", "stall", "badlength"), "SourceUnavailable"),
    **dict.fromkeys(("empty", "html"), "SourceMalformed"),
    "redirect": None,
}


class Server:
    """../shared/tools/serve_repo.py on a directory of a test's own."""

    def __init__(self, url: str) -> None:
        self.url = url

    def fault(self, spec: str) -> None:
        """From now on this one alone."""
        self._post("faults", spec.encode())

    def touch(self) -> None:
        """New validators: the same bytes are sent again."""
        self._post("touch", b"")

    def _post(self, what: str, body: bytes) -> None:
        with urllib.request.urlopen(urllib.request.Request(f"{self.url}/_ctl/{what}", data=body, method="POST")):
            pass


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    if not TOOL.is_file():
        missing(str(TOOL.name), "the faulty server stands beside the project's own checkout")
    directory = tmp_path_factory.mktemp("repo")
    fill(directory)
    words = [sys.executable, str(TOOL), str(directory), "--max-seconds", "600"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        yield Server(json.loads(process.stdout.readline())["url"])
        process.terminate()


def fill(directory: Path) -> None:
    """A chart with its archive, and enough that is not small for a slow body to be seen."""
    packed = archive("a", README__md="# a")
    (directory / "a-1.0.0.tgz").write_bytes(packed)
    versions = [{"version": f"0.{n}.0", "digest": hashlib.sha256(bytes([n])).hexdigest()} for n in range(250)]
    digest = hashlib.sha256(packed).hexdigest()
    (directory / "index.yaml").write_bytes(index({"a": [{"version": "1.0.0", "digest": digest}], "b": versions}))


@pytest.fixture
async def faulty(syncer: Syncer, server: Server) -> Syncer:
    """A repository that was synced once without a fault, by a worker in a hurry."""
    server.fault("")
    worker = syncer.worker
    worker.settings = replace(worker.settings, limits=Limits(timeout=1, connect_timeout=2, min_bytes_per_second=5_000))
    await worker.http.close()
    worker.http = Http(worker.settings)
    syncer.job = replace(syncer.job, repository=replace(syncer.job.repository, url=server.url))
    assert (await syncer.sync()).report.versions == 251
    return syncer


@pytest.mark.parametrize("fault", INDEX)
async def test_a_fault_of_the_index_ends_as_documented_and_costs_no_chart(faulty: Syncer, server: Server, fault: str) -> None:
    before = faulty.visible()
    server.touch()
    server.fault(f"/index.yaml:{fault}" + (",first=1" if fault == "redirect" else ""))
    outcome = await faulty.sync()
    assert said(outcome) == INDEX[fault]
    assert faulty.visible() == before
    assert faulty.last_run()["state"] == outcome.state

    server.fault("")
    faulty.database.rows("delete from chartfleet.hosts")  # its time is over
    assert said(await faulty.sync()) is None
    assert faulty.visible() == before


@pytest.mark.parametrize("fault", ARCHIVE)
async def test_a_fault_of_an_archive_is_its_file_works_and_not_the_runs(faulty: Syncer, server: Server, fault: str) -> None:
    faulty.database.rows(
        "delete from chartfleet.file_work where version_id not in (select id from chartfleet.chart_versions where version = '1.0.0')"
    )
    server.fault(f"*.tgz:{fault}" + (",first=1" if fault == "redirect" else ""))
    outcome = await faulty.files()
    assert outcome.state == "done"
    assert [reason for (reason,) in faulty.database.rows("select error_class from chartfleet.file_work")] == [
        reason for reason in [ARCHIVE[fault]] if reason
    ]


async def test_a_sync_that_takes_too_long_is_ended_and_names_the_limit(faulty: Syncer, server: Server) -> None:
    server.fault("/index.yaml:hang")
    slow = replace(faulty.job.repository, options={"max-seconds": "1", "connect-timeout": "9"})
    faulty.worker.settings = replace(faulty.worker.settings, limits=Limits(timeout=9), bounds=Limits())
    outcome = await faulty.sync(repository=slow)
    assert said(outcome) == ("LimitExceeded", False)
    assert "CHARTFLEET_MAX_SECONDS" in str(outcome.error)
    server.fault("")
    assert said(await faulty.sync()) is None, "the connection serves on"


def test_every_fault_is_documented() -> None:
    table = DOCUMENTED.read_text().partition("## When a repository's server does something wrong")[2].partition("\n## ")[0]
    documented = {
        fault: reason
        for cells, reason in re.findall(r"^\| (.*?) \|.*?\| `?(\w+)`?", table, re.MULTILINE)
        for fault in re.findall(r"`(\w+)`", cells)
    }
    assert documented == {fault: expected[0] if expected else "done" for fault, expected in INDEX.items()}


def said(outcome: Outcome) -> tuple[str, bool] | None:
    return (outcome.error.reason, outcome.error.transient) if outcome.error else None
