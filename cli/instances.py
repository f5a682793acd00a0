"""Running instances: the lock and the record of a state directory, and how the commands find one.

STATE/lock     held by the running `chartfleet up`
STATE/up.json  who runs: its process, its address and its children, each with the start time that tells it from a later namesake

The user's own state directory lists the state directories in use, so that the commands need no setting.
"""

import fcntl
import os
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path

import msgspec

from cli.failures import Exit, Failure


class Process(msgspec.Struct, frozen=True):
    """A process and when it started, in clock ticks after boot: the pair is unique, a pid alone is used again."""

    name: str
    pid: int
    started: int

    @property
    def alive(self) -> bool:
        return started(self.pid) == self.started


class Record(msgspec.Struct, frozen=True):
    """One instance; `url` is None until its API is about to start, `directory` is where it was started."""

    up: Process
    state: str
    directory: str
    url: str | None = None
    children: tuple[Process, ...] = ()


def started(pid: int) -> int | None:
    """When a process started; None when there is none (a zombie is none)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else int(fields[19])


def process(name: str, pid: int) -> Process:
    return Process(name, pid, started(pid) or 0)


@contextmanager
def held(state: Path) -> Generator[None]:
    """The state directory as ours alone, for as long as we live. Raises Failure when another instance has it, or nobody may write there."""
    try:
        file = (state / "lock").open("w")
    except OSError as error:
        raise Failure(Exit.NOT_STARTED, f"The state directory {state} cannot be written: {error.strerror}.") from None
    with file as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Failure(Exit.RUNNING, _who(state)) from None
        yield


def read(state: Path) -> Record | None:
    try:
        return msgspec.json.decode((state / "up.json").read_bytes(), type=Record)
    except (OSError, msgspec.DecodeError):
        return None


def write(record: Record) -> None:
    """Replace the record and note its directory among the user's instances."""
    state = Path(record.state)
    begun = state / "up.json.begun"
    begun.write_bytes(msgspec.json.encode(record))
    begun.replace(state / "up.json")
    with suppress(OSError):  # a home that cannot be written only means that the commands need CHARTFLEET_STATE
        _entry(state).parent.mkdir(parents=True, exist_ok=True)
        _entry(state).write_text(record.state)


def forget(state: Path) -> None:
    (state / "up.json").unlink(missing_ok=True)
    with suppress(OSError):
        _entry(state).unlink(missing_ok=True)


def home(environment: Mapping[str, str] = os.environ) -> Path:
    """The user's own directory for Chartfleet's state, which is also the default state directory's parent."""
    base = environment.get("XDG_STATE_HOME") or str(Path("~/.local/state").expanduser())
    return Path(base) / "chartfleet"


def live() -> list[Record]:
    """All running instances of this user."""
    records: list[Record] = []
    for entry in sorted(home().glob("instances/*")):
        with suppress(OSError):
            record = read(Path(entry.read_text()))
            if record and record.up.alive:
                records.append(record)
            else:
                entry.unlink(missing_ok=True)
    return records


def address(environment: Mapping[str, str] = os.environ) -> str:
    """The API to talk to: CHARTFLEET_API_URL, else the instance on CHARTFLEET_STATE, else the running one. Raises Failure."""
    if url := environment.get("CHARTFLEET_API_URL"):
        if not url.startswith(("http://", "https://")):
            raise Failure(Exit.USAGE, f"CHARTFLEET_API_URL is {url!r}, not an address such as http://127.0.0.1:8080.")
        return url
    if state := environment.get("CHARTFLEET_STATE"):
        record = read(Path(state))
        if not record or not record.up.alive:
            raise Failure(Exit.UNREACHABLE, f"Nothing runs on {state} (CHARTFLEET_STATE). Start it with `chartfleet up --state {state}`.")
    else:
        record = chosen(live(), Path.cwd())
    if not record.url:
        raise Failure(Exit.UNREACHABLE, f"The instance on {record.state} is still starting. Try again in a few seconds.")
    return record.url


def chosen(records: Sequence[Record], here: Path) -> Record:
    """The one instance there is, or the one that was started in `here` or nearest above it. Raises Failure."""
    if not records:
        raise Failure(Exit.UNREACHABLE, "No Chartfleet runs here. Start one with `chartfleet up`, or set CHARTFLEET_API_URL.")
    above = {record.directory for record in records if here.is_relative_to(record.directory)}
    meant = [record for record in records if not above or record.directory == max(above, key=len)]
    if len(meant) == 1:
        return meant[0]
    several = "\n".join(f"  {record.url}  started in {record.directory}, state in {record.state}" for record in meant)
    raise Failure(Exit.UNREACHABLE, f"Several instances run; say which by CHARTFLEET_API_URL or CHARTFLEET_STATE:\n{several}")


def _entry(state: Path) -> Path:
    return home() / "instances" / sha256(os.fsencode(state)).hexdigest()[:16]


def _who(state: Path) -> str:
    record = read(state)
    if record and record.up.alive:
        where = record.url or "still starting"
        return f"Chartfleet already runs on {state}: pid {record.up.pid}, {where}. Stop it, or choose another --state."
    return f"Another process holds {state}/lock. Wait until it has stopped, or choose another --state."
