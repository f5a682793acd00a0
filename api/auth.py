"""Who asks, and what they may see."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import Depends

ALL = ("*",)


async def visible_namespaces() -> Sequence[str]:
    """The namespaces this request may see. Auth mode `none` shows all; another mode would look at the request here, and nowhere else."""
    return ALL


VisibleNamespaces = Annotated[Sequence[str], Depends(visible_namespaces)]
