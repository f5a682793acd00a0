"""From addresses to questions: words, cursors, paths."""

import base64

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.errors import BadCursor
from api.params import LONGEST_WORD, MOST_WORDS, cursor_text, position_of, tsquery_text
from catalog.search import ChartPosition, VersionPosition
from catalog.standing import RepositoryPosition

SYNTAX = set("&|!():*<>'\"\\ \t\n\0")


@pytest.mark.parametrize(
    ("typed", "text"),
    [
        ("wordpress", "wordpress:*"),
        ("home-assistant", "home:* & assistant:*"),
        ("  home   assist ", "home:* & assist:*"),
        ("it's & (a|b)!:*", "it:* & s:* & a:* & b:*"),
        ("データ ベース", "データ:* & ベース:*"),
        (None, None),
        ("", None),
        (" \t", None),
        ("&|!", ""),
        ("\0\\'", ""),
    ],
)
def test_each_word_typed_becomes_the_beginning_of_a_word(typed: str | None, text: str | None) -> None:
    assert tsquery_text(typed) == text


def test_a_query_without_end_is_cut() -> None:
    text = tsquery_text(" ".join(["x" * 5_000] * 5_000))
    assert text is not None
    words = text.split(" & ")
    assert len(words) == MOST_WORDS
    assert {len(word) for word in words} == {LONGEST_WORD + len(":*")}


@given(st.text())
def test_nothing_typed_reaches_the_syntax_of_a_tsquery(typed: str) -> None:
    words = (tsquery_text(typed) or "").replace(":*", "").split(" & ")
    assert not SYNTAX & set("".join(words))


@given(st.builds(ChartPosition, st.integers(-(2**31), 2**31), st.text(), st.text(), st.text(), st.integers(0, 2**63 - 1)))
def test_a_chart_cursor_survives_the_way_through_an_address(position: ChartPosition) -> None:
    cursor = cursor_text(position)
    assert cursor is not None
    assert cursor.isascii()
    assert position_of(cursor, ChartPosition) == position


@given(st.builds(VersionPosition, st.binary(), st.text()))
def test_a_version_cursor_survives_the_way_through_an_address(position: VersionPosition) -> None:
    assert position_of(cursor_text(position), VersionPosition) == position


def test_no_cursor_is_the_beginning() -> None:
    assert cursor_text(None) is None
    assert position_of(None, ChartPosition) is None
    assert position_of("", ChartPosition) is None


@pytest.mark.parametrize(
    "written", [b"", b"null", b"{}", b"[]", b"[1]", b'["a"]', b'["a",1]', b'["a","b","c"]', b'["\\ud800","b"]', b"\xff"]
)
def test_a_cursor_of_another_shape_is_refused(written: bytes) -> None:
    with pytest.raises(BadCursor, match="begin without a cursor"):
        position_of(base64.urlsafe_b64encode(written).decode() or "=", RepositoryPosition)


@pytest.mark.parametrize("cursor", ["*", "a", "é", "WyJh IiwiYiJd", "W"])
def test_a_cursor_that_is_not_base64_is_refused(cursor: str) -> None:
    with pytest.raises(BadCursor):
        position_of(cursor, RepositoryPosition)


def test_a_cursor_of_another_list_is_refused() -> None:
    with pytest.raises(BadCursor):
        position_of(cursor_text(RepositoryPosition("default", "bitnami")), ChartPosition)


def test_a_cursor_is_the_position_and_nothing_more() -> None:
    cursor = cursor_text(RepositoryPosition("default", "bitnami"))
    assert cursor is not None
    assert msgspec.json.decode(base64.urlsafe_b64decode(cursor + "==")) == ["default", "bitnami"]
