"""The house's laws as tests: pure and impure rooms, one address for each third party, sizes, and names ⇔ documentation.

They are fences, not proofs. Where a law has an exception, it stands in a table here with its reason.
"""

import ast
import re
import subprocess
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from statistics import quantiles

import pytest

from api.settings import Settings as ApiSettings
from controller.kinds import KINDS
from tests.conftest import ROOT
from worker.sources import SOURCES

ROOMS = ("catalog", "controller", "worker", "api", "cli", "migrations")
REFERENCE = ROOT / "docs" / "reference.md"

Function = ast.FunctionDef | ast.AsyncFunctionDef

# A plain `def` may touch the world here.
IMPURE_FILES = {
    "*/__main__.py": "wiring: reads settings, opens what there is, starts the loop",
    "*/settings.py": "the one place that reads the environment",
    "cli/*": "a command line talks to the world from its first line",
    "worker/celery_app.py": "a Celery task is a plain function; it runs the child's own loop",
    "migrations/*": "Alembic is synchronous",
}
IMPURE_FUNCTIONS = {
    **dict.fromkeys((f"worker/walk_server.py: {name}" for name in ("serve", "child", "main")), "the fork server's own: they may die"),
    "worker/icons.py: main": "the same",
    "worker/judge.py: main": "the same",
    "catalog/telemetry.py: set_up_logging": "wiring: each __main__ calls it first",
    **dict.fromkeys((f"controller/directory.py: {name}" for name in ("stamps_of", "texts_of", "manifests_in")), "run in a thread"),
}

# What a pure function never names: as a bare word, as the last word of a dotted name, or below a module.
WORDS = {"open", "print", "input", "sleep", "getenv", "environ", "monotonic", "perf_counter", "urandom", "urlopen", "uuid4"}
ATTRIBUTES = {
    *("environ", "getenv", "getpid", "urandom", "kill", "fork", "system", "sleep"),
    *("now", "utcnow", "today", "time", "time_ns", "monotonic", "perf_counter", "uuid1", "uuid4"),
    *("open", "read_text", "read_bytes", "write_text", "write_bytes", "mkdir", "unlink", "rmdir", "iterdir", "glob", "rglob"),
    *("is_file", "is_dir", "stat", "urlopen", "execute", "executemany", "commit", "fetchone", "fetchall"),
}
WORLDS = {"subprocess", "socket", "random", "secrets", "shutil", "tempfile"}
NO_EFFECTS = {
    "func.now": "SQL that is built, not run",
    "datetime.time": "a type",
    "tarfile.open": "of bytes in memory",
    "Image.open": "the same",
}

# Third parties and the files that may import them.
ADDRESSES = {
    "httpx2": {"worker/transport.py", "controller/cluster.py", "worker/cluster_secrets.py"},
    "httpcore2": {"worker/transport.py"},
    "celery": {"worker/celery_app.py", "worker/scheduler.py", "controller/backends/celery.py"},
    "croniter": {"catalog/schedule.py"},
    "jq": {"worker/judge.py"},
    "sqlalchemy": {"catalog/*", "migrations/*"},
    "sqlalchemy.exc": {"*"},  # what other rooms translate, and hand on
    "sqlalchemy.ext.asyncio.AsyncConnection": {"*"},
    "sqlalchemy.ext.asyncio.AsyncEngine": {"*"},
    "alembic": {"migrations/*"},
    "fastapi": {"api/*"},
    "uvicorn": {"api/*"},
    "jinja2": {"api/*"},
    "pydantic": {"api/*"},
    "pydantic_settings": {"api/settings.py"},
    "prometheus_client": {"api/*", "controller/metrics.py", "controller/health.py"},
    "click": {"cli/*", "controller/__main__.py", "controller/flags.py", "worker/celery_app.py"},
    "rich": {"cli/*"},
    "kopf": {"controller/operator.py"},
    "lightkube": {"controller/cluster.py", "worker/cluster_secrets.py"},
    "aiohttp": {"controller/health.py"},
    "httpx": set[str](),
    "requests": set[str](),
}

# Modules over 300 lines owe a reason.
LONG_MODULES = {
    "catalog/tables.py": "all tables in one place, read beside the migrations",
    "catalog/store.py": "every statement that changes the catalogue, each above its function",
}

