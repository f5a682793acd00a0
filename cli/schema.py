"""python -m cli.schema: the schema as SQL to read, from a database that was made by the migrations alone.

The server is a throw-away one; the text is pg_dump's without what differs between its versions or only repeats the rule (the owner).
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from cli.servers import postgres_binaries, python, socket_directory, start_postgres, stop

HEAD = """\
-- The schema as it stands, to be read: written by `make schema`, made by the migrations.
-- Everything belongs to chartfleet_owner unless it says otherwise.

"""
# Session settings, tokens and version lines of pg_dump, the head above each object, and the owner that all share.
_NOISE = re.compile(
    r"""^(?:SET\ [a-z_]+\ =.*;
        |SELECT\ pg_catalog\.set_config.*;
        |\\(?:un)?restrict\ .*
        |ALTER\ .*\ OWNER\ TO\ chartfleet_owner;
        |--(?:\ .*)?
        )\n""",
    re.MULTILINE | re.VERBOSE,
)


def normalised(dump: str) -> str:
    """What is the same for every version of pg_dump."""
    return HEAD + re.sub(r"\n{3,}", "\n\n", _NOISE.sub("", dump)).strip() + "\n"


def dumped(url: str) -> str:
    """The schema of a database. Raises CalledProcessError."""
    words = [f"{postgres_binaries()}/pg_dump", "--schema-only", "--schema=chartfleet", f"--dbname={url}"]
    return normalised(subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout)


def migrated() -> str:
    """The schema of a new database after all migrations."""
    with tempfile.TemporaryDirectory(prefix="chartfleet-") as directory:
        state = Path(directory)
        server, url = start_postgres(state, socket_directory(state))
        try:
            environment = {**os.environ, "CHARTFLEET_DATABASE_URL": url}
            subprocess.run(python("migrations"), check=True, env=environment, cwd=Path(__file__).parents[1])
            return dumped(url)
        finally:
            stop([server])


if __name__ == "__main__":
    sys.stdout.write(migrated())
