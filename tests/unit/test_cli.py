"""The command line: what it prints, what it asks for, and how it says that something is wrong."""

import io
import json
import os
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml
from click.testing import CliRunner, Result

from cli import instances, output, sample
from cli.__main__ import main
from cli.failures import Exit, Failure
from cli.instances import Process, Record
from cli.ports import Claims
from cli.progress import BUSY, QUIET, Progress, begun, changes, is_busy, line, problem
from cli.schema import normalised
from cli.supervisor import backoff
from tests.conftest import ROOT

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
EVIL = "\x1b[2Jred\x07 \u202egpj.exe\x9b31m\ud800"


def repository(**fields: Any) -> dict[str, Any]:
    """A repository as the API gives it."""
    plain: dict[str, Any] = {
        "namespace": "default", "name": "eks", "type": "helm", "url": "https://example.com", "charts": 21, "versions": 1449,
        "ready": True, "reason": "Synced", "message": "in step with its upstream", "last_sync": None,
        "last_success": None, "revision": None, "held": None,
        "state": "done", "phase": None, "notes_total": None, "files_pending": 0, "next_due": "2026-11-21T12:10:00Z",
    }  # fmt: skip
    return {**plain, **fields}


def chart(name: str, **fields: Any) -> dict[str, Any]:
    plain = {"namespace": "default", "repository": "eks", "name": name, "version": "1.0.0", "app_version": None, "description": None}
    return {**plain, **fields}


