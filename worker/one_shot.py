"""The life of a Pod: one job, its JSON on standard output, its summary as the termination message."""

import asyncio
import json
import signal
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from catalog import tick
from catalog.errors import CatalogError, Interrupted, InvalidJob, RemovalsHeld, StoreUnavailable
from catalog.jobs import Command, FetchFiles, SyncRepository, from_argv, words_and_flags
from catalog.report import FIRST_NOTES, Held, Summary, revision_of
from catalog.tick import Standing
from worker.process import Worker
from worker.run import Outcome, answering, run, verb
from worker.schema import ready_worker
from worker.settings import Settings

PERMANENT, USAGE_ERROR, TRANSIENT = 1, 2, 75  # exit codes; 75 is EX_TEMPFAIL: trying again may help


async def one_shot(argv: Sequence[str], options: str, log: Path) -> int:
    """Do the job of an argv and of the words in `options`; the exit code. Raises CatalogError, once the message in `log` says so."""
    begun = Summary("", "", "failed", started_at=datetime.now(UTC))
    await _stop_when_told()
    try:
        words, flags = words_and_flags(argv)
        if words == ["invalidate-cache"]:
            begun = replace(begun, job=words[0])
            return await invalidate_cache(Settings.from_env({name: values[-1] for name, values in flags.items()}), begun, log)
        command = from_argv(argv, options)
        begun = replace(begun, job=verb(command.job), repository=str(command.job.key))
        return await work(command, Settings.from_env(command.flags), begun, log)
    except (CatalogError, asyncio.CancelledError) as caught:
        error = caught if isinstance(caught, CatalogError) else Interrupted("the job was told to stop before it began")
        await tell(log, of_error(begun, error))
        raise error from None


async def work(command: Command, settings: Settings, begun: Summary, log: Path) -> int:
    """Do one job and tell of it; a sync is followed by the file work that it left."""
    async with answering():
        worker = await ready_worker(settings)
    try:
        outcome = await run(worker, command.job)
        standing = await _standing(worker, command.job) if isinstance(command.job, SyncRepository) else None
        await tell(log, of_run(begun, outcome, standing))
        if isinstance(command.job, SyncRepository) and standing and standing.stored.files_due and is_published(outcome):
            await run(worker, FetchFiles(command.job.repository, command.job.incarnation))
        with suppress(StoreUnavailable):  # which the next job does as well
            await _forget_old_runs(worker)
    finally:
        await worker.close()
    print(json.dumps(outcome.document()))
    return exit_code(outcome.error) if outcome.state == "failed" else 0


async def invalidate_cache(settings: Settings, begun: Summary, log: Path) -> int:
    """Let the next sync of every repository of the database read everything again."""
    async with answering():
        worker = await ready_worker(settings)
    try:
        from catalog import store  # noqa: PLC0415 - brings SQLAlchemy, which an unchanged run does without

        async with answering(), worker.transaction() as connection:
            repositories = await store.forget_listings(connection)
    finally:
        await worker.close()
    await tell(log, replace(begun, state="done", result="changed" if repositories else "unchanged"))
    print(json.dumps({"job": begun.job, "state": "done", "repositories": repositories}))
    return 0


async def _stop_when_told() -> None:
    """A Pod that is deleted gets SIGTERM: the job is cancelled, and says so."""
    task = asyncio.current_task()
    assert task
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)


async def _standing(worker: Worker, job: SyncRepository) -> Standing | None:
    async with answering():
        connection = await worker.connected()
        async with connection.transaction():
            return await tick.standing(connection, job.key)


async def _forget_old_runs(worker: Worker) -> None:
    """What a scheduler does where there is one."""
    async with answering():
        async with worker.connection.transaction():
            due = await tick.claim_chore(worker.connection, "runs")
        if due:
            from catalog import runs  # noqa: PLC0415 - as above

            async with worker.transaction() as connection:
                await runs.forget_old_runs(connection)


async def tell(log: Path, summary: Summary) -> None:
    """Write the termination message, where there is a place for one."""
    message = replace(summary, finished_at=datetime.now(UTC)).message()
    with suppress(OSError):  # what cannot be told is no reason to fail
        if log.is_file():
            log.write_text(message)


def is_published(outcome: Outcome) -> bool:
    """Whether a sync's listing stands, if without its removals."""
    return outcome.state == "done" or isinstance(outcome.error, RemovalsHeld)


def exit_code(error: CatalogError | None) -> int:
    """What a process that failed leaves with."""
    if error and error.transient:
        return TRANSIENT
    return USAGE_ERROR if isinstance(error, InvalidJob) else PERMANENT


def of_run(begun: Summary, outcome: Outcome, standing: Standing | None) -> Summary:
    """A run's summary, with how its repository stands after it."""
    report, summary = outcome.report, begun if standing is None else _of_standing(begun, standing)
    notes = {} if report.notes is None else {"notes": report.notes_total, "first_notes": tuple(map(str, report.notes[:FIRST_NOTES]))}
    summary = replace(
        summary,
        run=outcome.run,
        state=outcome.state,
        result=report.result if outcome.state == "done" else None,
        added=report.added,
        changed=report.changed,
        removed=report.removed,
        **notes,
    )
    return of_error(summary, outcome.error) if outcome.error else summary


def of_error(summary: Summary, error: CatalogError) -> Summary:
    return replace(summary, error_class=error.reason, error=str(error), transient=error.transient)


def _of_standing(summary: Summary, standing: Standing) -> Summary:
    stored, held = standing.stored, standing.held
    return replace(
        summary,
        charts=stored.charts,
        versions=stored.versions,
        notes=standing.notes_total,
        first_notes=tuple(map(str, standing.notes)),
        revision=revision_of(stored.body_sha256),
        held=Held(held.reason, held.removals) if held else None,
    )
