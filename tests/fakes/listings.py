"""Listings as repositories write them: one content in several layouts, so that the pieces' way and the walk take turns."""

import json
from collections.abc import Mapping, Sequence

Entry = Mapping[str, object] | str
Charts = Mapping[str, Sequence[Entry]]

LAYOUTS = ("helm", "commented", "flow", "json")


def listing(charts: Charts, layout: str = "helm", generated: str | None = None) -> bytes:
    """An index of these entries: as Helm writes it, with comments between, as one flow mapping, or in JSON."""
    if layout in ("helm", "commented"):
        comment = "  # a remark\n" if layout == "commented" else ""
        blocks = [f"{comment}  {json.dumps(name) if set(name) & set(' /') else name}:{_block(entries)}" for name, entries in charts.items()]
        return "".join(
            ["apiVersion: v1\n", "entries:\n" if charts else "entries: {}\n", *blocks, f'generated: "{generated}"\n' if generated else ""]
        ).encode()
    document = {"apiVersion": "v1", "entries": charts, **({"generated": generated} if generated else {})}
    return (b"# flow\n" if layout == "flow" else b"") + json.dumps(document).encode()


def many(charts: int, versions: int, **fields: object) -> dict[str, list[Entry]]:
    """So many charts `chart-000` … of so many versions `1.0.0`, `1.1.0` … each, every one with a url."""
    return {
        name: [{"version": f"1.{m}.0", "urls": [f"{name}-1.{m}.0.tgz"], **fields} for m in range(versions)]
        for name in (f"chart-{n:03}" for n in range(charts))
    }


def _block(entries: Sequence[Entry]) -> str:
    if not entries:
        return " []\n"
    return "\n" + "".join(f"  - {_fields(entry)}\n" for entry in entries)


def _fields(entry: Entry) -> str:
    if isinstance(entry, str):
        return json.dumps(entry)
    return "\n    ".join(f"{key}: {json.dumps(value)}" for key, value in entry.items()) or "{}"