@contextmanager
def api(answers: dict[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """An API of canned answers by path, whose lists come in pages of two; yields its address and the requests it got."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(f"{self.command} {self.path}")
            address = urlsplit(self.path)
            answer = answers.get(address.path, {"items": []} if address.path == "/api/v1/problems" else None)
            if isinstance(answer, list):
                begin = int(parse_qs(address.query).get("cursor", ["0"])[0])
                following = str(begin + 2) if begin + 2 < len(answer) else None
                answer = {"items": answer[begin : begin + 2], "total": len(answer), "next": following}
            missing = {"error": {"reason": "NotFound", "message": "there is no such thing"}}
            body = answer.encode() if isinstance(answer, str) else json.dumps(missing if answer is None else answer).encode()
            self.send_response(404 if answer is None else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *args: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()


def run(url: str, *words: str) -> Result:
    return CliRunner().invoke(main, words, env={"CHARTFLEET_API_URL": url, "CHARTFLEET_STATE": ""})


def test_json_is_the_items_of_all_pages_and_nothing_else() -> None:
    charts = [chart(f"c{number}") for number in range(5)]
    with api({"/api/v1/charts": charts}) as (url, asked):
        found = run(url, "search", "home", "assistant", "-o", "json")
    assert (found.exit_code, json.loads(found.stdout), found.stderr) == (0, charts, "")
    assert asked[0] == "GET /api/v1/charts?limit=200&q=home+assistant"
    assert len(asked) == 3


def test_a_limit_ends_the_paging() -> None:
    with api({"/api/v1/charts": [chart(f"c{number}") for number in range(9)]}) as (url, asked):
        found = run(url, "search", "--limit", "3", "-o", "yaml")
    assert [item["name"] for item in yaml.safe_load(found.stdout)] == ["c0", "c1", "c2"]
    assert len(asked) == 2


def test_a_table_shows_names_that_show_understands_and_namespaces_only_when_there_are_others() -> None:
    with api({"/api/v1/charts": [chart("a"), chart("b")]}) as (url, _):
        assert run(url, "search").stdout.splitlines()[1].split() == ["eks/a", "1.0.0"]
    with api({"/api/v1/charts": [chart("a"), chart("b", namespace="team")]}) as (url, _):
        assert run(url, "search").stdout.splitlines()[2].split() == ["team", "eks/b", "1.0.0"]


@pytest.mark.parametrize("form", ["table", "json", "yaml"])
def test_what_a_repository_wrote_cannot_steer_the_terminal(form: str) -> None:
    with api({"/api/v1/charts": [chart(EVIL, description=EVIL)]}) as (url, _):
        found = run(url, "search", "-o", form)
    assert found.exit_code == 0
    assert not set(EVIL) & set("\x1b\x07\u202e\x9b\ud800") & set(found.stdout)
    assert "gpj.exe" in found.stdout


def test_json_keeps_what_it_escapes() -> None:
    assert json.loads(output.dumped([EVIL], "json")) == [EVIL]


def test_a_slash_in_a_charts_name_travels_as_part_of_the_name() -> None:
    with api({"/api/v1/charts/team/eks/a%2Fb/versions/1.0%2B2/readme": "# hello\n"}) as (url, _):
        assert run(url, "show", "eks/a/b", "readme", "--version", "1.0+2", "-n", "team").stdout == "# hello\n"


def version(**fields: Any) -> dict[str, Any]:
    """A version as the API gives it, whose archive was read."""
    archive: dict[str, Any] = {
        "digest": "cd" * 32, "as_listed": True, "stale": False, "signed": True, "templates": 7, "images": ["x/y:1", "x/z:2"],
        "dependencies": [{"name": "redis", "version": "~18"}], "read_at": "2026-01-01T00:00:00Z",
    }  # fmt: skip
    archive |= {name: fields.pop(name) for name in archive if name in fields}
    plain = {"version": "1.0.0", "digest": "ab" * 32, "files": ["README.md", "values-prod.yaml"], "archive": archive, "waiting": None}
    return {**plain, **fields, "metadata": {"home": "not shown"}}


def shown(found: dict[str, Any]) -> str:
    with api({"/api/v1/charts/default/eks/a/versions/1.0.0": found}) as (url, _):
        result = run(url, "show", "eks/a", "--version", "1.0.0")
    assert result.exit_code == 0
    return result.stdout


def test_a_version_is_shown_with_what_its_archive_holds() -> None:
    lines = dict(line.split(None, 1) for line in shown(version()).splitlines())
    assert lines["files"] == "README.md, values-prod.yaml"
    assert (lines["templates"], lines["images"], lines["dependencies"], lines["signed"]) == ("7", "x/y:1, x/z:2", "redis ~18", "yes")
    assert lines["archive"].startswith(f"sha256:{'cd' * 32}, as listed, read ")
    assert not {"attention", "waiting", "metadata"} & set(lines)


def test_a_digest_that_is_not_the_listed_one_is_said_with_both() -> None:
    [line] = [line for line in shown(version(as_listed=False)).splitlines() if "MISMATCH" in line]
    assert f"the index lists {'ab' * 32}, the archive has {'cd' * 32}" in line
    stale = shown(version(as_listed=False, stale=True))
    assert ("MISMATCH" in stale, "the index lists another archive since" in stale) == (False, True)


def test_an_archive_that_waits_says_why_and_until_when() -> None:
    failed = {"attempts": 3, "next_attempt_at": "2026-01-02T00:00:00Z", "reason": "SourceRefused", "message": "status 404"}
    text = shown(version(archive=None, waiting=failed))
    assert "cannot be read: SourceRefused: status 404 (failed 3 times, tried again at 2026-01-02T00:00:00Z)" in text
    assert "still to be read" in shown(version(archive=None, waiting={**failed, "attempts": 0, "reason": None, "message": None}))


@pytest.mark.parametrize(("file", "path"), [("values", "values"), ("values-prod.yaml", "files/values-prod.yaml"), ("a/b", "files/a%2Fb")])
def test_any_file_is_shown_by_its_name(file: str, path: str) -> None:
    with api({f"/api/v1/charts/default/eks/a/versions/1.0.0/{path}": "a: 1\n"}) as (url, _):
        assert run(url, "show", "eks/a", file, "--version", "1.0.0").stdout == "a: 1\n"


def test_a_history_is_shown_also_of_a_chart_that_is_withdrawn() -> None:
    plain = {"at": "2026-01-01T00:00:00.123456Z", "run": 7, "version": "1.0.0"}
    replaced = {"digest": "old", "hosts": ["x.example.org"], "fields": {"icon": "i", "home": "h"}}
    rows = [{**plain, "change": "removed", "replaced": None}, {**plain, "change": "host-changed", "replaced": replaced}]
    where = "/api/v1/charts/default/eks/a/history"
    with api({where: rows}) as (url, asked):
        text = run(url, "show", "eks/a", "--history", "--version", "1.0.0").stdout
        assert json.loads(run(url, "show", "eks/a", "--history", "-o", "json").stdout) == rows
    assert [line.split() for line in text.splitlines()[1:]] == [
        ["2026-01-01T00:00:00Z", "7", "1.0.0", "removed"],
        ["2026-01-01T00:00:00Z", "7", "1.0.0", "host-changed", "digest", "old,", "host", "x.example.org,", "icon,", "home"],
    ]
    assert asked == [f"GET {where}?limit=50&version=1.0.0", f"GET {where}?limit=200"]


def test_a_held_listing_is_shown_with_how_it_is_released() -> None:
    held = {
        "reason": "Shrunk", "removals": 1400, "versions": 49, "reads": 2, "released_at": None, "first_read_at": "2026-01-01T12:00:00Z",
        "last_read_at": "2026-01-01T13:00:00Z", "release_due_at": "2026-01-01T18:00:00Z",
    }  # fmt: skip
    more = {"notes": [], "file_notes": [{"chart": "a", "version": "1", "reason": "DigestMismatch", "message": "m"}], "file_notes_total": 1}
    more["files_failing"] = [{"reason": "SourceRefused", "archives": 206, "message": "HTTP 404", "next_attempt_at": "2026-01-02T12:00:00Z"}]
    answer = {**repository(ready=False, reason="RemovalsHeld", held=held, notes_total=0), **more, "runs": []}
    with api({"/api/v1/repositories/team/eks": answer}) as (url, _):
        text = run(url, "repo", "status", "eks", "-n", "team").stdout
    for words in (
        *("chartfleet repo release eks -n default", "lacks              1,400 of 1,449 versions"),
        *("2 times, first at 2026-01-01T12:00:00Z, last at 2026-01-01T13:00:00Z", "after 2026-01-01T18:00:00Z, when it was read 3 times"),
        *("1 notes of the last reading of archives", "DigestMismatch"),
        *("archives that could not be read", "206       SourceRefused  2026-01-02T12:00:00Z  HTTP 404"),
    ):
        assert words in text
    assert "notes on entries" not in text


def test_a_document_that_cannot_be_used_is_told_beside_a_repository_that_looks_well() -> None:
    told = [
        {"file": "a.yaml", "line": 5, "namespace": "default", "name": "eks", "message": "there is no such annotation"},
        {"file": "b.yaml", "line": 1, "namespace": "team", "name": "new", "message": "spec.url: is missing"},
        {"file": "c.yaml", "line": 2, "namespace": None, "name": None, "message": "not YAML\x1b[2J"},
    ]
    one = {**repository(notes_total=0), "notes": [], "file_notes": [], "file_notes_total": 0, "files_failing": [], "runs": []}
    answers = {"/api/v1/problems": {"items": told}, "/api/v1/repositories": [repository()], "/api/v1/repositories/default/eks": one}
    with api(answers) as (url, _):
        listed, of_team = run(url, "repo", "list").stdout, run(url, "repo", "list", "-n", "team").stdout
        status, absent = run(url, "repo", "status", "eks").stdout, run(url, "repo", "status", "new", "-n", "team")
        assert json.loads(run(url, "repo", "list", "-o", "json").stdout) == [repository()]
    assert listed.splitlines()[-3:] == ["a.yaml:5: there is no such annotation", "b.yaml:1: spec.url: is missing", "c.yaml:2: not YAML[2J"]
    assert ("a.yaml" in of_team, "b.yaml:1" in of_team, "c.yaml:2" in of_team) == (False, True, True)
    assert ("a.yaml:5" in status, "b.yaml" in status, "c.yaml" in status) == (True, False, False)
    assert (absent.exit_code, absent.stderr) == (Exit.FAILED, "Error: team/new cannot be used: b.yaml:1: spec.url: is missing\n")


def test_a_release_asks_the_api_and_says_what_follows() -> None:
    with api({"/api/v1/repositories/team/eks/release": {"released_at": "2026-01-01T12:00:00Z"}}) as (url, asked):
        found = run(url, "repo", "release", "eks", "-n", "team")
        assert run(url, "repo", "release", "other").exit_code == Exit.FAILED
    assert (found.exit_code, found.stdout) == (0, "team/eks: released; the next sync applies the held listing\n")
    assert asked[0] == "POST /api/v1/repositories/team/eks/release"


def test_the_list_says_what_a_running_job_does() -> None:
    items = [repository(phase="enriching 3,412/3,591"), repository(name="still")]
    with api({"/api/v1/repositories": items}) as (url, _):
        lines = run(url, "repo", "list").stdout.splitlines()
    assert (lines[1].endswith("enriching 3,412/3,591; Synced"), lines[2].endswith("Synced")) == (True, True)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("form", ["json", "table"])
def test_a_full_disk_is_one_line(form: str) -> None:
    with api({"/api/v1/charts": [chart("a")]}) as (url, _), Path("/dev/full").open("wb") as full:
        argv = [sys.executable, "-m", "cli", "search", "-o", form]
        environment = {**os.environ, "CHARTFLEET_API_URL": url}
        found = subprocess.run(argv, stdout=full, stderr=subprocess.PIPE, env=environment, cwd=ROOT, check=False, timeout=60, text=True)
    assert (found.returncode, found.stderr) == (Exit.FAILED, "Error: The output cannot be written: No space left on device.\n")


def test_the_api_says_what_is_not_there() -> None:
    with api({}) as (url, _):
        found = run(url, "repo", "status", "absent")
    assert (found.exit_code, found.stdout, found.stderr) == (Exit.FAILED, "", "Error: there is no such thing (NotFound)\n")


@pytest.mark.parametrize(
    "words",
    [
        ("show", "no-slash"),
        ("search", "--limit", "0"),
        ("search", "-o", "xml"),
        ("repo", "resync"),
        ("repo", "release"),
        ("show", "a/b", "readme", "--history"),
    ],
)
def test_wrong_usage_is_two(words: tuple[str, ...]) -> None:
    assert run("http://127.0.0.1:1", *words).exit_code == Exit.USAGE


def test_no_api_is_three_and_says_what_to_do() -> None:
    found = run("http://127.0.0.1:1", "search")
    assert (found.exit_code, "Start one with `chartfleet up`" in found.stderr) == (Exit.UNREACHABLE, True)


def test_something_else_on_the_port_is_not_taken_for_an_api() -> None:
    with api({"/api/v1/charts": "<html>hello</html>"}) as (url, _):
        found = run(url, "search")
    assert (found.exit_code, "is not a Chartfleet API" in found.stderr) == (Exit.UNREACHABLE, True)


def test_resync_waits_for_the_run_that_it_asked_for() -> None:
    old = {"id": 1, "job": "sync", "state": "done"}
    failed = {"id": 2, "job": "sync", "state": "failed", "error_class": "SourceRefused", "error": "status 404"}
    answers: dict[str, Any] = {"/api/v1/repositories/default/eks": {"runs": [old]}}

    class Asked(dict[str, Any]):
        def get(self, key: str, default: Any = None) -> Any:
            if key.endswith("/sync"):
                answers["/api/v1/repositories/default/eks"]["runs"].insert(0, failed)
                return {"requested_at": "2026-11-21T12:00:00Z"}
            return answers.get(key, default)

    with api(Asked()) as (url, asked):
        found = run(url, "repo", "resync", "eks", "--wait")
    assert "POST /api/v1/repositories/default/eks/sync" in asked
    assert (found.exit_code, found.stderr) == (Exit.FAILED, "Error: default/eks: SourceRefused: status 404\n")


def test_a_repository_that_stands_well_is_a_line_of_counts() -> None:
    assert line(repository()) == "default/eks: 21 charts, 1,449 versions"
    assert line(repository(notes_total=3)).endswith(", 3 notes (chartfleet repo status eks)")


def test_a_failed_repository_says_why_and_what_it_still_has() -> None:
    failed = repository(ready=False, reason="SourceRefused", message="https://example.com/index.yaml: status 404")
    assert line(failed) == "default/eks: SourceRefused: https://example.com/index.yaml: status 404 (21 charts, 1,449 versions)"


def test_a_problem_names_file_and_line() -> None:
    assert problem({"file": "a.yaml", "line": 3, "message": "no url"}) == "a.yaml:3: no url"


@pytest.mark.parametrize(
    ("fields", "busy"),
    [
        ({"state": "running"}, True),
        ({"state": None}, True),
        ({"state": None, "next_due": None}, False),
        ({"state": "failed"}, False),
    ],
)
def test_a_repository_is_busy_while_a_sync_runs_or_is_still_to_come(fields: dict[str, Any], busy: bool) -> None:
    assert is_busy(repository(**fields)) is busy


def test_only_what_changed_is_said() -> None:
    before = {"default/a": "a: 1 chart", "default/b": "b: 1 chart", "x.yaml:1: bad": "x.yaml:1: bad"}
    assert changes(before, before) == []
    assert changes(before, {"default/a": "a: 2 charts"}) == ["a: 2 charts", "default/b: removed", "x.yaml:1: bad (solved)"]


def test_up_tells_each_phase_once_and_each_standing(capsys: pytest.CaptureFixture[str]) -> None:
    answers: dict[str, Any] = {"/api/v1/problems": {"items": []}}
    with api(answers) as (url, _), Progress(lambda: url) as progress:
        for state, phase, rest in (
            (None, None, BUSY),
            ("running", "reading an index of 4 MB", BUSY),
            ("done", "enriching 12/3,591", BUSY),
            ("done", "enriching 3,412/3,591", BUSY),
            ("done", None, QUIET),
            ("running", None, BUSY),
            ("done", None, QUIET),
        ):
            answers["/api/v1/repositories"] = [repository(state=state, phase=phase)]
            progress.look()
            assert progress.rest == rest
    assert capsys.readouterr().out.splitlines() == [
        "default/eks: reading an index of 4 MB",
        "default/eks: enriching 12/3,591",
        "default/eks: 21 charts, 1,449 versions",
    ]


def test_a_phase_is_said_when_it_begins_and_not_for_each_of_its_numbers() -> None:
    assert begun({}, {"default/a": "reading an index of 4 MB"}) == ["default/a: reading an index of 4 MB"]
    before = {"default/a": "enriching 12/3,591", "default/b": "enriching 1/2"}
    assert begun(before, {"default/a": "enriching 3,412/3,591"}) == []
    assert begun(before, {"default/b": "reading an index of 5 MB"}) == ["default/b: reading an index of 5 MB"]


@pytest.mark.parametrize(
    ("time", "text"),
    [
        (None, "never"),
        ("2026-11-21T11:59:48Z", "12 s ago"),
        ("2026-11-21T11:00:00Z", "60 min ago"),
        ("2026-11-20T12:00:00Z", "24 h ago"),
        ("2026-11-12T12:00:00Z", "9 d ago"),
        ("2026-11-21T12:00:03Z", "0 s ago"),
    ],
)
def test_an_age_is_rough(time: str | None, text: str) -> None:
    assert output.age(time, NOW) == text


def test_a_restart_waits_longer_each_time_but_not_for_ever() -> None:
    assert [backoff(deaths) for deaths in range(1, 7)] == [0.5, 1, 2, 4, 8, 8]


def test_the_only_instance_is_found_from_anywhere() -> None:
    assert instances.chosen([_record("/srv/a")], Path("/elsewhere")).directory == "/srv/a"


def test_of_several_instances_the_nearest_checkout_above_is_meant() -> None:
    records = [_record("/srv/a"), _record("/srv/b"), _record("/srv")]
    assert instances.chosen(records, Path("/srv/b/docs")).directory == "/srv/b"
    assert instances.chosen(records, Path("/srv/c")).directory == "/srv"


def test_several_instances_elsewhere_are_listed() -> None:
    with pytest.raises(Failure, match=r"(?s)Several instances run.*/srv/a.*/srv/b") as raised:
        instances.chosen([_record("/srv/a"), _record("/srv/b")], Path("/"))
    assert raised.value.exit_code == Exit.UNREACHABLE


def test_a_process_is_known_by_its_start_too() -> None:
    ours = instances.process("pytest", os.getpid())
    assert ours.alive
    assert not Process(ours.name, ours.pid, ours.started + 1).alive


def test_a_port_is_claimed_once() -> None:
    with closing(Claims()) as one, closing(Claims()) as two:
        port = one.take_any()
        assert (one.take(port), two.take(port), two.take_any(port) != port) == (True, False, True)
        one.close()
        assert two.take(port)


def test_the_sample_is_packaged_as_helm_does_and_always_the_same() -> None:
    served = sample.files()
    assert served == sample.files()
    index = yaml.safe_load(served["/index.yaml"])
    assert sum(map(len, index["entries"].values())) == len(served) - 1
    newest = index["entries"]["static-site"][0]
    with tarfile.open(fileobj=io.BytesIO(served[f"/{newest['urls'][0]}"])) as archive:
        names = archive.getnames()
    assert newest["version"] == "1.1.0"
    assert {"static-site/Chart.yaml", "static-site/README.md", "static-site/values.yaml", "static-site/values.schema.json"} <= set(names)


def test_the_sample_keeps_the_port_of_its_manifest(tmp_path: Path) -> None:
    file = tmp_path / "sample.yaml"
    assert sample.ports(file) == []
    file.write_text(sample.manifest(34567))
    assert sample.ports(file) == [34567]
    file.write_text("spec: 1")
    assert sample.ports(file) == []


def test_the_dumped_schema_has_no_noise_of_versions_and_keeps_what_matters() -> None:
    dump = (
        "--\n-- PostgreSQL database dump\n--\n\n\\restrict abc\n\n-- Dumped by pg_dump version 18.6\n\nSET row_security = off;\n"
        "SELECT pg_catalog.set_config('search_path', '', false);\n\n--\n-- Name: t; Type: TABLE; Schema: s; Owner: o\n--\n\n"
        "CREATE TABLE s.t (\n    a integer\n);\n\n\nALTER TABLE s.t OWNER TO chartfleet_owner;\n\nALTER FUNCTION s.f() OWNER TO other;\n"
    )
    assert normalised(dump).partition("\n\n")[2] == "CREATE TABLE s.t (\n    a integer\n);\n\nALTER FUNCTION s.f() OWNER TO other;\n"


def _record(directory: str) -> Record:
    return Record(Process("up", 1, 1), f"{directory}/.chartfleet", directory, "http://127.0.0.1:8080")
