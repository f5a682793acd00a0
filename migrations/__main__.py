"""python -m migrations: bring the database of CHARTFLEET_DATABASE_URL up to date, one process at a time."""

import os
import sys
from pathlib import Path

import psycopg
from alembic import command
from alembic.config import Config
from alembic.util import CommandError


def config() -> Config:
    """Alembic's configuration; the address is read from the environment by env.py."""
    settings = Config()
    settings.set_main_option("script_location", str(Path(__file__).parent))
    return settings


def main() -> int:
    if not os.environ.get("CHARTFLEET_DATABASE_URL"):
        print("set CHARTFLEET_DATABASE_URL, for instance postgresql://user@host:5432/chartfleet", file=sys.stderr)
        return 2
    try:
        command.upgrade(config(), "head")
    except (psycopg.Error, CommandError) as error:
        print(f"cannot migrate: {str(error).strip()}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
