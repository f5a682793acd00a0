"""From what stands in an address to what catalog.search asks for, and back to cursors. Pure."""

import base64
import binascii
import re
from collections.abc import Sequence
from typing import Annotated, NamedTuple, TypeVar
from urllib.parse import unquote

import msgspec
from fastapi import Depends, Path, Query
from pydantic import BeforeValidator

from api.errors import BadCursor
from catalog.search import ChartKey

MOST_WORDS, LONGEST_WORD = 16, 100  # of a query; what is beyond them does not narrow the search

_SEPARATORS = re.compile(r"[\x00-\x2f\x3a-\x40\x5b-\x60\x7b-\x7f]+")  # all of ASCII but letters and digits, so all syntax of a tsquery

Position = TypeVar("Position", bound=NamedTuple)

Limit = Annotated[int, Query(ge=1, le=200, description="How many items to return.")]
Cursor = Annotated[str | None, Query(description="`next` of the page before.")]
Words = Annotated[str | None, Query(description="Words to search for in names, keywords and descriptions; each may be a beginning.")]
InNamespace = Annotated[str | None, Query(description="Only of this namespace.")]
InVersion = Annotated[str | None, Query(description="Only of this version.")]
InRepository = Annotated[str | None, Query(description="Only of repositories of this name.")]

# Segments come as they were sent (see RawPath): only here does %2F become the slash inside a name.
Segment = Annotated[str, Path(), BeforeValidator(unquote)]


def chart_key(namespace: Segment, repository: Segment, chart: Segment) -> ChartKey:
    return ChartKey(namespace, repository, chart)


Key = Annotated[ChartKey, Depends(chart_key)]


def tsquery_text(typed: str | None) -> str | None:
    """What a person typed as a tsquery: each word must begin a word of the chart.

    Nothing typed is None. Typed signs without any letter or digit are an empty tsquery, which matches nothing.
    """
    if typed is None or not typed.strip():
        return None
    words = [word[:LONGEST_WORD] for word in _SEPARATORS.split(typed) if word]
    return " & ".join(f"{word}:*" for word in words[:MOST_WORDS])


def cursor_text(position: Sequence[object] | None) -> str | None:
    """A position in a list as an opaque word for addresses."""
    if position is None:
        return None
    return base64.urlsafe_b64encode(msgspec.json.encode(position)).decode().rstrip("=")


def position_of(cursor: str | None, kind: type[Position]) -> Position | None:
    """The position that `cursor_text` wrote down. Raises BadCursor."""
    if not cursor:
        return None
    try:
        return msgspec.json.decode(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True), type=kind)
    except (binascii.Error, ValueError):
        raise BadCursor("this cursor is not one of this list: take `next` of a page as it came, or begin without a cursor") from None
