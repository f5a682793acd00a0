"""What the real helm reads of a repository, and our visible rows in the same form."""

import json
import os
import subprocess
from itertools import groupby
from pathlib import Path

from catalog.versions import order_key
from tests.conftest import Database

Row = tuple[str, str, str, str]  # chart, version, app version, description

OURS = """
    select c.name, v.version, coalesce(v.app_version, ''), coalesce(v.metadata ->> 'description', '')
    from chartfleet.repositories r
    join chartfleet.charts c on c.repository_id = r.id and c.removed_at is null
    join chartfleet.chart_versions v on v.chart_id = c.id and v.removed_at is null
    where r.name = %s order by c.name collate "C", v.order_key desc, v.version desc
"""


def our_rows(database: Database, name: str) -> list[Row]:
    """Charts by name, each newest first, as our readers have them; texts as helm would show them."""
    rows = database.rows(OURS, name)
    return [(str(chart), str(version), shown(str(app)), shown(str(description))) for chart, version, app, description in rows]


def helm_rows(helm: str, url: str, directory: Path) -> list[Row] | str:
    """`helm search repo -l --devel` in the same order; or what helm says when it refuses the index. Its state is kept below `directory`."""
    home = {name: str(directory) for name in ("HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME")}

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([helm, *words], capture_output=True, text=True, env={**os.environ, **home}, timeout=120, check=False)

    if (added := run("repo", "add", "r", url)).returncode:
        return added.stderr
    rows = json.loads(run("search", "repo", "-l", "--devel", "-o", "json").stdout)
    return in_one_order([(row["name"].removeprefix("r/"), row["version"], row["app_version"], row["description"]) for row in rows])


def in_one_order(rows: list[Row]) -> list[Row]:
    """Versions of equal precedence, which stand in no defined order in helm's list, newest text first."""
    return [row for _, equals in groupby(rows, lambda row: (row[0], order_key(row[1]))) for row in sorted(equals, reverse=True)]


def shown(text: str) -> str:
    """Helm's `sanitizeString`: white space becomes a blank, what does not print is left out. Our rows keep the text as it was written."""
    return "".join(" " if character.isspace() else character for character in text if character.isspace() or character.isprintable())
