"""Texts of manifest files → what they ask for. Pure.

A document that cannot be used is a problem with its file and line, and stops nothing.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from catalog.documents import Document, Unreadable, documents, secret_value
from catalog.errors import WaitingForSecret
from catalog.model import Problem, RepositoryKey, SecretRef
from controller.desired import Desired
from controller.kinds import KINDS
from controller.kinds.fields import InvalidDocument

IGNORED = {"Secret", "ConfigMap", "Namespace"}


@dataclass(slots=True)
class Scan:
    """What a source asks for, and in which file.

    Only a `complete` scan may remove. `unusable` names are there, though not as they should be; a file in `doubtful` may be asking for more
    than can be read from it.
    """

    desired: dict[RepositoryKey, Desired] = field(default_factory=dict)
    files: dict[RepositoryKey, str] = field(default_factory=dict)
    unusable: set[RepositoryKey] = field(default_factory=set)
    doubtful: set[str] = field(default_factory=set)
    problems: list[Problem] = field(default_factory=list)
    complete: bool = True


def interpret(files: Mapping[str, str | OSError | UnicodeDecodeError], source: str) -> Scan:
    """All files of a source, by name; an error stands for a file that could not be read."""
    scan = Scan()
    found: list[tuple[str, Document]] = []
    for name, text in sorted(files.items()):
        try:
            if not isinstance(text, str):
                raise Unreadable(1, f"cannot be read: {text}")
            read = documents(text)
            if not read:
                scan.doubtful.add(name)
                scan.problems.append(Problem(name, 1, None, None, "the file is empty: delete it to remove what it asked for"))
            found.extend((name, document) for document in read)
        except Unreadable as error:
            scan.complete = False
            scan.problems.append(Problem(name, error.line, None, None, str(error)))
    secrets = _Secrets([document for _, document in found])
    places: dict[RepositoryKey, str] = {}
    for name, document in found:
        _take(scan, places, name, document, secrets, source)
    return scan


def _take(scan: Scan, places: dict[RepositoryKey, str], file: str, document: Document, secrets: "_Secrets", source: str) -> None:
    key = _key(document)
    try:
        desired = _desired(document, secrets, source)
        if desired is None:
            return
        if first := places.get(desired.key):
            raise InvalidDocument(("metadata", "name"), f"{desired.key} is already defined in {first}")
        places[desired.key] = f"{file}:{document.line}"
        scan.desired[desired.key], scan.files[desired.key] = desired, file
    except Exception as caught:
        error = caught if isinstance(caught, InvalidDocument) else InvalidDocument((), f"cannot be read ({type(caught).__name__})")
        scan.doubtful.add(file)
        line = document.line_of(*error.path)
        scan.problems.append(Problem(file, line, key and key.namespace, key and key.name, str(error)))
        if key and key not in scan.desired:
            scan.unusable.add(key)


def _desired(document: Document, secrets: "_Secrets", source: str) -> Desired | None:
    value = document.value
    if not isinstance(value, dict):
        raise InvalidDocument((), "a document must be a mapping with apiVersion and kind")
    if value.get("kind") in IGNORED:
        return None
    parse = KINDS.get((str(value.get("apiVersion")), str(value.get("kind"))))
    if parse is None:
        known = ", ".join(f"{kind} ({version})" for version, kind in KINDS)
        raise InvalidDocument(("kind",), f"{value.get('kind')!r} of apiVersion {value.get('apiVersion')!r} is not known here: {known}")
    return parse(value, secrets.hash, source)


def _key(document: Document) -> RepositoryKey | None:
    metadata = document.value.get("metadata") if isinstance(document.value, dict) else None
    if not isinstance(metadata, dict) or not isinstance(metadata.get("name"), str):
        return None
    namespace = metadata.get("namespace")
    return RepositoryKey(namespace if isinstance(namespace, str) else "default", metadata["name"])


class _Secrets:
    """The Secrets among the documents, as slow hashes: a rotation is seen, the value is not to be had from them."""

    def __init__(self, found: list[Document]) -> None:
        self._found = found

    def hash(self, namespace: str, name: str, key: str) -> str:
        try:
            value = secret_value(self._found, namespace, SecretRef(name, key))
        except WaitingForSecret:
            return ""
        return hashlib.scrypt(value.encode(), salt=f"{namespace}/{name}/{key}".encode(), n=4096, r=8, p=1, dklen=16).hex()
