"""What the commands print: tables for people, JSON and YAML for programs; nothing from a repository can steer the terminal."""

import errno
import json
import re
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from shutil import get_terminal_size
from typing import Any, Literal, cast

import click
import yaml
from rich.cells import cell_len, set_cell_size

from cli.failures import Exit, Failure

Format = Literal["table", "json", "yaml"]

# Control characters (C0 without tab and newline, DEL, C1), surrogates, and the signs that turn the direction of writing.
_STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")

formatted = click.option(
    "-o", "--output", "form", type=click.Choice(["table", "json", "yaml"]), default="table", show_default=True, help="Form of the output."
)


def clean(text: str) -> str:
    """Text without what would steer a terminal."""
    return _STEERING.sub("", text)


def dumped(value: object, form: Format) -> str:
    """A value as JSON or YAML, steering characters as escapes."""
    if form == "json":
        return _STEERING.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(value, indent=2, ensure_ascii=False))
    return clean(yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=120)).rstrip("\n")


def show(text: str) -> None:
    """Print text as it is, on any terminal. Raises Failure when it cannot be written, as on a full disk."""
    encoding = sys.stdout.encoding or "utf-8"
    try:
        click.echo(text.encode(encoding, "replace").decode(encoding))
    except OSError as error:
        if error.errno == errno.EPIPE:  # whoever reads has seen enough; click ends quietly
            raise
        raise Failure(Exit.FAILED, f"The output cannot be written: {error.strerror}.") from None


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows below a header; on a terminal lines are cut to its width, when piped they are whole."""
    cells = [list(columns), *([" ".join(clean(cell).split()) for cell in row] for row in rows)]
    widths = [max(map(cell_len, column)) for column in zip(*cells, strict=True)]
    numeric = [name in ("CHARTS", "VERSIONS") for name in columns]
    lines = ["  ".join(map(_padded, row, widths, numeric)).rstrip() for row in cells]
    if sys.stdout.isatty():
        lines = [_cut(line, get_terminal_size().columns) for line in lines]
        lines[0] = click.style(lines[0], bold=True)
    return "\n".join(lines)


def _padded(cell: str, width: int, right: bool) -> str:
    space = " " * (width - cell_len(cell))
    return space + cell if right else cell + space


def _cut(line: str, width: int) -> str:
    return line if cell_len(line) <= width else set_cell_size(line, width - 1) + "…"


def fields(pairs: Mapping[str, object]) -> str:
    """Names and values, one a line; what is empty or false is left out."""
    given = {name: clean(_text(value)) for name, value in pairs.items() if value or (value == 0 and value is not False)}
    width = max(map(len, given), default=0)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in given.items())


def age(time: str | None, now: datetime) -> str:
    """How long ago a moment was, roughly: 12 s, 5 min, 3 h, 9 d."""
    if not time:
        return "never"
    seconds = max(0, int((now - datetime.fromisoformat(time)).total_seconds()))
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit} ago"
    return f"{seconds} s ago"


def now() -> datetime:
    return datetime.now(UTC)


def _text(value: object) -> str:
    """A JSON value in words."""
    if isinstance(value, dict):
        return " ".join(f"{name}={_text(item)}" for name, item in cast("dict[str, object]", value).items())
    if isinstance(value, list):
        return ", ".join(map(_text, cast("list[object]", value)))
    return str(value)


def rows_of(items: Sequence[Mapping[str, Any]], *names: str) -> list[list[str]]:
    """The named fields of items as cells."""
    return [[_text(item.get(name) if item.get(name) is not None else "") for name in names] for item in items]
