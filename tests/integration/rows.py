"""Catalogue rows for tests of the read side, written as the worker's role would."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import psycopg
from psycopg.types.json import Jsonb

from catalog.versions import order_key
from tests.conftest import Database


@dataclass(frozen=True)
class Rows:
    """Writes rows with sensible values for whatever a test does not care about."""

    database: Database
    connection: psycopg.Connection = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "connection", psycopg.connect(self.database.writer, autocommit=True))

    def insert(self, table: str, **values: object) -> int:
        """One row; returns its `id`, or 0 when the table has none."""
        names, places = ", ".join(values), ", ".join(f"%({name})s" for name in values)
        row = self.connection.execute(
            f"insert into chartfleet.{table} as t ({names}) values ({places}) returning to_jsonb(t)", values
        ).fetchone()
        assert row is not None
        return row[0].get("id", 0)

    def repository(self, name: str, namespace: str = "default", **values: object) -> int:
        url = f"https://charts.example.org/{name}"
        return self.insert("repositories", namespace=namespace, name=name, type="helm", **{"url": url, **values})

    def chart(self, repository: int, name: str, versions: Sequence[str] = ("1.0.0",), namespace: str = "default", **values: object) -> int:
        """A chart with versions, the first of them the newest; returns the newest version's id."""
        common = {"description": f"The chart {name}", "namespace": namespace, **values}
        chart = self.insert(
            "charts", repository_id=repository, name=name, rollup=b"", version=versions[0], versions=len(versions), **common
        )
        return [self.version(chart, version, namespace) for version in reversed(versions)][-1]

    def version(self, chart: int, version: str, namespace: str = "default", **metadata: object) -> int:
        key = order_key(version)
        url = f"https://charts.example.org/{version}.tgz"
        metadata = {"description": f"Release {version}", **metadata}
        return self.insert(
            "chart_versions",
            chart_id=chart,
            namespace=namespace,
            version=version,
            order_key=key,
            fingerprint=b"",
            urls=[url],
            metadata=Jsonb(metadata),
        )

    def file(self, version: int, name: str, content: bytes, namespace: str = "default") -> str:
        """One more file of a version; returns its SHA-256 in hex."""
        sha256 = hashlib.sha256(content).digest()
        self.insert("blobs", sha256=sha256, size=len(content), content=content)
        self.connection.execute(
            """insert into chartfleet.version_files as f (version_id, namespace, names, contents, digest) values (%s, %s, %s, %s, '')
               on conflict (version_id) do update set names = f.names || excluded.names, contents = f.contents || excluded.contents""",
            (version, namespace, [name], [sha256]),
        )
        return sha256.hex()

    def archive(self, version: int, digest: str, listed: str | None = None, namespace: str = "default", **values: object) -> None:
        """A version's archive as it was read, without files, and the digest that the index lists for it."""
        common = {"names": [], "contents": [], **values}
        self.insert("version_files", version_id=version, namespace=namespace, digest=digest, **common)
        self.connection.execute("update chartfleet.chart_versions set digest = %s where id = %s", (listed, version))

    def work(self, repository: int, version: int, namespace: str = "default", **values: object) -> None:
        """An archive that is to be read."""
        self.insert("file_work", version_id=version, namespace=namespace, repository_id=repository, **{"newest": True, **values})

    def held(self, repository: int, namespace: str = "default", **values: object) -> None:
        facts = {"reason": "Shrunk", "removals": 90, "versions": 10, "reads": 2, "body_sha256": b"", "content": b"", **values}
        self.insert("held_listings", repository_id=repository, namespace=namespace, **facts)

    def change(self, change: str, version: str = "1.0.0", replaced: object = None, namespace: str = "default", **values: object) -> None:
        """A row of the ledger, of the chart repo/app unless said otherwise."""
        of = {"repository": "repo", "chart": "app", "run_id": 7, **values}
        self.insert("ledger", namespace=namespace, version=version, change=change, replaced=replaced and Jsonb(replaced), **of)

    def run(self, repository: int, state: str, name: str = "any", **values: object) -> int:
        finished = {"finished_at": "now"} if state in ("done", "failed", "parked") else {}
        common = {"namespace": "default", "job": "sync", "cause": "schedule", "argv": ["sync"], **finished, **values}
        return self.insert("sync_runs", repository_id=repository, name=name, state=state, **common)

    def schedule(self, repository: int, namespace: str = "default", **values: object) -> None:
        common = {"argv": ["sync"], "fingerprint": "", "period_seconds": 600, **values}
        self.insert("schedules", repository_id=repository, namespace=namespace, **common)
