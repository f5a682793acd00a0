"""python -m bench: what a sync costs, on the index of k8s-at-home (4 MB, 206 charts, 4,095 versions).

Each job is measured twice: as a fresh process (`python -m worker sync …`, with everything that a Pod pays for) and inside a running worker,
which is the cost beyond process start. A CHECKPOINT before each run makes the WAL comparable. CPU is that of the job's processes with
children; PostgreSQL's is counted apart, over all of its processes. Memory is the peak of the summed PSS.
"""

import asyncio
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from rich.console import Console
from rich.table import Table

from catalog.jobs import FetchFiles, SyncRepository
from catalog.model import Repository, RepositoryKey
from cli import servers
from worker.process import Worker
from worker.run import run
from worker.settings import Settings

ROOT = Path(__file__).parents[1]
TOOLS, DATA = ROOT.parent / "shared/tools/bench", ROOT.parent / "shared/data"
KEY = RepositoryKey("default", "k8s-at-home")
PORT = 18777
TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Cost:
    """One run: seconds, MiB, counts, bytes."""

    wall: float
    cpu: float
    postgres: float
    memory: float
    requests: int
    received: int
    rows: dict[str, int]
    wal: int


class Bench:
    """The servers of a measurement, and the meters on them."""

    def __init__(self, postgres: servers.Child, url: str, server: str) -> None:
        self._postmaster, self.url, self.server = postgres.process.pid, url, server

    def measure(self, work: Callable[[], None], *, own: bool = False) -> Cost:
        """Run `work` and read the meters around it; `own`: it runs in this process, which is then not weighed."""
        self.sql("checkpoint")
        self.control("POST", "reset")
        before = (self.sql("select pg_current_wal_insert_lsn()"), self.rows(), self.postgres_cpu(), cpu(own=own), time.monotonic())
        with weighing(idle=own) as memory:
            work()
        wall, used = time.monotonic() - before[4], cpu(own=own) - before[3]
        postgres = self.postgres_cpu() - before[2]
        wal = self.sql(f"select pg_current_wal_insert_lsn() - '{before[0]}'")
        status = self.control("GET", "status")
        rows = {table: count - before[1].get(table, 0) for table, count in self.rows().items() if count != before[1].get(table, 0)}
        return Cost(
            wall, used, postgres, max(memory), status["counts"].get("requests", 0), sum(status["bytes"].values()), rows, int(str(wal))
        )

    def rows(self) -> dict[str, int]:
        """Rows inserted, updated and deleted so far, by table, once every backend has told."""
        time.sleep(1.2)  # PostgreSQL's backends tell their counters once a second
        query = "select relname, n_tup_ins + n_tup_upd + n_tup_del from pg_stat_user_tables where schemaname = 'chartfleet'"
        with psycopg.connect(self.url, autocommit=True) as connection:
            return dict(connection.execute(query).fetchall())

    def sql(self, statement: str) -> object:
        with psycopg.connect(self.url, autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall()[0][0] if cursor.description else None

    def control(self, method: str, what: str) -> dict[str, dict[str, int]]:
        request = urllib.request.Request(f"{self.server}/_ctl/{what}", method=method)
        with urllib.request.urlopen(request) as answer:
            return json.loads(answer.read() or b"{}") if method == "GET" else {}

    def postgres_cpu(self) -> float:
        """Seconds of all of PostgreSQL's processes, those that ended included."""
        pids = [self._postmaster, *map(int, Path(f"/proc/{self._postmaster}/task/{self._postmaster}/children").read_text().split())]
        stats = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids]
        return sum(int(stat[11]) + int(stat[12]) for stat in stats) / TICK + (int(stats[0][13]) + int(stats[0][14])) / TICK


def cpu(*, own: bool) -> float:
    """Seconds of the children that ended, and of this process if the work is its own."""
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_CHILDREN, *([resource.RUSAGE_SELF] if own else [])))


@contextmanager
def weighing(*, idle: bool) -> Iterator[list[float]]:
    """Sample the PSS of this process's children (a fresh job and its walk) every 5 ms, in MiB, unless that would be measured itself."""
    samples, over = [0.0], threading.Event()
    if idle:
        yield samples
        return

    def sample() -> None:
        while not over.wait(0.005):
            samples.append(sum(pss(pid) for pid in descendants(os.getpid())))

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield samples
    finally:
        over.set()
        thread.join()


def descendants(pid: int) -> list[int]:
    try:
        children = [int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()]
    except OSError:
        return []
    own = [child for child in children if b"postgres" not in name(child) and b"server.py" not in name(child)]
    return own + [each for child in own for each in descendants(child)]


def name(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def pss(pid: int) -> float:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in text.splitlines() if line.startswith("Pss:")), 0.0)


def fresh(bench: Bench) -> Callable[[], None]:
    """The job as a process of its own."""
    argv = servers.python("worker", "sync", KEY.name, bench.server, "helm", f"--namespace={KEY.namespace}")
    environment = {**os.environ, "CHARTFLEET_DATABASE_URL": bench.url.replace("//chartfleet@", "//chartfleet_writer@")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)

    def work() -> None:
        subprocess.run(argv, env=environment, cwd=ROOT, check=True, capture_output=True)

    return work


