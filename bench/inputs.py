"""The indexes that are measured, made by text so that all else stays byte for byte."""

import re
import subprocess
import sys
from pathlib import Path

from bench.ground import TOOLS

CHART_SIZE = 6_900  # bytes of a synthetic chart with ten versions


def localized(source: Path, out: Path, base: str) -> Path:
    """An index whose archives and icons lie below `base`, without digests, for every archive is one file there."""
    return _made(out, "localize", str(source), str(out), base)


def synthetic(out: Path, charts: int, base: str) -> Path:
    """Charts with ten versions each, in the shape that Helm writes."""
    return _made(out, "synthetic", str(out), str(charts), "10", base)


def _made(out: Path, *words: str) -> Path:
    subprocess.run([sys.executable, str(TOOLS / "bench/index.py"), *words], check=True)
    return out


class Growing:
    """An index that gets more versions of one chart: each the chart's first entry once more, on top, under another version."""

    def __init__(self, path: Path, chart: str) -> None:
        before, key, rest = path.read_text().partition(f"\n  {chart}:\n")
        entry = re.match(r"  - (?s:.*?)\n(?= {0,2}\S)", rest)
        version = re.search(r"^    version: (.+)$", entry[0], re.MULTILINE) if entry else None
        assert entry
        assert version
        self.path, self._before, self._rest, self._entry, self._version = path, before + key, rest, entry[0], version[1]
        self._added: list[str] = []

    def grow(self, *, icon: str = "", odd: bool = False) -> Path:
        """Another file, with one version more. `icon`: its own, below that address; `odd`: a layout that only the full walk reads."""
        number = len(self._added) + 1
        entry = self._entry.replace(self._version, f"99.{number}.0")
        if icon:
            entry = re.sub(r"^    icon: .*$", f"    icon: {icon}/{number}.png", entry, flags=re.MULTILINE)
        if odd:  # a comment at the left margin, where the fast path expects an entry's end
            entry = entry.replace("\n    version: ", "\n# a remark\n    version: ")
        self._added.insert(0, entry)
        path = self.path.with_name(f"{self.path.stem}+{number}.yaml")
        path.write_text(self._before + "".join(self._added) + self._rest)
        return path
