"""chartfleet repo: list, status, resync, release."""

import time
from collections.abc import Mapping
from typing import Any

import click

from catalog.model import HELD_READS
from cli import instances, output
from cli.client import Client, Item, path
from cli.failures import Exit, Failure
from cli.output import Format, formatted
from cli.progress import problem

WAIT = 600.0  # seconds for a sync to end
OVER = {"done", "failed", "parked"}

in_namespace = click.option("-n", "--namespace", default="default", show_default=True, help="Namespace of the repository.")


@click.group(help="List repositories, see how their syncs went, ask for a sync, release what is held.")
def repo() -> None: ...


@repo.command("list", help="List the repositories of the catalogue.")
@click.option("-n", "--namespace", help="Only of this namespace.")
@click.option("--limit", type=click.IntRange(1), help="At most so many.")
@formatted
def list_(namespace: str | None, limit: int | None, form: Format) -> None:
    client = _client()
    found = (item for item in client.items("repositories") if namespace in (None, item["namespace"]))
    _print_list([item for _, item in zip(range(limit or 10**9), found, strict=False)], form)
    _print_problems(_problems(client, namespace) if form == "table" else [])


@repo.command(help="Show how the syncs of all repositories stand, or one repository's notes and last runs.")
@click.argument("name", required=False)
@in_namespace
@formatted
def status(name: str | None, namespace: str, form: Format) -> None:
    client = _client()
    if name is None:
        _print_list(list(client.items("repositories")), form)
        _print_problems(_problems(client) if form == "table" else [])
        return
    problems = _problems(client, namespace, name)
    try:
        item = client.get(path("repositories", namespace, name))
    except Failure as failure:
        if failure.exit_code != Exit.FAILED or not problems:
            raise
        raise Failure(Exit.FAILED, output.clean(f"{namespace}/{name} cannot be used: {problem(problems[0])}")) from None
    _print_one(item, form)
    _print_problems(problems if form == "table" else [])


@repo.command(help="Sync a repository now.")
@click.argument("name")
@in_namespace
@click.option("--wait", is_flag=True, help="Wait until the sync is over; the exit code says whether it succeeded.")
def resync(name: str, namespace: str, wait: bool) -> None:
    client, where = _client(), path("repositories", namespace, name)
    before = {run["id"] for run in client.get(where)["runs"]}
    client.post(f"{where}/sync")
    output.show(f"{namespace}/{name}: sync requested")
    if wait:
        _report(f"{namespace}/{name}", _finished(client, where, before))


@repo.command(help="Apply a held listing at the next sync, which is asked for: what it removes goes, as its upstream meant it.")
@click.argument("name")
@in_namespace
def release(name: str, namespace: str) -> None:
    _client().post(f"{path('repositories', namespace, name)}/release")
    output.show(f"{namespace}/{name}: released; the next sync applies the held listing")


def _finished(client: Client, where: str, before: set[int]) -> Item:
    """The first sync that was queued after those of `before` and is over. Raises Failure."""
    end = time.monotonic() + WAIT
    while time.monotonic() < end:
        new = [run for run in client.get(where)["runs"] if run["job"] == "sync" and run["id"] not in before]
        if new and new[-1]["state"] in OVER:
            return new[-1]
        time.sleep(0.5)
    raise Failure(Exit.FAILED, f"The sync has not ended after {WAIT:g} s. `chartfleet repo status` shows how it stands.")


def _report(key: str, run: Item) -> None:
    if run["state"] != "done":
        raise Failure(Exit.FAILED, output.clean(f"{key}: {_outcome(run) or run['state']}"))
    output.show(f"{key}: {_outcome(run)}")


def _problems(client: Client, namespace: str | None = None, name: str | None = None) -> list[Item]:
    """Documents that cannot be used, of a namespace or a repository; one that names no namespace may be anybody's."""
    found: list[Item] = client.get("problems")["items"]
    return [item for item in found if namespace in (None, item["namespace"] or namespace) and name in (None, item["name"])]


def _print_problems(problems: list[Item]) -> None:
    """A document that cannot be used changes nothing: without a word here its repository would look as if all were well."""
    if problems:
        output.show("\ndocuments that cannot be used; what was read of them before stands:")
        output.show("\n".join(map(problem, problems)))


def _print_list(items: list[Item], form: Format) -> None:
    if form != "table":
        output.show(output.dumped(items, form))
        return
    rows = [[item["namespace"], item["name"], item["type"], str(item["charts"]), str(item["versions"]), *_standing(item)] for item in items]
    output.show(output.table(["NAMESPACE", "NAME", "TYPE", "CHARTS", "VERSIONS", "LAST SUCCESS", "STATUS"], rows))


def _standing(item: Item) -> tuple[str, str]:
    message = item["message"]
    said = item["reason"] + (f": {message}" if message and not item["ready"] else "")
    return output.age(item["last_success"], output.now()), f"{item['phase']}; {said}" if item["phase"] else said


def _print_one(item: Mapping[str, Any], form: Format) -> None:
    if form != "table":
        output.show(output.dumped(item, form))
        return
    names = ("namespace", "name", "type", "url", "charts", "versions", "reason", "message")
    more = ("state", "phase", "last_sync", "last_success", "next_due", "revision", "files_pending")
    output.show(output.fields({name.replace("_", " "): item.get(name) for name in (*names, *more)}))
    if item["held"]:
        _print_held(item, item["held"])
    _print_notes(f"{item['notes_total']} notes on entries of the listing", item["notes"])
    _print_notes(f"{item['file_notes_total']} notes of the last reading of archives", item["file_notes"])
    _print_failing(item["files_failing"])
    if runs := item.get("runs"):
        output.show("\nlast runs, newest first:")
        output.show(output.table(["QUEUED", "JOB", "CAUSE", "STATE", "OUTCOME"], [_run_row(run) for run in runs]))


def _print_held(item: Item, held: Mapping[str, Any]) -> None:
    output.show(f"\na listing is held; `chartfleet repo release {item['name']} -n {item['namespace']}` lets the next sync apply it:")
    facts = {
        "reason": held["reason"],
        "lacks": f"{held['removals']:,} of {held['removals'] + held['versions']:,} versions",
        "read": f"{held['reads']} times, first at {held['first_read_at']}, last at {held['last_read_at']}",
        "applied by itself": f"after {held['release_due_at']}, when it was read {HELD_READS} times",
        "released at": held["released_at"],
    }
    output.show(output.fields(facts))


def _print_notes(title: str, notes: list[Item]) -> None:
    if notes:
        output.show(f"\n{title}:")
        output.show(output.table(["CHART", "VERSION", "REASON", "MESSAGE"], output.rows_of(notes, "chart", "version", "reason", "message")))


def _print_failing(failing: list[Item]) -> None:
    if failing:
        output.show("\narchives that could not be read, and when the first is tried again:")
        names = ("archives", "reason", "next_attempt_at", "message")
        output.show(output.table(["ARCHIVES", "REASON", "NEXT ATTEMPT", "SUCH AS"], output.rows_of(failing, *names)))


def _run_row(run: Item) -> list[str]:
    return [output.age(run["queued_at"], output.now()), run["job"], run["cause"], run["state"], _outcome(run)]


def _outcome(run: Item) -> str:
    """What a run did, or why it did not."""
    if run["error_class"]:
        return f"{run['error_class']}: {run['error']}"
    if run["state"] != "done":
        return run["phase"] or ""
    counts = [f"{run[name]} {name}" for name in ("added", "changed", "removed") if run[name]]
    return ", ".join(counts) or run["result"] or ""


def _client() -> Client:
    return Client(instances.address())
