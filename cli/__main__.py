"""The `chartfleet` command."""

import os
from pathlib import Path

import click

from cli import charts, instances, repositories

EXIT_CODES = """\b
Exit codes: 0 done, 1 not found or failed, 2 wrong usage, 3 no API answers,
4 `up` already runs on this state, 5 `up` could not start or keep running.
"""


@click.group(epilog=EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="chartfleet")
def main() -> None:
    """A searchable catalogue of Helm chart repositories.

    The commands talk to the API of CHARTFLEET_API_URL, else to the instance whose state directory is CHARTFLEET_STATE, else to the
    `chartfleet up` that runs here.
    """


@main.command()
@click.option("--manifests", type=click.Path(path_type=Path), help="Directory of AppRepository manifests; default: the bundled sample.")
@click.option("--port", type=click.IntRange(1, 65535), help="Port of the API and the page; default: 8080, or a free one.")
@click.option("--state", type=click.Path(path_type=Path), help="Where data and logs live; default: CHARTFLEET_STATE, or in your home.")
def up(manifests: Path | None, port: int | None, state: Path | None) -> None:
    """Run the whole of Chartfleet on this machine, until Ctrl-C.

    Starts an embedded PostgreSQL and Valkey (CHARTFLEET_DATABASE_URL and CHARTFLEET_BROKER_URL name others), the controller on a
    directory of manifests, the scheduler, a worker and the API with its page.
    """
    from cli.up import Wishes, run  # noqa: PLC0415 - the other commands start faster without it

    wanted = state or Path(os.environ.get("CHARTFLEET_STATE") or instances.home() / "default")
    run(Wishes(wanted, manifests, port))


main.add_command(repositories.repo)
main.add_command(charts.search)
main.add_command(charts.show)

if __name__ == "__main__":
    main(prog_name="chartfleet")
