"""A figure beside its bar, and tables of figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

COLUMNS = ("work", "measured", "ours", "bar", "", "Kubeapps")


@dataclass(frozen=True)
class Figure:
    """One row: `ours` against `most`, the bar, both in `unit` (s, ms, MiB, MB, × or none); None: nothing is asked."""

    work: str
    measured: str
    ours: float
    most: float | None = None
    unit: str = ""
    said: str = ""
    kubeapps: str = ""

    @property
    def verdict(self) -> str:
        return "" if self.most is None else "held" if self.ours <= self.most else "missed"

    def cells(self) -> tuple[str, ...]:
        ours = shown(self.ours, self.unit) + (f" ({self.said})" if self.said else "")
        bar = "" if self.most is None else f"≤ {shown(self.most, self.unit)}"
        return self.work, self.measured, ours, bar, self.verdict, self.kubeapps


@dataclass(frozen=True)
class Measured:
    """What a part of the bench found: figures, and files for docs/ by name."""

    figures: Sequence[Figure]
    files: Mapping[str, str] = field(default_factory=dict)


def shown(value: float, unit: str) -> str:
    """A number as people read it."""
    match unit:
        case "s":
            return f"{value:.2f} s" if value >= 0.1 else f"{value:.3f} s"
        case "ms":
            return f"{value:.1f} ms"
        case "MB" | "×":
            return f"{value:.2f} {unit}"
        case "MiB":
            return f"{value:,.0f} MiB"
        case _:
            return f"{value:,.0f}{unit and f' {unit}'}"


def markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; a cell that repeats the one above in the first column stays empty."""
    lines = [row_of(columns), row_of(["---"] * len(columns))]
    last = ""
    for first, *rest in rows:
        lines.append(row_of(["" if first == last else first, *rest]))
        last = first
    return "\n".join(lines) + "\n"


def row_of(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