FORBIDDEN_WORDS = {
    r"(?<![\w&;])#\d{1,4}:|\(#\d{1,4}\)|\bissues? #?\d": "says the thing itself, not a tracker's number",
    r"pypi[.]org|pythonhosted[.]org|registry\.npmjs[.]org|proxy\.golang[.]org": "names no package index",
    r"/work[/]|/root[/]": "knows no machine's directories",
}


def source_files() -> list[Path]:
    return sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))


def address(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def functions(module: ast.Module) -> list[Function]:
    return [node for node in ast.walk(module) if isinstance(node, Function)]


def own_nodes(function: Function) -> Iterator[ast.AST]:
    """The nodes of a function's body without those of functions inside it, which are judged by themselves."""
    waiting: list[ast.AST] = list(function.body)
    while waiting:
        node = waiting.pop()
        if not isinstance(node, Function):
            yield node
            waiting.extend(ast.iter_child_nodes(node))


def effects(module: ast.Module) -> list[str]:
    """`line: function: name` for each worldly name in a plain `def`."""
    worlds = WORLDS & imports(module)
    return [
        f"{node.lineno}: {function.name}: {name}"
        for function in functions(module)
        if isinstance(function, ast.FunctionDef)
        for node in own_nodes(function)
        if isinstance(node, ast.Name | ast.Attribute) and is_worldly(name := ast.unparse(node), worlds)
    ]


def is_worldly(name: str, worlds: set[str]) -> bool:
    first, dot, rest = name.partition(".")
    if not dot:
        return name in WORDS
    return first in worlds or (rest.rpartition(".")[2] in ATTRIBUTES and name not in NO_EFFECTS)


def imports(module: ast.Module) -> set[str]:
    """What a module imports, wherever in it: `package.module` and `package.module.name`."""
    names: set[str] = set()
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def law_of(name: str) -> str | None:
    """The longest entry of ADDRESSES that an imported name lies in."""
    return max((law for law in ADDRESSES if f"{name}.".startswith(f"{law}.")), key=len, default=None)


def length(function: Function) -> int:
    """Lines of a function from its `def`, its docstring not counted."""
    first = function.body[0]
    documented = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)
    docstring = (first.end_lineno or 0) - first.lineno + 1 if documented else 0
    return (function.end_lineno or 0) - function.lineno + 1 - docstring


def environment_names() -> set[str]:
    """CHARTFLEET_… as the product reads them: written out, or the fields of pydantic's settings."""
    written = set(re.findall(r"\bCHARTFLEET_[A-Z_]*[A-Z]\b", "".join(path.read_text() for path in source_files())))
    return written | {f"CHARTFLEET_{field.upper()}" for field in ApiSettings.model_fields}


def reference_words(heading: str) -> set[str]:
    """The first `word` of each table row and list item below the heading of docs/reference.md that contains `heading`."""
    section = re.search(rf"^#+ [^\n]*{heading}[^\n]*\n(.*?)(?=^#|\Z)", REFERENCE.read_text(), re.MULTILINE | re.DOTALL | re.IGNORECASE)
    assert section, f"docs/reference.md has no heading with the words {heading!r}"
    return set(re.findall(r"^(?:\||-) *`([^`]+)`", section[1], re.MULTILINE))


def tracked_texts() -> Iterator[tuple[str, str]]:
    """Every text file that git knows or would add, with its content."""
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True)
    for name in listed.stdout.splitlines():
        try:
            yield name, (ROOT / name).read_text()
        except (UnicodeDecodeError, FileNotFoundError):
            continue


# Pure and impure ------------------------------------------------------------------------------------------------------


def test_a_plain_def_is_pure() -> None:
    found = [
        f"{address(path)}:{effect}"
        for path in source_files()
        if not any(fnmatch(address(path), pattern) for pattern in IMPURE_FILES)
        for effect in effects(tree(path))
        if f"{address(path)}: {effect.split(': ')[1]}" not in IMPURE_FUNCTIONS
    ]
    assert not found, "make these functions async, or hand the value in:\n" + "\n".join(found)


