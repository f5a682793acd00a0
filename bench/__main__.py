"""python -m bench [PART …] [--docs]: measure what syncs and their controller cost, and print each figure beside its bar.

Without a PART all are measured. --docs writes what was found into docs/ as well, which takes all parts.
"""

import argparse
import os
import platform
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.archives import archives
from bench.at_home import k8s_at_home
from bench.controller import controller
from bench.figures import COLUMNS, Figure, Measured, markdown
from bench.ground import DATA, TOOLS, Ground, ground
from bench.growth import growth
from bench.large import large
from bench.pod import pod
from bench.replay import replay
from bench.workers import ROOT

PARTS: Mapping[str, Callable[[Ground], Measured]] = {
    "k8s-at-home": k8s_at_home,
    "large": large,
    "growth": growth,
    "archives": archives,
    "replay": replay,
    "controller": controller,
    "pod": pod,
}
DOCS = ROOT / "docs"


def measured(names: Sequence[str]) -> tuple[list[Measured], list[float]]:
    """Each part on a PostgreSQL of its own, and the machine's load after each; a table is printed as soon as it is known."""
    console, found, loads = Console(width=200), list[Measured](), list[float]()
    for name in names:
        with ground() as standing:
            found.append(PARTS[name](standing))
        loads.append(os.getloadavg()[0])
        console.print(table(f"{name} (load {loads[-1]:.1f})", found[-1].figures))
    return found, loads


def table(title: str, figures: Sequence[Figure]) -> Table:
    drawn = Table(title=title, show_lines=False)
    for column in COLUMNS:
        drawn.add_column(column)
    for figure in figures:
        drawn.add_row(*figure.cells(), style="red" if figure.verdict == "missed" else None)
    return drawn


def write(found: Sequence[Measured], docs: Path, conditions: str) -> None:
    """The tables into docs/performance.md, between the marks that bear their names; pictures beside it."""
    figures = [figure for part in found for figure in part.figures]
    texts = {"figures": f"{conditions}\n\n{markdown(COLUMNS, [figure.cells() for figure in figures])}"}
    for name, content in (file for part in found for file in part.files.items()):
        if name.endswith(".md"):
            texts[name.removesuffix(".md")] = content
        else:
            (docs / name).write_text(content)
    page = docs / "performance.md"
    page.write_text(filled(page.read_text(), texts))


def filled(page: str, texts: Mapping[str, str]) -> str:
    """The page with each text between `<!-- NAME -->` and `<!-- end of NAME -->`."""
    for name, content in texts.items():
        begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
        page = re.sub(f"(?s){begin}.*?{end}", lambda _, text=f"{begin}\n{content}\n{end}": text, page)
    return page


def conditions(loads: Sequence[float]) -> str:
    """What the figures were measured on, and how busy that was."""
    machine = f"{os.cpu_count()} cores, CPython {platform.python_version()}, {datetime.now(UTC):%Y-%m-%d}"
    return f"Measured on {machine}, load {min(loads):.1f} to {max(loads):.1f} (of which the bench itself makes 1 to 1.5)."


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", metavar="PART", nargs="*", choices=[[], *PARTS], help=", ".join(PARTS))
    parser.add_argument("--docs", action="store_true")
    asked = parser.parse_args()
    if asked.docs and asked.parts:
        parser.error("--docs takes all parts")
    if not TOOLS.is_dir() or not DATA.is_dir():
        print("the real repositories and their servers (../shared) are not beside this checkout: nothing is measured")
        return 0
    found, loads = measured(asked.parts or list(PARTS))
    if asked.docs:
        write(found, DOCS, conditions(loads))
    return 0


if __name__ == "__main__":
    sys.exit(main())
