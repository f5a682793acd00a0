"""Meters that are read before and after a job: the CPU clocks of a process and all that descend from it, and their memory."""

import os
import time
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")
PROCESS_CLOCK = 2  # CPUCLOCK_SCHED: what clock_getcpuclockid(3) makes of a pid on Linux


def cpu(pid: int) -> float:
    """Seconds of CPU of a process and its descendants, living (to the nanosecond) and ended (to the system's tick)."""
    return sum(clock(each) + reaped(each) for each in family(pid))


def clock(pid: int) -> float:
    """Seconds of CPU of one process, 0 when it is gone."""
    try:
        return time.clock_gettime((~pid << 3) | PROCESS_CLOCK)
    except OSError:
        return 0.0


def reaped(pid: int) -> float:
    """Seconds of CPU of the children that a process has seen end, and of theirs."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[13]) + int(fields[14])) / TICK


def family(pid: int) -> list[int]:
    """A process and its living descendants."""
    return [pid, *(each for child in children(pid) for each in family(child))]


def children(pid: int) -> list[int]:
    try:
        return [int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()]
    except OSError:
        return []


def memory(pid: int) -> float:
    """MiB of a process and its descendants: the sum of their PSS, in which a page that n processes share counts as an nth."""
    return sum(pss(each) for each in family(pid)) / 1024


def pss(pid: int) -> int:
    """KiB of one process, 0 when it is gone."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")), 0)
