"""Reading the fields of a resource: each one of the right shape, or an error that says which is not."""

from collections.abc import Mapping
from typing import Any

MOST_NESTED = 100  # mappings and lists in one another: what a Pod needs is a fifth of that


class InvalidDocument(Exception):
    """A resource that cannot be used; `path` leads to the field."""

    def __init__(self, path: tuple[str, ...], message: str) -> None:
        super().__init__(f"{'.'.join(path)}: {message}" if path else message)
        self.path = path


def is_too_deep(value: object) -> bool:
    """Whether mappings and lists stand in one another more than MOST_NESTED times; without recursion, which such a value would break."""
    level = {id(value): value}
    for _ in range(MOST_NESTED):
        insides = [each.values() if isinstance(each, dict) else each for each in level.values() if isinstance(each, dict | list)]
        level = {id(inner): inner for inside in insides for inner in inside}
        if not level:
            return False
    return True


class Fields:
    """A mapping of a resource, read field by field."""

    def __init__(self, value: Mapping[str, Any], path: tuple[str, ...] = ()) -> None:
        self._value, self._path = value, path

    def text(self, name: str, default: str | None = None) -> str:
        """A string; required without a default."""
        value = self._value.get(name)
        if value is None and default is not None:
            return default
        if not isinstance(value, str) or (default is None and not value.strip()):
            wrong = "is required" if value is None else "must not be empty" if isinstance(value, str) else "must be a text"
            raise self._wrong(name, wrong)
        return value

    def flag(self, name: str) -> bool:
        value = self._value.get(name)
        if value is not None and not isinstance(value, bool):
            raise self._wrong(name, "must be true or false")
        return bool(value)

    def number(self, name: str) -> int:
        value = self._value.get(name)
        if value is None:
            return 0
        if not isinstance(value, int) or isinstance(value, bool):
            raise self._wrong(name, "must be a whole number")
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        value = self._value.get(name) or []
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self._wrong(name, "must be a list of texts")
        return tuple(value)

    def inside(self, name: str) -> "Fields":
        """A nested mapping; an absent one is empty."""
        value = self._value.get(name)
        if value is not None and not isinstance(value, dict):
            raise self._wrong(name, "must be a mapping of fields")
        return Fields(value or {}, (*self._path, name))

    def each(self, name: str) -> "list[Fields]":
        """The mappings of a list; an absent one is empty."""
        value = self._value.get(name)
        if value is None:
            return []
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise self._wrong(name, "must be a list of mappings")
        return [Fields(item, (*self._path, name, str(number))) for number, item in enumerate(value)]

    def plain(self) -> dict[str, Any]:
        return dict(self._value)

    def only(self, *known: str) -> None:
        """Refuse fields that the kind does not have: a typo is said, not swallowed."""
        if unknown := sorted(str(name) for name in self._value if name not in known):
            raise self._wrong(unknown[0], f"there is no such field (known: {', '.join(sorted(known))})")

    def __bool__(self) -> bool:
        return bool(self._value)

    def _wrong(self, name: str, message: str) -> InvalidDocument:
        return InvalidDocument((*self._path, name), message)
