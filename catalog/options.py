"""What a repository may be told beyond Kubeapps' fields, and what it may cost.

An option is `--option=name=value` in a job and the annotation `chartfleet.dev/name` of a resource.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

FILES = ("all", "latest", "none")  # whose archives are wanted
MOST = 10**12  # of any limit


@dataclass(frozen=True, slots=True)
class Limits:
    """What one repository may cost. A field's option is its name with dashes, its setting is CHARTFLEET_ and the name in capitals.

    max_index_bytes         of an index, unpacked
    max_versions            listed by an index
    max_seconds             of a sync, or of one response of any job
    max_redirects           of one request
    min_bytes_per_second    of a body on the average, looked at after `timeout`
    connect_timeout         seconds until there is a connection
    timeout                 seconds of silence; with `connect_timeout` also what an answer's headers may take
    """

    max_index_bytes: int = 256 * 1024 * 1024
    max_versions: int = 1_000_000
    max_seconds: int = 600
    max_redirects: int = 10
    min_bytes_per_second: int = 5_000
    connect_timeout: int = 10
    timeout: int = 30

    def within(self, bounds: "Limits", options: Mapping[str, str]) -> "Limits":
        """These with what a repository's options ask for; beyond the operator's bounds the bounds count."""
        asked = {name: int(options[option]) for option, name in LIMITS.items() if option in options}
        return replace(self, **{name: _bounded(name, number, getattr(bounds, name)) for name, number in asked.items()}) if asked else self


LIMITS = {field.name.replace("_", "-"): field.name for field in fields(Limits)}
OPTIONS = ("files", "client-certificate", *LIMITS)


def problem(option: str, value: str) -> str | None:
    """What is wrong with an option's value, or None."""
    if option == "files":
        return None if value in FILES else f"must be one of {', '.join(FILES)}, not {value[:40]!r}"
    if option in LIMITS:
        return None if whole_number(value) else f"must be a positive whole number, not {value[:40]!r}"
    return None if value else "must not be empty"


def whole_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and 0 < int(text[:20]) <= MOST


def setting(limit: str) -> str:
    """Where a limit of this field's name is set, for messages."""
    return f"CHARTFLEET_{limit.upper()}, or chartfleet.dev/{limit.replace('_', '-')} within it"


def _bounded(name: str, number: int, bound: int) -> int:
    return max(number, bound) if name.startswith("min_") else min(number, bound)
