"""Exit codes of the `chartfleet` command, and the one error that carries them to the shell."""

from enum import IntEnum

import click


class Exit(IntEnum):
    """What a script may rely on; click itself uses 2 for a command line it cannot read."""

    OK = 0  # also for `up` ended by Ctrl-C, SIGTERM or SIGHUP: an orderly stop is what was asked for
    FAILED = 1  # not found, or the API refused
    USAGE = 2
    UNREACHABLE = 3  # no API answers, or it is not clear which one is meant
    RUNNING = 4  # `up`: this state directory is in use
    NOT_STARTED = 5  # `up`: a port is taken, or a part does not start or keeps dying


class Failure(click.ClickException):
    """A user's mistake or a part that does not answer: one or two sentences on standard error, no traceback."""

    def __init__(self, code: Exit, message: str) -> None:
        super().__init__(message)
        self.exit_code = int(code)  # pyright: ignore[reportAttributeAccessIssue]: click reads the instance's
