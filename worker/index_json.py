"""The JSON half of worker.index, apart so that only a JSON index pays for msgspec's import."""

import mmap
from typing import Any, BinaryIO

import msgspec

from catalog.errors import LimitExceeded, SourceMalformed
from worker.entries import Item
from worker.index import MOST_LEVELS, MOST_NODES, MOST_SCALAR, Entries


class JsonIndex(msgspec.Struct):
    """The frame of a JSON index; charts are decoded one by one."""

    entries: dict[str, msgspec.Raw] | None = None
    apiVersion: Any = None  # noqa: N815 - the file's own word
    generated: Any = None


def json_index(file: BinaryIO) -> JsonIndex | None:
    """The frame of a file that is an index in JSON, or None."""
    try:
        return msgspec.json.decode(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), type=JsonIndex)
    except msgspec.MsgspecError:
        return None


def json_charts(index: JsonIndex) -> Entries:
    """Its (chart, versions), scalars as text, like the YAML reader's. Raises SourceMalformed."""
    if index.entries is None and index.apiVersion is None:
        raise SourceMalformed("not a chart repository index: it has neither `entries` nor `apiVersion`")
    decoder = msgspec.json.Decoder(float_hook=str)
    for name, raw in (index.entries or {}).items():
        try:
            versions = decoder.decode(raw)
        except msgspec.MsgspecError as error:
            raise SourceMalformed(f"the index is not JSON: {error}") from None
        yield name, map(entry, versions if isinstance(versions, list) else [])


def entry(value: Any) -> Item:
    """A version with scalars as text. Raises LimitExceeded."""
    if count(value) > MOST_NODES:
        raise LimitExceeded(f"an entry of more than {MOST_NODES:,} values")
    return Item(as_text(value))


def count(value: Any, level: int = 3) -> int:
    """How many values there are in a value."""
    if level > MOST_LEVELS:
        raise LimitExceeded(f"more than {MOST_LEVELS} levels deep")
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + sum(count(item, level + 1) for item in inner)


def as_text(value: Any) -> Any:
    """JSON's numbers and booleans as the text that YAML's reader would give, within the same limits."""
    match value:
        case dict():
            return {key: as_text(item) for key, item in value.items()}
        case list():
            return [as_text(item) for item in value]
        case str() if len(value) > MOST_SCALAR:
            raise LimitExceeded(f"a text of {len(value):,} characters, more than {MOST_SCALAR:,}")
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case _:
            return value
