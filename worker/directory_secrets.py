"""The texts that a repository's Secrets hold, from the documents of a directory of manifests; apart for the sake of its imports."""

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from catalog.documents import Document, Unreadable, documents, is_manifest, secret_value
from catalog.errors import WaitingForSecret
from catalog.model import SecretRef


async def secret_texts(directory: Path | None, namespace: str, wanted: Iterable[SecretRef]) -> dict[SecretRef, str]:
    """The text of each Secret's key. Raises WaitingForSecret for the first that is not there."""
    if directory is None:
        raise WaitingForSecret("the repository names a Secret: start the worker with CHARTFLEET_SECRETS_DIRECTORY set to the manifests")
    found = await _documents(directory)
    return {ref: secret_value(found, namespace, ref) for ref in wanted}


async def _documents(directory: Path) -> list[Document]:
    """All documents of the manifests; a file that cannot be read is the controller's to report."""
    found: list[Document] = []
    for path in sorted(path for path in directory.iterdir() if is_manifest(path.name)):
        with suppress(Unreadable, OSError, UnicodeDecodeError):
            found.extend(documents(path.read_text(encoding="utf-8")))
    return found
