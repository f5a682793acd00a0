"""What the commands print: tables for people, JSON and YAML for programs; nothing from a repository can steer the terminal."""

import json
import re
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal, cast

import click
import yaml
from rich.console import Console
from rich.table import Table
from rich.text import Text

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
    """Print text as it is, on any terminal."""
    encoding = sys.stdout.encoding or "utf-8"
    click.echo(text.encode(encoding, "replace").decode(encoding))


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows below a header: cut to the terminal's width, whole when piped."""
    to_terminal = sys.stdout.isatty()
    console = Console(width=None if to_terminal else 100_000, markup=False, highlight=False)
    made = Table(box=None, pad_edge=False, show_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for name in columns:
        made.add_column(name, no_wrap=True, overflow="ellipsis", justify="right" if name in ("CHARTS", "VERSIONS") else "left")
    for row in rows:
        made.add_row(*(Text(" ".join(clean(cell).split())) for cell in row))
    with console.capture() as capture:
        console.print(made)
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


def fields(pairs: Mapping[str, object]) -> str:
    """Names and values, one a line; what is empty is left out."""
    given = {name: clean(_text(value)) for name, value in pairs.items() if value not in (None, False, "", [], {})}
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
