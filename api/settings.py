"""What the API reads from its environment, once, at the start."""

from typing import Annotated, Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Each field is read from CHARTFLEET_ and its name in capitals."""

    model_config = SettingsConfigDict(env_prefix="CHARTFLEET_", frozen=True)

    database_url: Annotated[SecretStr, Field(description="PostgreSQL, such as postgresql://user:password@host:5432/chartfleet.")]
    api_host: Annotated[str, Field(description="Address to listen on; 0.0.0.0 lets others in.")] = "127.0.0.1"
    api_port: Annotated[int, Field(ge=0, le=65535, description="Port to listen on; 0 takes a free one.")] = 8080
    api_auth: Annotated[Literal["none"], Field(description="Who sees what. none: everybody sees every namespace.")] = "none"
