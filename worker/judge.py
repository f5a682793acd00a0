"""The judge: jq on a filter rule and charts, in a process of its own that may die.

python -m worker.judge CPU_SECONDS MEMORY_BYTES < QUESTIONS > ANSWERS

QUESTIONS: a line of JSON [program, {variable: value}], then a chart's document a line. ANSWERS, a line of JSON each: null, or why the
program does not compile; then of each chart true, false, or the text why neither. A program may loop, grow and look around. So there
are limits of CPU and memory, the environment is empty, and no further file can be opened, which keeps jq's modules from reading any.
"""

import json
import os
import resource
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import jq

from catalog.report import MOST_TEXT


def answers(program: str, variables: Mapping[str, str], documents: Iterable[bytes]) -> Iterator[bool | str | None]:
    """Whether the program compiles, then its verdicts."""
    try:
        compiled = jq.compile(program, args=dict(variables))
    except ValueError as error:
        yield str(error)[:MOST_TEXT]
        return
    yield None
    for document in documents:
        yield verdict(compiled, document)


def verdict(compiled: Any, document: bytes) -> bool | str:
    """A program's first result, as Kubeapps takes it, when that is true or false; else why not."""
    try:
        result = compiled.input_text(document.decode()).first()
    except StopIteration:
        return "the rule gives no result"
    except ValueError as error:
        return str(error)[:MOST_TEXT]
    return result if isinstance(result, bool) else f"the rule gives {json.dumps(result, ensure_ascii=False)[:80]}, neither true nor false"


def main() -> None:
    """The process: limits first, then the rule."""
    os.environ.clear()
    cpu, memory = map(int, sys.argv[1:])
    resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu))
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))  # those that are open
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    program, variables = json.loads(sys.stdin.buffer.readline())
    for answer in answers(program, variables, sys.stdin.buffer):
        sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
