"""A repository's filter rule: jq judges each listed chart by its newest version, in a child (worker.judge), and it is shown or hidden."""

import asyncio
import json
import re
import signal
import sys
import tempfile
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from sqlalchemy.ext.asyncio import AsyncConnection

from catalog import filtering
from catalog.errors import InvalidRepository, LimitExceeded
from catalog.filtering import FAILED
from catalog.jobs import SyncRepository
from catalog.model import FilterRule
from catalog.report import MOST_NOTES, Note, Report
from worker.process import timed

MOST_CPU = 10  # seconds for all charts; 15,000 take a quarter of one
MOST_MEMORY = 512 * 1024 * 1024
EVERYTHING = FilterRule("true")  # what the absence of a rule means
VARIABLE = re.compile(r"\$[A-Za-z_][A-Za-z0-9_]*")


@dataclass(slots=True)
class Judgement:
    """Charts (id, name) in the order in which they are asked about, and of those answered so far whether the rule keeps them, by id."""

    charts: list[tuple[int, str]] = field(default_factory=list)
    verdicts: dict[int, bool] = field(default_factory=dict)
    notes: list[Note] = field(default_factory=list)
    failed: int = 0
    compiled: bool = False

    def add(self, answer: bool | str) -> None:
        """The next chart's verdict. An answer that is neither true nor false excludes the chart, and is a note."""
        id_, name = self.charts[len(self.verdicts)]
        self.verdicts[id_] = answer is True
        if isinstance(answer, str):
            self.failed += 1
            if self.failed <= MOST_NOTES:
                self.notes.append(Note(name, "", FAILED, answer))


async def judge_charts(
    connection: AsyncConnection, job: SyncRepository, repository: int, names: Sequence[str] | None, report: Report
) -> Judgement:
    """What the job's rule says of the listed charts among `names`, or of all (None), by their stored rows. Its errors are notes.

    It may take seconds: the ledger's lock is taken later. Raises InvalidRepository for a rule that is none, LimitExceeded for one that its
    process died of.
    """
    last = await filtering.last_notes(connection, repository)
    if names is not None:  # a note stands until its chart is judged otherwise
        names = [*names, *(note.chart for note in last if note.reason == FAILED)]
    async with timed(report, "filter"):
        judgement = await _judge(connection, repository, job.repository.filter or EVERYTHING, names)
    if report.notes is None:  # no listing was read, so what was said of the last one still holds
        report.notes = [note for note in last if note.reason != FAILED]
        report.notes_total = len(report.notes)
    report.notes = [*judgement.notes, *report.notes][:MOST_NOTES]
    report.notes_total = (report.notes_total or 0) + judgement.failed
    return judgement


async def _judge(connection: AsyncConnection, repository: int, rule: FilterRule, names: Sequence[str] | None) -> Judgement:
    """The documents go through an unlinked file, so that no number of them is in memory."""
    judgement = Judgement()
    with tempfile.TemporaryFile() as questions:
        questions.write(question(rule))
        async for id_, name, document in filtering.judged_charts(connection, repository, names):
            judgement.charts.append((id_, name))
            questions.write(document.encode() + b"\n")
        questions.seek(0)
        if judgement.charts or names is None:
            await _ask(questions, judgement)
    return judgement


def question(rule: FilterRule) -> bytes:
    """The rule as the child reads it. Raises InvalidRepository for a variable that jq could not have."""
    for name in rule.variables:
        if not VARIABLE.fullmatch(name):
            raise InvalidRepository(f"spec.filterRule.variables: {name[:80]!r} is no name of a variable: it must be like $name")
    return json.dumps([rule.jq, {name[1:]: value for name, value in rule.variables.items()}]).encode() + b"\n"


async def _ask(questions: BinaryIO, judgement: Judgement) -> None:
    """Let a child answer. It needs no limit by the clock: it reads a file, and all that it can do is to spend its CPU."""
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "worker.judge", str(MOST_CPU), str(MOST_MEMORY)),
        stdin=questions.fileno(),
        stdout=PIPE,
        stderr=DEVNULL,  # where jq's `debug` and `stderr` would write into our log
        env={"PYTHONPATH": str(Path(__file__).parents[1])},  # nothing of ours, least of all a secret
        cwd="/",
    )
    assert child.stdout
    try:
        await _take(child.stdout, judgement)
        code = await child.wait()
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    if code or len(judgement.verdicts) < len(judgement.charts):
        raise _death(code)


async def _take(stream: asyncio.StreamReader, judgement: Judgement) -> None:
    """Whether the rule compiles, then a verdict a line."""
    async for line in stream:
        if not line.endswith(b"\n"):  # of a child that was killed while it wrote
            return
        answer = json.loads(line)
        if judgement.compiled:
            judgement.add(answer)
        elif answer:
            raise InvalidRepository(f"spec.filterRule.jq: {answer.splitlines()[0].removeprefix('jq: error: ').rstrip(':')}")
        judgement.compiled = True


def _death(code: int) -> LimitExceeded:
    how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    most = f"{MOST_CPU} s of CPU and {MOST_MEMORY // 2**20} MiB of memory"
    return LimitExceeded(f"spec.filterRule.jq: judging the charts ended with {how}; it may take {most}")
