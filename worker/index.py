"""The bytes of an index in YAML → charts and their entries; worker.index_json reads JSON to the same meaning.

Every scalar is the text that was written, a plain null is None. The file is read as events, one version at a time, so memory does not grow
with it. Limits on levels, scalars and aliases hold while reading.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, BinaryIO

from yaml.cyaml import CParser  # pyright: ignore[reportAttributeAccessIssue] - its C half has no types
from yaml.events import (
    AliasEvent,
    DocumentEndEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)

from catalog.errors import LimitExceeded, SourceMalformed
from worker.entries import Item

MOST_LEVELS = 64  # libyaml's event parser is quadratic in depth
MOST_SCALAR = 1024 * 1024  # characters
MOST_NODES = 200_000  # of one version, aliases expanded
NULLS = {"", "~", "null", "Null", "NULL"}

Entries = Iterator[tuple[str, Iterable[Item]]]


class YamlReader:
    """An index in YAML as (chart, versions); the parser's events are consumed here and nowhere kept.

    `plain`: no anchor, alias or tag was met since it was last set. `top`: what stands beside `entries`; `repeated`: keys that stand twice.
    """

    def __init__(self, source: BinaryIO | bytes) -> None:
        self._next: Callable[[], Any] = CParser(source).get_event
        self._anchors: dict[str, tuple[Any, int]] = {}
        self._nodes = 0
        self.plain = True
        self.top: dict[str, Any] = {}
        self.repeated: list[str] = []

    def charts(self) -> Entries:
        """Raises SourceMalformed, LimitExceeded or yaml.YAMLError, at the place in the file where it goes wrong."""
        self._next()  # the stream's start
        if type(self._next()) is StreamEndEvent:
            raise SourceMalformed("the index is empty")
        if type(self._next()) is not MappingStartEvent:
            raise SourceMalformed("not a chart repository index: its top level is no mapping")
        while type(event := self._next()) is not MappingEndEvent:
            key = self._key(event)
            if key in self.top:
                self.repeated.append(key)
            if key == "entries":
                self.top[key] = None
                yield from self._entries(self._next())
            else:
                self._nodes = 0
                self.top[key] = self._node(self._next(), 1)
        if not self.top.keys() & {"entries", "apiVersion"}:
            raise SourceMalformed("not a chart repository index: it has neither `entries` nor `apiVersion`")
        end: Any = self._next()
        if type(end) is not DocumentEndEvent:
            raise SourceMalformed(f"line {end.start_mark.line + 1}: text after the index's end")

    def document(self) -> Any:
        """A text that is one value, such as a Chart.yaml. Raises as `charts` does."""
        self._next()  # the stream's start
        return None if type(self._next()) is StreamEndEvent else self._node(self._next(), 1)

    def _entries(self, event: Any) -> Entries:
        if getattr(event, "value", None) in NULLS:
            return
        if type(event) is not MappingStartEvent:
            raise SourceMalformed(f"line {event.start_mark.line + 1}: `entries` is no mapping")
        while type(event := self._next()) is not MappingEndEvent:
            name = self._key(event)
            event = self._next()
            if type(event) is SequenceStartEvent and not event.anchor:
                versions = self._versions()
                yield name, versions
                for _ in versions:  # what the consumer left unread
                    pass
            else:
                self._nodes = 0
                value = self._node(event, 2)
                yield name, [Item(each) for each in value] if isinstance(value, list) else []

    def _versions(self) -> Iterator[Item]:
        while type(event := self._next()) is not SequenceEndEvent:
            self._nodes = 0
            before = len(self.repeated)
            value = self._node(event, 3)
            yield Item(value, event.start_mark.line, tuple(self.repeated[before:]))
            del self.repeated[before:]

    def _key(self, event: Any) -> str:
        if type(event) is not ScalarEvent:
            raise SourceMalformed(f"line {event.start_mark.line + 1}: a key that is no plain text")
        return event.value

    def _node(self, event: Any, level: int) -> Any:
        """One value: text, None, list or dict."""
        kind = type(event)
        if kind is ScalarEvent:
            return self._scalar(event)
        if kind is AliasEvent:
            return self._alias(event)
        if level > MOST_LEVELS:
            raise LimitExceeded(f"line {event.start_mark.line + 1}: more than {MOST_LEVELS} levels deep")
        before = self._nodes
        value: Any = {} if kind is MappingStartEvent else []
        if event.anchor or event.tag:
            self.plain = False
            self._anchors[event.anchor] = value, MOST_NODES
        (self._mapping if kind is MappingStartEvent else self._sequence)(value, level)
        if event.anchor:
            self._anchors[event.anchor] = value, self._nodes - before + 1
        return value

    def _mapping(self, value: dict[str, Any], level: int) -> None:
        next_event, scalar, nodes = self._next, self._scalar, 0
        merged: list[Any] = []
        while (kind := type(event := next_event())) is not MappingEndEvent:
            key = event.value if kind is ScalarEvent else str(self._node(event, level + 1))
            event = next_event()
            item = scalar(event) if type(event) is ScalarEvent else self._node(event, level + 1)
            nodes += 1
            if key == "<<":
                merged.extend(item if isinstance(item, list) else [item])
                continue
            if key in value:
                self.repeated.append(key)
            value[key] = item
        for other in merged:
            for key, item in other.items() if isinstance(other, dict) else ():
                value.setdefault(key, item)
        self._count(nodes, event)

    def _sequence(self, value: list[Any], level: int) -> None:
        while type(event := self._next()) is not SequenceEndEvent:
            value.append(self._node(event, level + 1))
        self._count(len(value), event)

    def _scalar(self, event: Any) -> str | None:
        """A text, or None for a plain null; kept short, for it is called for nine events in ten."""
        text = event.value
        if len(text) < 5:
            if text in NULLS and event.implicit[0]:
                text = None
        elif len(text) > MOST_SCALAR:
            raise LimitExceeded(f"line {event.start_mark.line + 1}: a text of {len(text):,} characters, more than {MOST_SCALAR:,}")
        if event.anchor or event.tag:
            self.plain = False
            self._anchors[event.anchor] = text, 1
        return text

    def _alias(self, event: Any) -> Any:
        self.plain = False
        if event.anchor not in self._anchors:
            raise SourceMalformed(f"line {event.start_mark.line + 1}: alias *{event.anchor} has no anchor")
        value, size = self._anchors[event.anchor]
        self._count(size, event)
        return value

    def _count(self, nodes: int, event: Any) -> None:
        self._nodes += nodes
        if self._nodes > MOST_NODES:
            raise LimitExceeded(f"line {event.start_mark.line + 1}: an entry of more than {MOST_NODES:,} values, aliases expanded")
