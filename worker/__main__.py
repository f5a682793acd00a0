"""python -m worker: a job by Kubeapps' argv and out, or `serve` and `schedule` for the fleet."""

# ruff: noqa: E402 - two lines that halve a job's start stand before the imports
import gc
import sys

gc.disable()  # while modules are imported, of which nothing is ever freed
sys.modules["rich"] = None  # pyright: ignore[reportArgumentType] - structlog would import it for tracebacks that no job prints

import asyncio
import json
import os
from collections.abc import Sequence

from catalog.errors import CatalogError, RemovalsHeld
from catalog.jobs import Command, FetchFiles, SyncRepository, from_argv
from catalog.telemetry import set_up_logging
from worker.process import Worker
from worker.run import Outcome, run
from worker.settings import Settings

USAGE = """usage: python -m worker sync NAME URL TYPE --namespace NS [flags]
       python -m worker files NAME URL TYPE --namespace NS [flags]
       python -m worker delete NAME --namespace NS [flags]
       python -m worker serve [--concurrency N]
       python -m worker schedule
"""
PERMANENT, USAGE_ERROR, TRANSIENT = 1, 2, 75  # exit codes; 75 is EX_TEMPFAIL: trying again may help


async def work(command: Command, settings: Settings) -> Outcome:
    """Do one job; a sync is followed by the file work that it left."""
    worker = await Worker.open(settings)
    try:
        outcome = await run(worker, command.job)
        if isinstance(command.job, SyncRepository) and (outcome.state == "done" or isinstance(outcome.error, RemovalsHeld)):
            await _left_over(worker, command.job)
        return outcome
    finally:
        await worker.close()


async def _left_over(worker: Worker, job: SyncRepository) -> None:
    from catalog import tick  # noqa: PLC0415

    async with worker.connection.transaction():
        stored = await tick.find(worker.connection, job.key)
    if stored and stored.files_due:
        await run(worker, FetchFiles(job.repository, job.incarnation))


def exit_code(outcome: Outcome) -> int:
    if outcome.state != "failed" or outcome.error is None:
        return 0
    return TRANSIENT if outcome.error.transient else PERMANENT


def one_shot(argv: Sequence[str]) -> int:
    """The life of a Pod: its JSON goes to standard output and to the termination message."""
    command = from_argv(argv)
    settings = Settings.from_env(command.flags)
    outcome = asyncio.run(work(command, settings))
    text = json.dumps(outcome.document())
    print(text)
    if settings.termination_log.is_file():
        settings.termination_log.write_text(text[:4096])
    return exit_code(outcome)


def main(argv: Sequence[str]) -> int:
    gc.freeze()
    gc.enable()
    set_up_logging("worker")
    try:
        match argv:
            case []:
                sys.stderr.write(USAGE)
                return USAGE_ERROR
            case ["-h" | "--help" | "help", *_]:
                print(USAGE, end="")
                return 0
            case ["serve", *rest]:
                from worker.celery_app import serve  # noqa: PLC0415 - the fleet's imports are not a Pod's

                return serve(Settings.from_env({}), rest)
            case ["schedule"]:
                set_up_logging("scheduler")
                from worker.scheduler import main as schedule  # noqa: PLC0415

                return schedule(Settings.from_env({}))
            case _:
                return one_shot(argv)
    except CatalogError as error:
        print(f"{error.reason}: {error}", file=sys.stderr)
        return TRANSIENT if error.transient else USAGE_ERROR if error.reason == "InvalidJob" else PERMANENT


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # interpreter shutdown frees what the system frees anyway
