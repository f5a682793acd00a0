"""One cluster for all processes of a test run: the first that wants it starts a keeper, which stops it when its last user is gone.

A user is whoever holds the file `users` with a shared lock. The kernel takes that lock back with the process, so neither Ctrl-C nor
kill -9 leaves a cluster behind. The keeper waits until it may hold the lock alone.
"""

import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from fcntl import LOCK_EX, LOCK_SH, flock
from pathlib import Path

from cli import servers
from tests.cluster.build import locked
from tests.cluster.cluster import Cluster
from tests.conftest import ROOT

BULKY = ("etcd", "containerd", "kubelet")  # what of an ended cluster nobody reads


@contextmanager
def shared(directory: Path, *options: str) -> Iterator[Path]:
    """The directory of the run's cluster below `directory`, started unless it runs; `options` are those of `keep`. Raises ServerError."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (directory / "users").open("w") as users:
        flock(users, LOCK_SH)
        with locked(directory / "starting"):
            if not (directory / "running").exists():
                start_keeper(directory, options)
        yield directory / "running"


def start_keeper(directory: Path, options: Sequence[str]) -> None:
    # setsid: not our child, since others use it when we are gone, and Ctrl-C is not meant for it.
    argv = ["setsid", "--fork", sys.executable, "-m", "tests.cluster", "keep", *options, str(directory)]
    with (
        (directory / "keeper.log").open("ab") as log,
        subprocess.Popen(argv, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log) as begun,
    ):
        assert begun.stdout
        if begun.stdout.readline() != b"running\n":
            raise servers.ServerError(f"the tests' cluster did not start:\n{servers.tail(directory / 'keeper.log')}")


def keep(directory: Path, with_node: bool) -> None:
    """Run the cluster of `shared` until nobody uses it any more."""
    cluster = Cluster(directory / "running", with_node)
    try:
        cluster.start()
        with suppress(BrokenPipeError):
            print("running", flush=True)
        with (directory / "users").open("w") as users:
            flock(users, LOCK_EX)
            end(cluster)
            shutil.rmtree(directory / "ended", ignore_errors=True)
            (directory / "running").rename(directory / "ended")
    finally:
        end(cluster)


def end(cluster: Cluster) -> None:
    cluster.stop()
    for name in BULKY:
        shutil.rmtree(cluster.directory / name, ignore_errors=True)
