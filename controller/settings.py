"""What the controller is told by its environment, read once. No pydantic here: 12 MB for three names."""

import os
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Settings:
    """Each field is the environment variable CHARTFLEET_ + its name; docs/reference.md lists them for users.

    database_url    PostgreSQL, for the Celery backend
    directory       manifests to follow; --directory wins
    source          the name that this source's repositories belong to; directory:PATH if empty
    """

    database_url: str = field(default="", repr=False)
    directory: Path | None = None
    source: str = ""

    @classmethod
    def from_env(cls) -> "Settings":
        directory = os.environ.get("CHARTFLEET_DIRECTORY")
        return cls(
            os.environ.get("CHARTFLEET_DATABASE_URL", ""), Path(directory) if directory else None, os.environ.get("CHARTFLEET_SOURCE", "")
        )
