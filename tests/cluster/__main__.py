"""python -m tests.cluster: run a cluster by hand; keep one for a test run."""

import argparse
import signal
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path

from tests.cluster import node
from tests.cluster.build import build, locked
from tests.cluster.cluster import Cluster
from tests.cluster.sharing import end, keep


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.cluster", description="A Kubernetes on 127.0.0.1 for tests.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (("run", "run a cluster until Ctrl-C"), ("keep", "run a test run's cluster until nobody uses it")):
        command = commands.add_parser(name, help=text)
        command.add_argument("--node", action="store_true", help="run Pods too: as root, with containerd and runc")
        command.add_argument("directory", type=Path, help="where everything of the cluster is, absent or empty")
    options = parser.parse_args()
    if options.node and (lack := node.unable() or node.missing()):
        parser.error(f"--node needs {lack}: {node.PACKAGES}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    # All clusters' Pods share their addresses.
    alone = locked(Path(tempfile.gettempdir()) / "devcluster-node.lock") if options.node else nullcontext()
    with alone:
        (keep if options.command == "keep" else run)(options.directory.resolve(), options.node)


def run(directory: Path, with_node: bool) -> None:
    build()
    cluster = Cluster(directory, with_node)
    try:
        cluster.start()
        print(f"export KUBECONFIG={cluster.kubeconfig('admin')}", flush=True)
        signal.pause()
    except KeyboardInterrupt:
        pass
    finally:
        end(cluster)


if __name__ == "__main__":
    main()
