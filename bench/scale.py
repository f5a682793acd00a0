"""python -m bench.scale: the peak of a family's memory, sampled in a process of its own, so that weighing costs what is weighed nothing.

A line on standard input is the pid of the family from now on; at the end of the lines the peak in MiB is printed.
"""

import select
import sys
from subprocess import PIPE, Popen
from types import TracebackType
from typing import Self

from bench.meters import memory

PAUSE = 0.01  # seconds between two samples


class Scale:
    """Weighs the family of the process that was `put` last, until the block ends; then `peak` holds MiB."""

    def __init__(self) -> None:
        self.peak = 0.0

    def __enter__(self) -> Self:
        self._process = Popen([sys.executable, "-m", "bench.scale"], stdin=PIPE, stdout=PIPE, text=True)
        self._hear()
        return self

    def put(self, pid: int) -> None:
        assert self._process.stdin
        self._process.stdin.write(f"{pid}\n")
        self._process.stdin.flush()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with self._process:
            assert self._process.stdin
            self._process.stdin.close()
            self.peak = float(self._hear() or 0)

    def _hear(self) -> str:
        assert self._process.stdout
        return self._process.stdout.readline()


def main() -> None:
    print("ready", flush=True)
    peak = 0.0
    while line := sys.stdin.readline():
        peak = max(peak, memory(int(line)))
        while not select.select([sys.stdin], [], [], PAUSE)[0]:
            peak = max(peak, memory(int(line)))
    print(peak)


if __name__ == "__main__":
    main()