class Warm:
    """The job inside a running worker: this process, with its loop, connection and client."""

    def __init__(self, bench: Bench) -> None:
        self._loop = asyncio.new_event_loop()
        settings = Settings(database_url=bench.url.replace("//chartfleet@", "//chartfleet_writer@"))
        self._worker = self._loop.run_until_complete(Worker.open(settings))
        self._repository = Repository(KEY, "helm", bench.server)

    def sync(self) -> None:
        self._do(run(self._worker, SyncRepository(self._repository)))

    def files(self) -> None:
        self._do(run(self._worker, FetchFiles(self._repository)))

    def close(self) -> None:
        self._loop.run_until_complete(self._worker.close())
        self._loop.close()

    def _do(self, job: Awaitable[object]) -> None:
        self._loop.run_until_complete(self._told(job))

    async def _told(self, job: Awaitable[object]) -> None:
        await job
        async with self._worker.connection.transaction():
            await self._worker.connection.execute("select pg_stat_force_next_flush()")  # or its counters come ten seconds later


def measure_all(bench: Bench, added: Path) -> dict[str, Cost]:
    costs: dict[str, Cost] = {}
    fresh(bench)()  # compiles what is not compiled yet
    costs["unchanged, fresh process"] = bench.measure(fresh(bench))
    use(bench, added)
    costs["one added version, fresh process, with its archive"] = bench.measure(fresh(bench))
    wipe(bench)
    costs["first sync, fresh process, with the newest archives"] = bench.measure(fresh(bench))
    warm = Warm(bench)
    warm.sync()
    costs["unchanged, running worker"] = bench.measure(warm.sync, own=True)
    wipe(bench)
    costs["first sync, running worker, listing alone"] = bench.measure(warm.sync, own=True)
    costs["its 206 newest archives, running worker"] = bench.measure(warm.files, own=True)
    use(bench, added.with_name("two.yaml"))
    costs["one added version, running worker, listing alone"] = bench.measure(warm.sync, own=True)
    warm.close()
    return costs


def use(bench: Bench, index: Path) -> None:
    bench.control("POST", f"index?{index}")


def wipe(bench: Bench) -> None:
    bench.sql("delete from chartfleet.repositories")
    bench.sql("delete from chartfleet.blobs")
    bench.sql("vacuum full")


def show(costs: dict[str, Cost]) -> None:
    table = Table(title="k8s-at-home: 206 charts, 4,095 versions, 4.0 MB")
    for column in ("run", "wall s", "CPU s", "PostgreSQL CPU s", "peak MiB", "requests", "received", "rows", "WAL"):
        table.add_column(column, justify="left" if column in ("run", "rows") else "right")
    for run_name, cost in costs.items():
        rows = ", ".join(f"{table} {count:,}" for table, count in sorted(cost.rows.items()))
        memory = f"{cost.memory:.0f}" if "fresh" in run_name else ""
        numbers = (f"{cost.wall:.2f}", f"{cost.cpu:.3f}", f"{cost.postgres:.2f}", memory, f"{cost.requests:,}")
        table.add_row(run_name, *numbers, size(cost.received), rows, size(cost.wal))
    Console(width=200).print(table)


def size(number: int) -> str:
    return f"{number:,} B" if number < 10_000 else f"{number / 1000:,.0f} kB" if number < 10_000_000 else f"{number / 1e6:,.1f} MB"


def main() -> int:
    if not TOOLS.is_dir() or not DATA.is_dir():
        print("the real repositories and their server (../shared) are not beside this checkout: nothing is measured")
        return 0
    with tempfile.TemporaryDirectory(prefix="chartfleet-bench-") as directory:
        path = Path(directory)
        path.chmod(0o755)
        base, tool = f"http://127.0.0.1:{PORT}", [sys.executable, str(TOOLS / "index.py")]
        one, two, three = path / "index.yaml", path / "one.yaml", path / "two.yaml"
        subprocess.run([*tool, "localize", str(DATA / "k8s-at-home/index.yaml"), str(one), base], check=True)
        subprocess.run([*tool, "add", str(one), str(two), "plex", "99.0.0"], check=True)
        subprocess.run([*tool, "add", str(two), str(three), "plex", "99.1.0"], check=True)
        sockets = servers.socket_directory(path)
        postgres, url = servers.start_postgres(path, sockets)
        archive = DATA / "odd-archives/nginx-5.1.1-apiVersionV2.tgz"
        words = [sys.executable, str(TOOLS / "server.py"), "--port", str(PORT), "--index", str(one), "--archive", str(archive)]
        server = servers.spawn("server", words, path / "server.log")
        try:
            subprocess.run(servers.python("migrations"), env={**os.environ, "CHARTFLEET_DATABASE_URL": url}, cwd=ROOT, check=True)
            show(measure_all(Bench(postgres, url, base), two))
        finally:
            servers.stop([postgres, server])
            shutil.rmtree(sockets, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
