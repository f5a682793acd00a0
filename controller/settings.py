"""What the controller is told by its environment, read once."""

from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Each field is the environment variable CHARTFLEET_ + its name; docs/reference.md lists them."""

    model_config = SettingsConfigDict(env_prefix="CHARTFLEET_", frozen=True)

    database_url: SecretStr | None = Field(default=None, description="PostgreSQL, for the Celery backend")
    directory: Path | None = Field(default=None, description="manifests to follow; --directory wins")
    source: str = Field(default="", description="the name that this source's repositories belong to; directory:PATH if empty")
