"""An unchanged tick in a real Pod: what Kubernetes, the Pod, PostgreSQL and the controller take for it together."""

import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean
from urllib.parse import parse_qs, urlsplit

from bench.controller import HOME, Stage, repository, seconds_until, stage
from bench.figures import Figure, Measured
from bench.ground import BenchFailed, Ground, Server, serving
from bench.meters import cpu
from tests.cluster import build, node
from tests.cluster.build import locked
from tests.cluster.kube import Document
from tests.fakes.helm_repo import index
from tests.fakes.relay import relayed
from tests.image import build as images

WORK = "unchanged tick in a real Pod"
VERSIONS: list[dict[str, object]] = [{"version": "1.0.0"}, {"version": "1.1.0"}]
INDEX = index({f"chart{number}": VERSIONS for number in range(24)})


def pod(ground: Ground, times: int = 10) -> Measured:
    """The mean of `times` ticks, one after the other. Nothing is measured where no Pod can run."""
    if lack := lacking():
        print(f"no Pod can run here: {lack}")
        return Measured([])
    alone = locked(Path(tempfile.gettempdir()) / "devcluster-node.lock")  # as tests/cluster/__main__.py has it
    with alone, serving(ground) as server, stage(ground, with_node=True) as staged, synced(ground, staged, server):
        idle, asleep = used_during(ground, staged, lambda: time.sleep(20.0))
        server.reset()
        walls = list[float]()
        used, took = used_during(ground, staged, lambda: walls.extend(tick(staged, number) for number in range(times)))
        body = sum(server.status()["bytes"].values())
    each = {name: (used[name] - idle[name] * took / asleep) / times for name in used}
    shares = ", ".join(f"{name} {seconds:.2f}" for name, seconds in each.items())
    return Measured(
        [
            Figure(WORK, "CPU of all there is, over that of an idle cluster", sum(each.values()), 0.65, "s", shares, "0.43 s"),
            Figure(WORK, "wall, from the Job to its end", fmean(walls), None, "s", kubeapps="3.1 s"),
            Figure(WORK, "body bytes", body, 0),
        ]
    )


def lacking() -> str | None:
    """What a node and the image need and this machine has not."""
    return node.unable() or node.missing() or images.missing() or (None if build.place().exists() else build.REMEDY)


@contextmanager
def synced(ground: Ground, staged: Stage, server: Server) -> Generator[None]:
    """A repository whose first sync has ended."""
    image, archive = images.build()
    node.load(staged.cluster.directory, image, archive)
    listing = ground.directory / "index.yaml"
    listing.write_bytes(INDEX)
    server.use(listing)
    url = urlsplit(ground.database)
    sockets = Path(parse_qs(url.query)["host"][0])
    secret = {"metadata": {"name": "login", "namespace": HOME}, "stringData": {"password": "any"}}
    staged.kube.create({"apiVersion": "v1", "kind": "Secret", **secret})
    with relayed(sockets / ".s.PGSQL.5432", node.HOST) as postgres, relayed(urlsplit(server.url).port or 0, node.HOST) as web:
        login = [f"--database-url={node.HOST}:{postgres}", f"--database-user={url.username}", f"--database-name={url.path[1:]}"]
        login += ["--database-secret-name=login", "--database-secret-key=password"]
        staged.start(f"--repo-sync-image={image}", "--repo-sync-cmd=/asset-syncer", *login)
        wanted = repository("demo", url=f"http://{node.HOST}:{web}")
        wanted["metadata"]["annotations"] = {"chartfleet.dev/files": "none"}
        staged.kube.create(wanted)
        seconds_until(lambda: ready(staged))
        if not ready(staged):
            raise BenchFailed(f"the first sync did not end well: {staged.kube.get('apprepositories', 'demo', HOME).get('status')}")
        staged.quiet()
        yield


def ready(staged: Stage) -> bool:
    conditions = staged.kube.get("apprepositories", "demo", HOME).get("status", {}).get("conditions", ())
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def tick(staged: Stage, number: int) -> float:
    """What `kubectl create job --from=cronjob/…` makes; the seconds until it has ended. Raises BenchFailed."""
    [cron_job] = staged.kube.all("cronjobs", HOME)
    template = cron_job["spec"]["jobTemplate"]
    metadata = {**template["metadata"], "name": f"tick-{number}", "namespace": HOME}
    staged.kube.create({"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": template["spec"]})
    seconds = seconds_until(lambda: ended(staged, number), pause=0.05)
    if ended(staged, number) != "Complete":
        raise BenchFailed(f"a tick did not end well: {staged.kube.get('jobs', f'tick-{number}', HOME)['status']}")
    return seconds


def ended(staged: Stage, number: int) -> str:
    status: Document = staged.kube.get("jobs", f"tick-{number}", HOME)["status"]
    return next((each["type"] for each in status.get("conditions", ()) if each["type"] in ("Complete", "Failed")), "")


def used_during(ground: Ground, staged: Stage, act: Callable[[], object]) -> tuple[dict[str, float], float]:
    """CPU seconds by part while something happens, and how long that took."""
    before, begun = spent(ground, staged), time.monotonic()
    act()
    after = spent(ground, staged)
    return {name: after[name] - before[name] for name in before}, time.monotonic() - begun


def spent(ground: Ground, staged: Stage) -> dict[str, float]:
    """CPU seconds so far: of the node with its Pods, of the rest of Kubernetes, of the controller, of PostgreSQL."""
    pids = {part.name: part.child.process.pid for part in staged.cluster.parts if part.child}
    plane = sum(cpu(pid) for name, pid in pids.items() if name != "node")
    controllers = sum(cpu(process.pid) for process in staged.processes)
    return {"node and Pod": cpu(pids["node"]), "control plane": plane, "controller": controllers, "PostgreSQL": cpu(ground.postmaster)}
