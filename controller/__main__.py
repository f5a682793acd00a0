"""python -m controller: resources of a cluster or manifests of a directory → CronJobs and Jobs, or the Celery fleet. The wiring."""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import click
import psycopg
import structlog
from sqlalchemy.exc import DBAPIError

from catalog.engine import pooled_engine
from catalog.errors import CatalogError, StoreUnavailable
from catalog.telemetry import set_up_logging
from controller.backends import CeleryBackend, KubernetesBackend
from controller.cluster import Cluster, configured
from controller.directory import Directory
from controller.flags import JobSettings, job_settings, kubernetes_options
from controller.health import serve_health
from controller.metrics import Metrics, Standings
from controller.operator import Operator, scopes
from controller.reconcile import Reconciler
from controller.seen import Seen
from controller.settings import Settings

log = structlog.get_logger()
SOURCE = "kubernetes"  # whose the resources of a cluster are
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
    seen = Seen()
    cluster = Cluster(configured(wanted.jobs.apiserver)) if wanted.kubernetes or not wanted.database_url else None
    async with backend_of(wanted, cluster, seen) as backend, asyncio.TaskGroup() as group:
        if wanted.kubernetes and cluster:
            group.create_task(follow_cluster(wanted.jobs, cluster, seen, backend, stop))
        if wanted.directory:
            group.create_task(follow_directory(Directory(wanted.directory, wanted.source, backend), stop))
    if cluster:
        await cluster.close()


@asynccontextmanager
async def backend_of(wanted: Wanted, cluster: Cluster | None, seen: Seen) -> AsyncGenerator[CeleryBackend | KubernetesBackend]:
    if wanted.database_url:
        engine = pooled_engine(wanted.database_url, "chartfleet_writer", "controller", size=2)
        yield CeleryBackend(engine)
        await engine.dispose()
    elif cluster:
        yield KubernetesBackend(cluster, seen, wanted.jobs)


async def follow_directory(source: Directory, stop: asyncio.Event) -> None:
    """Follow a directory; while PostgreSQL or the API server is away, wait."""
    while not stop.is_set():
        try:
            await source.follow(stop)
        except (CatalogError, DBAPIError, psycopg.OperationalError) as error:
            if not isinstance(error, StoreUnavailable | DBAPIError | psycopg.OperationalError) and not getattr(error, "transient", False):
                raise
            log.warning("what the jobs are kept in is away", action="wait", error=str(error).splitlines()[0])
            await asyncio.sleep(1)


async def follow_cluster(
    jobs: JobSettings, cluster: Cluster, seen: Seen, backend: CeleryBackend | KubernetesBackend, stop: asyncio.Event
) -> None:
    """Watch the cluster's resources."""
    metrics = Metrics()
    timeout = jobs.cleanup_timeout.total_seconds() if jobs.cleanup_timeout else 0.0
    reconciler = Reconciler(cluster, seen, backend, SOURCE, timeout)
    operator = Operator(
        cluster, seen, reconciler, scopes(jobs, isinstance(backend, KubernetesBackend)), metrics, jobs.workers, stopping=stop
    )
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
    logging.getLogger("kopf").setLevel(logging.ERROR)
    drop_in = drop_in or Path(sys.argv[0]).name == DROP_IN
    jobs = job_settings(flags, drop_in=drop_in)
    for warning in jobs.warnings:
        log.warning(warning, action="ignore")
    if jobs.kubeconfig:
        os.environ["KUBECONFIG"] = jobs.kubeconfig
    asyncio.run(control(wanted(Settings(), directory, kubernetes or drop_in, backend, jobs)))


def wanted(
    settings: Settings, directory: Path | None, kubernetes: bool, backend: Literal["celery", "kubernetes"] | None, jobs: JobSettings
) -> Wanted:
    """What flags and environment say together. Raises click's UsageError for what is missing."""
    directory = directory or settings.directory
    if not kubernetes and directory is None:
        raise click.UsageError("give --kubernetes, or --directory (or CHARTFLEET_DIRECTORY)")
    url = None
    if (backend or ("kubernetes" if kubernetes else "celery")) == "celery":
        if settings.database_url is None:
            raise click.UsageError("set CHARTFLEET_DATABASE_URL")
        url = settings.database_url.get_secret_value()
    directory = directory and directory.absolute()
    return Wanted(directory, settings.source or f"directory:{directory}", kubernetes, url, jobs)


if __name__ == "__main__":
    sys.exit(main())
