"""python -m worker: a job by Kubeapps' argv and out, or `serve` and `schedule` for the fleet."""

# ruff: noqa: E402 - two lines that halve a job's start stand before the imports
import gc
import sys

gc.disable()  # while modules are imported, of which nothing is ever freed
sys.modules["rich"] = None  # pyright: ignore[reportArgumentType] - structlog would import it for tracebacks that no job prints

import asyncio
import os
from collections.abc import Sequence
from itertools import takewhile

from catalog.errors import CatalogError
from catalog.telemetry import set_up_logging
from worker.one_shot import USAGE_ERROR, exit_code, one_shot
from worker.settings import Settings, termination_log

USAGE = """usage: python -m worker sync NAME URL TYPE --namespace NS [flags]
       python -m worker files NAME URL TYPE --namespace NS [flags]
       python -m worker delete NAME --namespace NS [flags]
       python -m worker invalidate-cache [flags]
       python -m worker serve [--concurrency N]
       python -m worker schedule
       python -m worker --version
"""


def answer(argv: Sequence[str]) -> str | None:
    """What to print to whoever asks for nothing else."""
    flags = set(takewhile(lambda word: word != "--", argv))
    if argv[0] == "help" or flags & {"-h", "--help"}:
        return USAGE
    if "--version" not in flags:
        return None
    from importlib.metadata import version  # noqa: PLC0415 - no job pays for it

    return f"chartfleet {version('chartfleet')}\n"


def main(argv: Sequence[str]) -> int:
    gc.freeze()
    gc.enable()
    if not argv:
        sys.stderr.write(USAGE)
        return USAGE_ERROR
    if text := answer(argv):
        print(text, end="")
        return 0
    set_up_logging("worker")
    try:
        match argv:
            case ["serve", *rest]:
                from worker.celery_app import serve  # noqa: PLC0415 - the fleet's imports are not a Pod's

                return serve(Settings.from_env({}), rest)
            case ["schedule"]:
                set_up_logging("scheduler")
                from worker.scheduler import main as schedule  # noqa: PLC0415

                return schedule(Settings.from_env({}))
            case _:
                loop = asyncio.new_event_loop()  # not asyncio.run, which waits for a name that DNS never answers
                return loop.run_until_complete(one_shot(argv, os.environ.get("CHARTFLEET_OPTIONS", ""), termination_log()))
    except CatalogError as error:
        print(f"{error.reason}: {error}", file=sys.stderr)
        return exit_code(error)


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # interpreter shutdown frees what the system frees anyway
