"""python -m bench.readers segments|walk FILE: the CPU seconds of a bare reader over an index, which a whole sync is compared with."""

import gc
import sys
from collections.abc import Iterator
from pathlib import Path
from time import process_time
from typing import BinaryIO

from worker.index import YamlReader
from worker.segments import Segments


def walked(file: BinaryIO) -> Iterator[object]:
    for _, versions in YamlReader(file).charts():
        yield from versions


def segments(file: BinaryIO) -> Iterator[object]:
    return Segments(file.read).charts(checked=False)


def main(reader: str, path: str) -> None:
    gc.disable()  # as in the product's child
    with Path(path).open("rb", buffering=1 << 18) as file:
        start = process_time()
        for _ in {"segments": segments, "walk": walked}[reader](file):
            pass
        print(process_time() - start)


if __name__ == "__main__":
    main(*sys.argv[1:])
