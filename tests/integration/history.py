"""A real repository's past: the revisions that one index went through, where they are at hand."""

import re
import tarfile
from collections.abc import Iterator

from tests.conftest import SHARED

HISTORY = SHARED / "data/history/eks.tar.xz"
ADDRESS = re.compile(rb"https://[^\s/]+/eks-charts/")


def revisions() -> Iterator[bytes]:
    """All 247, the oldest first, their urls made relative."""
    with tarfile.open(HISTORY) as archive:
        for member in archive:
            if member.name.endswith(".yaml") and (file := archive.extractfile(member)):
                yield ADDRESS.sub(b"", file.read())
