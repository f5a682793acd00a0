"""chartfleet search and show."""

from collections.abc import Mapping
from typing import Any

import click

from cli import instances, output
from cli.client import Client, path
from cli.failures import Exit, Failure
from cli.output import Format, formatted

LISTED_VERSIONS = 10  # how many `show` lists for people


@click.command(help="Search names, keywords and descriptions for all WORDs; each may be a beginning. Without one, list all charts.")
@click.argument("word", nargs=-1)
@click.option("-n", "--namespace", help="Only of this namespace.")
@click.option("-r", "--repository", help="Only of this repository.")
@click.option("--limit", type=click.IntRange(1), help="At most so many.")
@formatted
def search(word: tuple[str, ...], namespace: str | None, repository: str | None, limit: int | None, form: Format) -> None:
    query = {"q": " ".join(word) or None, "namespace": namespace, "repository": repository}
    _print_charts(list(_client().items("charts", limit, **query)), form)


@click.command(help="Show a chart, or a file of one of its versions. The name is that of `search`: REPOSITORY/CHART.")
@click.argument("chart", metavar="REPO/CHART")
@click.argument("file", type=click.Choice(["readme", "values", "schema"]), required=False)
@click.option("--version", help="This version and not the newest.")
@click.option("-n", "--namespace", default="default", show_default=True, help="Namespace of the repository.")
@formatted
def show(chart: str, file: str | None, version: str | None, namespace: str, form: Format) -> None:
    repository, slash, name = chart.partition("/")
    if not (repository and slash and name):
        raise Failure(Exit.USAGE, f"{chart!r} is not REPO/CHART, such as sample/static-site. `chartfleet search` shows the names.")
    client, where = _client(), path("charts", namespace, repository, name)
    if file:
        _print_file(client.text(f"{where}/{path('versions', version or _newest(client, where), file)}"), file, form)
    elif version:
        _print_document(client.get(f"{where}/{path('versions', version)}"), form)
    else:
        _print_chart(client, where, form)


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
    short = {name: value for name, value in document.items() if name != "metadata"}  # mostly the same again
    output.show(output.fields(short) if form == "table" else output.dumped(document, form))


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
