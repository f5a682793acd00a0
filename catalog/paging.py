"""Lists a page at a time, by position: the sort values of the last row seen, which stay true while rows come and go."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar, cast

from sqlalchemy import Integer, Select, Text, bindparam, func, or_, select, tuple_
from sqlalchemy import cast as sql_cast
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.elements import ColumnElement

Row = Mapping[str, Any]
Statement = Select[*tuple[Any, ...]]
Position = TypeVar("Position", bound=NamedTuple)


@dataclass(frozen=True)
class Slice(Generic[Position]):
    """Up to `limit` rows after a position (None: from the beginning)."""

    limit: int
    after: Position | None = None


@dataclass(frozen=True)
class Page(Generic[Position]):
    """Rows of a list, the length of the whole list, and the position to go on from (None: this was the end)."""

    rows: Sequence[Row]
    total: int
    next: Position | None


@dataclass(frozen=True)
class Listing(Generic[Position]):
    """The two statements of a list, sorted by the columns that `position` names."""

    part: Statement
    count: Statement
    position: type[Position]


def given(name: str) -> ColumnElement[str]:
    """A text that is given when the statement runs."""
    return bindparam(name, type_=Text())


def equal_if_given(compared: ColumnElement[Any], name: str) -> ColumnElement[bool]:
    """All rows when None is given."""
    return or_(given(name).is_(None), compared == given(name))


def listing(found: Statement, position: type[Position], *, descending: bool = False) -> Listing[Position]:
    """The list of all rows of `found`; the columns of `position` must tell any two rows apart."""
    rows = found.subquery()
    sort = [rows.c[name] for name in position._fields]
    after = [sql_cast(bindparam(f"after_{key.name}"), key.type) for key in sort]  # bytea would else be of unknown type
    beyond = tuple_(*sort) < tuple_(*after) if descending else tuple_(*sort) > tuple_(*after)
    order = [key.desc() for key in sort] if descending else sort
    part = select(rows).where(or_(after[0].is_(None), beyond)).order_by(*order).limit(bindparam("limit", type_=Integer()))
    return Listing(part, select(func.count()).select_from(rows), position)


async def page(connection: AsyncConnection, of: Listing[Position], values: Mapping[str, object], part: Slice[Position]) -> Page[Position]:
    """The rows of one slice; `values` are the parameters of the list's own statement."""
    names = of.position._fields
    after = dict(zip((f"after_{name}" for name in names), part.after or (None,) * len(names), strict=True))
    rows = await rows_of(connection, of.part, {**values, **after, "limit": part.limit + 1})
    kept = rows[: part.limit]
    more = of.position._make(kept[-1][name] for name in names) if len(rows) > part.limit else None
    return Page(kept, await connection.scalar(of.count, dict(values)) or 0, more)


async def rows_of(connection: AsyncConnection, statement: Statement, values: Mapping[str, object]) -> Sequence[Row]:
    """All rows of a statement, by the names of its columns."""
    return cast("Sequence[Row]", (await connection.execute(statement, dict(values))).mappings().all())


async def first_row(connection: AsyncConnection, statement: Statement, values: Mapping[str, object]) -> Row | None:
    """The first row of a statement, if it has one."""
    return next(iter(await rows_of(connection, statement, values)), None)
