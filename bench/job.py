"""python -m bench.job: a running worker, whose jobs come as lines on standard input.

A line is a job's argv as JSON; the answer is its run's JSON. After an empty line PostgreSQL has counted the rows of the jobs before it,
which it would otherwise do seconds later.
"""

import asyncio
import json
import os
import sys

from catalog.jobs import from_argv
from catalog.telemetry import set_up_logging
from worker.process import Worker
from worker.run import run
from worker.settings import Settings


async def count(worker: Worker) -> dict[str, object]:
    async with worker.connection.transaction():
        await worker.connection.execute("select pg_stat_force_next_flush()")
    return {}


async def do(worker: Worker, argv: list[str]) -> dict[str, object]:
    return (await run(worker, from_argv(argv).job)).document()


def main() -> None:
    set_up_logging("worker")
    loop = asyncio.new_event_loop()
    worker = loop.run_until_complete(Worker.open(Settings.from_env(os.environ)))
    for line in sys.stdin:
        answer = loop.run_until_complete(do(worker, json.loads(line)) if line.strip() else count(worker))
        print(json.dumps(answer), flush=True)
    loop.run_until_complete(worker.close())


if __name__ == "__main__":
    main()
