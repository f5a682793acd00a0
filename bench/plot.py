"""Lines over a common axis as an SVG that reads well on light and dark ground. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import floor, log10

WIDTH, HEIGHT = 420, 260  # of a panel
LEFT, TOP, RIGHT, BOTTOM = 48, 34, 118, 40  # its margins
STYLE = """
  text { font: 11px system-ui, sans-serif; fill: #444 }
  .title { font-weight: 600 }
  .axis { stroke: #888; fill: none }
  .grid { stroke: #8884 }
  .first { stroke: #0969da; fill: #0969da } .second { stroke: #bc4c00; fill: #bc4c00 }
  path.first, path.second { fill: none; stroke-width: 2 }
  text.first, text.second { stroke: none }
  path.bare { stroke-dasharray: 4 3; stroke-width: 1.3 }
  @media (prefers-color-scheme: dark) {
    text { fill: #c9d1d9 }
    .first { stroke: #58a6ff; fill: #58a6ff } .second { stroke: #f0883e; fill: #f0883e }
  }
"""


@dataclass(frozen=True)
class Line:
    """Points (x, y) under a label. `second`: in the second colour; `bare`: dashed."""

    label: str
    points: Sequence[tuple[float, float]]
    second: bool = False
    bare: bool = False

    @property
    def classes(self) -> str:
        return ("second" if self.second else "first") + (" bare" if self.bare else "")


@dataclass(frozen=True)
class Panel:
    title: str
    lines: Sequence[Line]


@dataclass(frozen=True)
class Scales:
    """From values to the places of a panel that begins at `left`."""

    left: float
    most_x: float
    most_y: float

    def x(self, value: float) -> float:
        return self.left + LEFT + value / self.most_x * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        return HEIGHT - BOTTOM - value / self.most_y * (HEIGHT - TOP - BOTTOM)


def svg(panels: Sequence[Panel], axis: str) -> str:
    """The panels side by side, each from nought; `axis` names what all have below."""
    drawn = "".join(panel_of(panel, WIDTH * number, axis) for number, panel in enumerate(panels))
    width = WIDTH * len(panels)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {HEIGHT}" width="{width}" height="{HEIGHT}" role="img">'
    return f"{head}\n<style>{STYLE}</style>\n{drawn}</svg>\n"


def panel_of(panel: Panel, left: float, axis: str) -> str:
    every = [point for line in panel.lines for point in line.points]
    scales = Scales(left, max(x for x, _ in every) * 1.01, max(y for _, y in every) * 1.05)
    bottom, middle = scales.y(0), (scales.x(0) + scales.x(scales.most_x)) / 2
    parts = [
        text(scales.x(0), TOP - 14, panel.title, "title"),
        *(tick(scales, value) for value in ticks(scales.most_y)),
        *(text(scales.x(value), bottom + 15, f"{value:g}", anchor="middle") for value in ticks(scales.most_x)),
        text(middle, bottom + 32, axis, anchor="middle"),
        f'<path class="axis" d="M{scales.x(0):.1f} {TOP}V{bottom:.1f}H{scales.x(scales.most_x):.1f}"/>\n',
        *(path(scales, line) for line in panel.lines),
        *labels(scales, panel.lines),
    ]
    return "".join(parts)


def path(scales: Scales, line: Line) -> str:
    places = "L".join(f"{scales.x(x):.1f} {scales.y(y):.1f}" for x, y in line.points)
    dots = "".join(f'<circle class="{line.classes}" cx="{scales.x(x):.1f}" cy="{scales.y(y):.1f}" r="2"/>' for x, y in line.points)
    return f'<path class="{line.classes}" d="M{places}"/>{"" if line.bare else dots}\n'


def labels(scales: Scales, lines: Sequence[Line]) -> list[str]:
    """Each line's label at its end, moved down where it would cover the one above."""
    drawn: list[str] = []
    lowest = float("-inf")
    for line in sorted(lines, key=lambda line: -line.points[-1][1]):
        x, y = line.points[-1]
        lowest = max(scales.y(y) + 4, lowest + 13)
        drawn.append(text(scales.x(x) + 7, lowest, line.label, line.classes.split()[0]))
    return drawn


def tick(scales: Scales, value: float) -> str:
    y = scales.y(value)
    line = f'<path class="grid" d="M{scales.x(0):.1f} {y:.1f}H{scales.x(scales.most_x):.1f}"/>'
    return line + text(scales.x(0) - 6, y + 4, f"{value:g}", anchor="end")


def ticks(most: float) -> list[float]:
    """Four to nine round numbers from nought to `most`."""
    power = 10.0 ** floor(log10(most))
    step = next(step for step in (power / 5, power / 2, power, power * 2) if most / step < 8)
    return [round(step * number, 10) for number in range(int(most / step) + 1)]


def text(x: float, y: float, words: str, classes: str = "", anchor: str = "start") -> str:
    return f'<text class="{classes}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>\n'
