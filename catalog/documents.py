"""Resource manifests as text: YAML documents with the lines they stand on, and the Secrets among them. Pure."""

import base64
import binascii
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from catalog.errors import WaitingForSecret
from catalog.model import SecretRef

MOST_LEVELS = 64  # libyaml's composer recurses: 30,000 nested "[" would end the process
MOST_CHARACTERS = 3_000_000
MOST_VALUES = 500_000


@dataclass(frozen=True, slots=True)
class Document:
    """One document: its value, the line (from 1) it begins on and the lines of its mappings' keys by path."""

    line: int
    value: Any
    lines: Mapping[tuple[str, ...], int] = field(default_factory=dict)

    def line_of(self, *path: str) -> int:
        """The line of the deepest key of `path` that the document has."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, self.line)


class Unreadable(Exception):
    """A text that is not YAML; `line` counts from 1."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


def documents(text: str) -> list[Document]:
    """The documents of a text; a `kind: List` counts as its items. Raises Unreadable."""
    if len(text) > MOST_CHARACTERS:
        raise Unreadable(1, f"{len(text):,} characters, more than the {MOST_CHARACTERS:,} a manifest may have")
    try:
        _check_shape(text)
        return list(_load(text))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise Unreadable(mark.line + 1 if mark else 1, f"not YAML: {error.problem or error}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise Unreadable(1, f"not YAML: {str(error).splitlines()[0]}") from None


def is_manifest(name: str) -> bool:
    """Whether a file of a directory of manifests is one, by its name."""
    return name.endswith((".yaml", ".yml", ".json")) and not name.startswith(".")


def secret_value(found: Iterable[Document], namespace: str, ref: SecretRef) -> str:
    """The text of a Secret's key. Raises WaitingForSecret when the Secret or the key is not there."""
    for document in found:
        if is_secret(document, namespace, ref.name):
            return value_of_key(document.value, namespace, ref)
    raise WaitingForSecret(f"waiting for Secret {namespace}/{ref.name} (key {ref.key})")


def is_secret(document: Document, namespace: str, name: str) -> bool:
    value = document.value
    if not isinstance(value, dict) or value.get("kind") != "Secret":
        return False
    metadata = value.get("metadata")
    return isinstance(metadata, dict) and metadata.get("name") == name and (metadata.get("namespace") or "default") == namespace


def value_of_key(secret: Mapping[str, Any], namespace: str, ref: SecretRef) -> str:
    """The text of a Secret's key. Raises WaitingForSecret when it is not there, or no text."""
    plain, encoded = (secret.get(field) or {} for field in ("stringData", "data"))
    if not isinstance(plain, dict) or not isinstance(encoded, dict):
        raise WaitingForSecret(f"`data` and `stringData` of Secret {namespace}/{ref.name} must be mappings")
    if ref.key in plain:
        return str(plain[ref.key])
    if ref.key not in encoded:
        raise WaitingForSecret(f"waiting for key {ref.key} of Secret {namespace}/{ref.name}")
    try:
        return base64.b64decode(str(encoded[ref.key]), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise WaitingForSecret(f"key {ref.key} of Secret {namespace}/{ref.name} is not base64 of UTF-8 text") from None


def _check_shape(text: str) -> None:
    """Levels and values, aliases expanded, before anything is built of them."""
    sizes: dict[str, int] = {}
    around: list[tuple[str | None, int]] = []  # of each open collection: its anchor, and the values counted before it
    count = 0
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        line = event.start_mark.line + 1 if event.start_mark else 1
        match event:
            case yaml.CollectionStartEvent():
                around.append((event.anchor, count))
            case yaml.CollectionEndEvent():
                anchor, before = around.pop()
                sizes[anchor or ""] = count - before
            case yaml.AliasEvent():
                count += sizes.get(event.anchor or "", MOST_VALUES)
            case _:
                count += 1
        if len(around) > MOST_LEVELS:
            raise Unreadable(line, f"more than {MOST_LEVELS} levels deep")
        if count > MOST_VALUES:
            raise Unreadable(line, f"more than {MOST_VALUES:,} values, aliases expanded")


def _load(text: str) -> Iterator[Document]:
    loader = yaml.CSafeLoader(text)
    try:
        while loader.check_node():
            node: Any = loader.get_node()
            value = loader.construct_document(node)
            if isinstance(value, dict) and value.get("kind") == "List" and isinstance(value.get("items"), list):
                yield from _items(node, value["items"])
            elif value is not None:
                yield Document(node.start_mark.line + 1, value, dict(_lines(node)))
    finally:
        loader.dispose()


def _items(node: Any, values: list[Any]) -> Iterator[Document]:
    for key, child in node.value:
        if key.value == "items":
            for item, value in zip(child.value, values, strict=True):
                yield Document(item.start_mark.line + 1, value, dict(_lines(item)))


def _lines(node: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], int]]:
    if isinstance(node, yaml.MappingNode):
        for key, child in node.value:
            here = (*path, str(key.value))
            yield here, key.start_mark.line + 1
            yield from _lines(child, here)
