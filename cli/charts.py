"""chartfleet search and show."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import click

from cli import instances, output
from cli.client import Client, path
from cli.failures import Exit, Failure
from cli.output import Format, formatted

LISTED_VERSIONS, LISTED_CHANGES = 10, 50  # how many `show` lists for people
SHORTCUTS = ("readme", "values", "schema")


@click.command(help="Search names, keywords and descriptions for all WORDs; each may be a beginning. Without one, list all charts.")
@click.argument("word", nargs=-1)
@click.option("-n", "--namespace", help="Only of this namespace.")
@click.option("-r", "--repository", help="Only of this repository.")
@click.option("--limit", type=click.IntRange(1), help="At most so many.")
@formatted
def search(word: tuple[str, ...], namespace: str | None, repository: str | None, limit: int | None, form: Format) -> None:
    query = {"q": " ".join(word) or None, "namespace": namespace, "repository": repository}
    _print_charts(list(_client().items("charts", limit, **query)), form)


@click.command(help="Show a chart, or a FILE of one of its versions: readme, values, schema, or a name that `files` lists.")
@click.argument("chart", metavar="REPO/CHART")
@click.argument("file", required=False)
@click.option("--version", help="This version and not the newest.")
@click.option("--history", is_flag=True, help="What became of the chart, or of --version, also of what is withdrawn.")
@click.option("-n", "--namespace", default="default", show_default=True, help="Namespace of the repository.")
@formatted
def show(chart: str, file: str | None, version: str | None, history: bool, namespace: str, form: Format) -> None:
    repository, slash, name = chart.partition("/")
    if not (repository and slash and name):
        raise Failure(Exit.USAGE, f"{chart!r} is not REPO/CHART, such as sample/static-site. `chartfleet search` shows the names.")
    if file and history:
        raise Failure(Exit.USAGE, "--history is of charts and versions, not of a file.")
    client, where = _client(), path("charts", namespace, repository, name)
    if history:
        _print_history(client, f"{where}/history", version, form)
    elif file:
        _print_file(client.text(f"{where}/{path('versions', version or _newest(client, where), *_file_path(file))}"), file, form)
    elif version:
        _print_document(client.get(f"{where}/{path('versions', version)}"), form)
    else:
        _print_chart(client, where, form)


def _file_path(file: str) -> tuple[str, ...]:
    return (file,) if file in SHORTCUTS else ("files", file)


def _newest(client: Client, where: str) -> str:
    return client.get(where)["version"]


def _print_charts(items: list[Mapping[str, Any]], form: Format) -> None:
    if form != "table":
        output.show(output.dumped(items, form))
        return
    columns, names = ["CHART", "VERSION", "APP VERSION", "DESCRIPTION"], ["version", "app_version", "description"]
    if any(item["namespace"] != "default" for item in items):
        columns = ["NAMESPACE", *columns]
    rows = [[f"{item['repository']}/{item['name']}", *cells] for item, cells in zip(items, output.rows_of(items, *names), strict=True)]
    if columns[0] == "NAMESPACE":
        rows = [[item["namespace"], *row] for item, row in zip(items, rows, strict=True)]
    output.show(output.table(columns, rows) if items else "no chart matches")


def _print_file(text: str, file: str, form: Format) -> None:
    output.show(output.clean(text).rstrip("\n") if form == "table" else output.dumped({file: text}, form))


def _print_document(document: Mapping[str, Any], form: Format) -> None:
    output.show(output.fields(_in_words(document)) if form == "table" else output.dumped(document, form))


def _in_words(document: Mapping[str, Any]) -> Mapping[str, object]:
    """A chart or version for people: without `metadata`, which mostly says the same again, and its archive in a few lines."""
    short = {name: value for name, value in document.items() if name not in ("metadata", "archive", "waiting")}
    archive, waiting = document["archive"], document["waiting"]
    if archive:
        short |= {name: archive[name] for name in ("templates", "images")}
        short["dependencies"] = [f"{one.get('name')} {one.get('version')}" for one in archive["dependencies"]]
        short["signed"] = {True: "yes", False: "no", None: None}[archive["signed"]]
        listed = "as listed, " if archive["as_listed"] else ""
        short["archive"] = f"sha256:{archive['digest']}, {listed}read {output.age(archive['read_at'], output.now())}"
        short["attention"] = _attention(archive, document.get("digest"))
    if waiting:
        short["waiting"] = _waiting(waiting)
    return short


def _attention(archive: Mapping[str, Any], listed: str | None) -> str:
    if archive["stale"]:
        return "the index lists another archive since; files and facts are of the one read before"
    if archive["as_listed"] is False:
        return f"DIGEST MISMATCH: the index lists {listed or 'another'}, the archive has {archive['digest']}"
    return ""


def _waiting(waiting: Mapping[str, Any]) -> str:
    if not waiting["reason"]:
        return "the archive is still to be read"
    tried = f"failed {waiting['attempts']} times, tried again at {waiting['next_attempt_at']}"
    return f"the archive cannot be read: {waiting['reason']}: {waiting['message']} ({tried})"


def _print_history(client: Client, where: str, version: str | None, form: Format) -> None:
    if form != "table":
        output.show(output.dumped(list(client.items(where, version=version)), form))
        return
    page = client.get(where, limit=str(LISTED_CHANGES), version=version)
    cells = output.rows_of(page["items"], "run", "version", "change")
    rows = [[_second(item["at"]), *row, _replaced(item["replaced"])] for item, row in zip(page["items"], cells, strict=True)]
    output.show(output.table(["AT", "RUN", "VERSION", "CHANGE", "REPLACED"], rows))
    if page["total"] > len(rows):
        output.show(f"… and {page['total'] - len(rows)} older ones")


def _second(time: str) -> str:
    return datetime.fromisoformat(time).strftime("%Y-%m-%dT%H:%M:%SZ")


def _replaced(replaced: Mapping[str, Any] | None) -> str:
    """What a change took the place of, in a line: digest, hosts, and the names of other fields."""
    if not replaced:
        return ""
    digest = [f"digest {replaced['digest']}"] if replaced["digest"] else []
    hosts = [f"host {host}" for host in replaced["hosts"]]
    return ", ".join([*digest, *hosts, *replaced["fields"]])


def _print_chart(client: Client, where: str, form: Format) -> None:
    chart = client.get(where)
    _print_document(chart, form)
    if form == "table":
        versions = list(client.items(f"{where}/versions", LISTED_VERSIONS))
        output.show("")
        output.show(output.table(["VERSION", "APP VERSION", "CREATED"], output.rows_of(versions, "version", "app_version", "created")))
        if chart["versions"] > len(versions):
            output.show(f"… and {chart['versions'] - len(versions)} older ones")


def _client() -> Client:
    return Client(instances.address())
