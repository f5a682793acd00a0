"""python -m controller: resources of a cluster or manifests of a directory → CronJobs and Jobs, or the Celery fleet. The wiring."""

import asyncio
import logging
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import click
import structlog

from catalog.errors import CatalogError
from catalog.telemetry import set_up_logging
from controller.backends import Backend
from controller.backends.kubernetes import KubernetesBackend
from controller.cluster import Cluster, configured
from controller.flags import JobSettings, job_settings, kubernetes_options
from controller.health import serve_health
from controller.metrics import Metrics, Standings
from controller.operator import Operator, scopes
from controller.reconcile import Reconciler
from controller.seen import Seen
from controller.settings import Settings

log = structlog.get_logger()
SOURCE = "kubernetes"  # whose the resources of a cluster are
# Of Python's recursion: the API server lets a resource be nested 10,000 deep, and one that cannot be read would hide all others.
DEEPEST = 50_000
DROP_IN = "apprepository-controller"  # started under this name, everything is as Kubeapps has it


@dataclass(frozen=True, slots=True)
class Wanted:
    """Where resources come from, and who runs the jobs: the fleet behind `database_url`, or the cluster where that is None."""

    directory: Path | None
    source: str
    kubernetes: bool
    database_url: str | None
    jobs: JobSettings


async def control(wanted: Wanted) -> None:
    """Follow the sources until told to stop."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    seen = Seen(wanted.jobs.namespace)
    async with cluster_of(wanted) as cluster, backend_of(wanted, cluster, seen) as backend, asyncio.TaskGroup() as group:
        if wanted.kubernetes and cluster:
            group.create_task(follow_cluster(wanted, cluster, seen, backend, stop))
        if wanted.directory:
            from controller.directory import Directory  # noqa: PLC0415 - brings SQLAlchemy, 30 MB that a cluster's controller does without

            group.create_task(Directory(wanted.directory, wanted.source, backend).follow(stop))


@asynccontextmanager
async def cluster_of(wanted: Wanted) -> AsyncGenerator[Cluster | None]:
    cluster = Cluster(configured(wanted.jobs.kubeconfig, wanted.jobs.apiserver)) if wanted.kubernetes or not wanted.database_url else None
    yield cluster
    if cluster:
        await cluster.close()


@asynccontextmanager
async def backend_of(wanted: Wanted, cluster: Cluster | None, seen: Seen) -> AsyncGenerator[Backend]:
    if wanted.database_url:
        from catalog.engine import pooled_engine  # noqa: PLC0415 - the same
        from controller.backends.celery import CeleryBackend  # noqa: PLC0415

        engine = pooled_engine(wanted.database_url, "chartfleet_writer", "controller", size=2)
        yield CeleryBackend(engine)
        await engine.dispose()
    elif cluster:
        yield KubernetesBackend(cluster, seen, wanted.jobs)


async def follow_cluster(wanted: Wanted, cluster: Cluster, seen: Seen, backend: Backend, stop: asyncio.Event) -> None:
    """Watch the cluster's resources."""
    jobs, metrics = wanted.jobs, Metrics()
    timeout = jobs.cleanup_timeout.total_seconds() if jobs.cleanup_timeout else 0.0
    reconciler = Reconciler(cluster, seen, backend, SOURCE, timeout)
    watched = scopes(jobs, runs_jobs=wanted.database_url is None)
    operator = Operator(cluster, seen, reconciler, watched, metrics, jobs.workers, stopping=stop)
    metrics.registry.register(Standings(seen, operator.queue))
    async with asyncio.TaskGroup() as group:
        if jobs.health_port:
            group.create_task(serve_health(jobs.health_port, operator.compared.is_set, metrics.registry, stop))
        group.create_task(operator.run())


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--directory", type=click.Path(path_type=Path), help="Directory of AppRepository manifests (or CHARTFLEET_DIRECTORY).")
@click.option("--kubernetes", is_flag=True, help="Watch the AppRepositories of a cluster.")
@click.option("--backend", type=click.Choice(["celery", "kubernetes"]), help="Who runs the jobs; kubernetes with --kubernetes.")
@click.option("--drop-in", is_flag=True, help="As Kubeapps' controller, whose name does the same.")
@kubernetes_options
def main(directory: Path | None, kubernetes: bool, backend: Literal["celery", "kubernetes"] | None, drop_in: bool, **flags: Any) -> None:
    """Turn AppRepositories into scheduled syncs."""
    set_up_logging("controller")
    sys.setrecursionlimit(DEEPEST)
    logging.getLogger("kopf").setLevel(logging.ERROR)
    drop_in = drop_in or Path(sys.argv[0]).name == DROP_IN
    jobs = job_settings(flags, drop_in=drop_in)
    for warning in jobs.warnings:
        log.warning(warning, action="ignore")
    try:
        asyncio.run(control(wanted(Settings.from_env(), directory, kubernetes or drop_in, backend, jobs)))
    except CatalogError as error:
        raise click.UsageError(str(error)) from None
    except ExceptionGroup as group:
        known = group.subgroup(CatalogError)
        if known is None:
            raise
        raise click.UsageError(str(first_of(known))) from None


def first_of(error: Exception) -> Exception:
    """The first error itself of groups in groups."""
    return first_of(error.exceptions[0]) if isinstance(error, ExceptionGroup) else error


def wanted(
    settings: Settings, directory: Path | None, kubernetes: bool, backend: Literal["celery", "kubernetes"] | None, jobs: JobSettings
) -> Wanted:
    """What flags and environment say together. Raises click's UsageError for what is missing."""
    directory = directory or settings.directory
    if not kubernetes and directory is None:
        raise click.UsageError("give --kubernetes, or --directory (or CHARTFLEET_DIRECTORY)")
    url = None
    if (backend or ("kubernetes" if kubernetes else "celery")) == "celery":
        if not settings.database_url:
            raise click.UsageError("set CHARTFLEET_DATABASE_URL")
        url = settings.database_url
    directory = directory and directory.absolute()
    return Wanted(directory, settings.source or f"directory:{directory}", kubernetes, url, jobs)


if __name__ == "__main__":
    sys.exit(main())