@pytest.mark.parametrize(
    "body",
    [
        "open('x')",
        "Path('x').read_text()",
        "datetime.now(UTC)",
        "os.environ['X']",
        "time.sleep(1)",
        "socket.socket()",
        "connection.execute(query)",
    ],
)
def test_a_planted_effect_is_named(body: str) -> None:
    assert effects(ast.parse(f"import socket\ndef f():\n    return [{body}]"))
    assert effects(ast.parse(f"import socket\nasync def f():\n    def g():\n        return {body}\n    return g"))
    assert not effects(ast.parse(f"import socket\nasync def f():\n    return [{body}]"))


def test_values_that_are_handed_in_are_no_effect() -> None:
    assert not effects(ast.parse("def f(now, open_at, secrets):\n    return now + open_at, secrets.get('x'), select(func.now())"))


# Who imports whom -----------------------------------------------------------------------------------------------------


def test_each_third_party_has_its_address() -> None:
    strangers = [
        f"{address(path)} imports {name}"
        for path in source_files()
        for name in sorted(imports(tree(path)))
        if (law := law_of(name)) and not any(fnmatch(address(path), pattern) for pattern in ADDRESSES[law])
    ]
    assert not strangers


def test_a_planted_import_is_seen() -> None:
    found = imports(ast.parse("def f():\n    from httpx2._client import x\nimport os, celery.app"))
    assert found == {"httpx2._client.x", "os", "celery.app"}
    assert {law_of(name) for name in found} == {"httpx2", "celery", None}
    assert law_of("sqlalchemy.ext.asyncio.create_async_engine") == "sqlalchemy"


# Sizes ----------------------------------------------------------------------------------------------------------------


def test_functions_are_short() -> None:
    lengths = {f"{address(path)}:{function.name}": length(function) for path in source_files() for function in functions(tree(path))}
    deciles = quantiles(lengths.values(), n=10)
    assert not {name: lines for name, lines in lengths.items() if lines > 40}
    assert deciles[4] < 8, "half of the functions have fewer than 8 lines"
    assert deciles[8] < 25, "nine functions in ten have fewer than 25 lines"


def test_a_long_module_gives_its_reason() -> None:
    long = {address(path) for path in source_files() if len(path.read_text().splitlines()) > 300}
    assert long <= set(LONG_MODULES)


# Names and their documentation ----------------------------------------------------------------------------------------


def test_repository_types_are_documented() -> None:
    assert set(SOURCES) == reference_words("repository types")


def test_resource_kinds_are_documented() -> None:
    assert {kind for _, kind in KINDS} == reference_words("kinds")


def test_environment_variables_are_documented() -> None:
    documented = set(re.findall(r"\bCHARTFLEET_[A-Z_]*[A-Z]\b", REFERENCE.read_text()))
    assert documented == environment_names()


@pytest.mark.parametrize("file", ["Dockerfile", "docker-compose.yml", "docs/operations.md", "charts/chartfleet/templates", "README.md"])
def test_deployment_names_only_settings_that_exist(file: str) -> None:
    path = ROOT / file
    text = "".join(p.read_text() for p in (path.iterdir() if path.is_dir() else [path]))
    assert set(re.findall(r"\bCHARTFLEET_[A-Z_]*[A-Z]\b", text)) <= environment_names()


def test_every_runtime_dependency_has_its_reason() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    block = re.search(r"^dependencies = \[\n(.*?)^\]", project, re.MULTILINE | re.DOTALL)
    assert block
    declared = set(re.findall(r'^  "([a-z0-9-]+)', block[1], re.MULTILINE))
    explained = set(re.findall(r"^\| ([a-z0-9-]+)", (ROOT / "docs/decisions/0002-dependencies.md").read_text(), re.MULTILINE))
    assert declared <= explained


# Words ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pattern", FORBIDDEN_WORDS, ids=FORBIDDEN_WORDS.values())
def test_the_text(pattern: str) -> None:
    found = [
        f"{name}: {match[0]}"
        for name, text in tracked_texts()
        if not name.startswith("tests/data/")
        for match in re.finditer(pattern, text)
    ]
    assert not found


def test_every_package_says_at_its_door_what_may_come_in() -> None:
    doors = [path for path in source_files() if path.name == "__init__.py"]
    assert not [address(door) for door in doors if not ast.get_docstring(tree(door))]
