"""What one added version costs against the size of the index: by both readers, beside the bare readers over the same file."""

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import linear_regression

from bench.figures import Figure, Measured, markdown
from bench.ground import Cost, Ground, Server, serving
from bench.inputs import CHART_SIZE, Growing, synthetic
from bench.plot import Line, Panel, svg
from bench.workers import ROOT, running
from catalog.jobs import SyncRepository
from catalog.model import Repository, RepositoryKey

WORK = "growth of one added version, 1 to 100 MB"
SIZES = (1, 5, 20, 50, 100)
COLUMNS = ("MB", "recognised, s", "bare segmenter, s", "full walk, s", "bare walk, s", "recognised, MiB", "full walk, MiB")


@dataclass(frozen=True)
class Point:
    """One size of index, in MB: CPU seconds of ours and of the bare reader, and MiB, by reader."""

    size: float
    fast: float
    bare_fast: float
    walk: float
    bare_walk: float
    fast_memory: float
    walk_memory: float

    def cells(self) -> tuple[str, ...]:
        seconds = (f"{value:.3f}" for value in (self.fast, self.bare_fast, self.walk, self.bare_walk))
        return f"{self.size:.1f}", *seconds, f"{self.fast_memory:.0f}", f"{self.walk_memory:.0f}"


def growth(ground: Ground, sizes: Sequence[float] = SIZES, times: int = 2) -> Measured:
    """`times`: runs at each size, of which the cheapest counts: what others do at the same time only ever adds."""
    with serving(ground) as server:
        points = [measured(ground, server, size, times) for size in sizes]
    fast, bare_fast, walk, bare_walk, fast_memory, walk_memory = (
        slope(points, name) for name in ("fast", "bare_fast", "walk", "bare_walk", "fast_memory", "walk_memory")
    )
    return Measured(
        [
            Figure(WORK, "CPU a MB, recognised, against the bare segmenter", fast / bare_fast, 1.3, "×", slopes(fast, bare_fast)),
            Figure(WORK, "CPU a MB, full walk, against the bare walk", walk / bare_walk, 1.3, "×", slopes(walk, bare_walk)),
            Figure(WORK, "memory of 100 MB more, recognised", 100 * fast_memory, None, "MiB"),
            Figure(WORK, "memory of 100 MB more, full walk", 100 * walk_memory, None, "MiB"),
        ],
        {"growth.svg": drawn(points), "growth.md": markdown(COLUMNS, [point.cells() for point in points])},
    )


def measured(ground: Ground, server: Server, size: float, times: int) -> Point:
    index = Growing(synthetic(ground.directory / f"growth-{size}.yaml", max(1, round(size * 1e6 / CHART_SIZE)), server.url), "chart-00000")
    sync = SyncRepository(Repository(RepositoryKey("growth", f"mb-{size}"), "helm", server.url, options={"files": "none"}))
    ground.anew()
    server.use(index.path)
    with running(ground.database) as worker:
        ground.measure(worker, sync)
    ground.settle()
    costs: dict[bool, list[Cost]] = {False: [], True: []}
    bare: dict[bool, list[float]] = {False: [], True: []}
    with running(ground.database) as worker:  # a new one, whose memory knows nothing of the first sync
        server.use(index.grow())
        ground.measure(worker, sync)  # imports, and the fork server's start
        for odd in (False, True) * times:
            path = index.grow(odd=odd)
            server.use(path)
            costs[odd].append(ground.measure(worker, sync))
            bare[odd].append(alone("walk" if odd else "segments", path))
            path.unlink()
    fast, walk = (min(cost.cpu for cost in costs[odd]) for odd in (False, True))
    memories = (max(cost.memory for cost in costs[odd]) for odd in (False, True))
    return Point(index.path.stat().st_size / 1e6, fast, min(bare[False]), walk, min(bare[True]), *memories)


def alone(reader: str, path: Path) -> float:
    """CPU seconds of the bare reader."""
    words = [sys.executable, "-m", "bench.readers", reader, str(path)]
    return float(subprocess.run(words, cwd=ROOT, check=True, capture_output=True).stdout)


def slope(points: Sequence[Point], name: str) -> float:
    """What a MB more costs, by least squares."""
    return linear_regression([point.size for point in points], [getattr(point, name) for point in points]).slope


def slopes(ours: float, bare: float) -> str:
    return f"{ours * 1000:.1f} ms a MB against {bare * 1000:.1f}"


def drawn(points: Sequence[Point]) -> str:
    def line(label: str, name: str, *, bare: bool = False) -> Line:
        return Line(label, [(point.size, getattr(point, name)) for point in points], "walk" in name, bare)

    return svg(
        [
            Panel(
                "CPU seconds",
                [
                    line("full walk", "walk"),
                    line("bare walk", "bare_walk", bare=True),
                    line("recognised layout", "fast"),
                    line("bare segmenter", "bare_fast", bare=True),
                ],
            ),
            Panel("memory of worker and children, MiB", [line("full walk", "walk_memory"), line("recognised layout", "fast_memory")]),
        ],
        "size of the index, MB",
    )
