"""python -m cli.pictures DIR: DIR/openapi.json and, with chromium, DIR/page.png, both from a running sample."""

import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

from cli import instances
from cli.client import Client
from cli.failures import Failure

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
QUIET = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run", "--disable-background-networking")
PATIENCE = 90.0


def main(directory: Path) -> None:
    with running_sample() as url:
        with urlopen(f"{url}/openapi.json", timeout=10) as answer:  # noqa: S310 - our own address
            text = json.dumps(json.load(answer), indent=2, ensure_ascii=False)
        (directory / "openapi.json").write_text(text + "\n")
        take_picture(url, directory / "page.png")


@contextmanager
def running_sample() -> Generator[str]:
    """The address of an instance of its own whose sample is synced."""
    with tempfile.TemporaryDirectory(prefix="chartfleet-") as state:
        up = subprocess.Popen([sys.executable, "-m", "cli", "up", "--state", state], stdout=subprocess.DEVNULL)
        try:
            yield _synced(Path(state), up)
        finally:
            up.send_signal(signal.SIGTERM)
            up.wait(60)


def take_picture(url: str, file: Path) -> None:
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if not browser:
        print(f"{file} is left as it is: no {BROWSERS[0]} (apt-get install chromium)", file=sys.stderr)
        return
    with tempfile.TemporaryDirectory(prefix="chartfleet-") as profile:
        words = [*QUIET, f"--user-data-dir={profile}", f"--screenshot={file.resolve()}", "--window-size=1280,900", f"{url}/"]
        subprocess.run([browser, *words], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=60)


def _synced(state: Path, up: subprocess.Popen[bytes]) -> str:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and up.poll() is None:
        record = instances.read(state.resolve())
        if record and record.url and _is_settled(record.url):
            return record.url
        time.sleep(0.3)
    raise SystemExit(f"the sample was not synced within {PATIENCE:g} s")


def _is_settled(url: str) -> bool:
    try:
        items = list(Client(url).items("repositories"))
    except Failure:
        return False
    return bool(items) and all(item["ready"] and not item["files_pending"] for item in items)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
