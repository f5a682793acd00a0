"""Does a live object still say what we applied? Pure.

The API server fills in fields, drops empty ones and writes quantities in its own way; other writers may add fields and items of their own.
None of that is a difference.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

SWITCHES = {"hostIPC", "hostNetwork", "hostPID", "readOnly", "stdin", "stdinOnce", "tty"}  # written only where they are true
QUANTITIES = {"requests", "limits", "sizeLimit", "divisor"}
# What tells the items of a list apart, the first that all of ours have. A container may mount one volume twice.
IDENTITIES = ("mountPath", "uid", "name", "containerPort")
SUFFIXES = {
    **{suffix: Decimal(1024) ** power for power, suffix in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"), 1)},
    **{suffix: Decimal(1000) ** power for power, suffix in enumerate(("n", "u", "m", "", "k", "M", "G", "T", "P", "E"), -3)},
}


def covers(manifest: Any, live: Any, *, quantities: bool = False) -> bool:
    """Every field of the manifest stands in the live object. `quantities`: its texts are amounts, as 1Gi and 1024Mi."""
    if _is_empty(manifest) and live is None:
        return True
    match manifest:
        case Mapping():
            return isinstance(live, Mapping) and all(
                covers(value, live.get(name, False if name in SWITCHES else None), quantities=quantities or name in QUANTITIES)
                for name, value in manifest.items()
            )
        case list():
            return isinstance(live, list) and _covers_items(manifest, live)
        case _:
            return manifest == live or (quantities and _same_quantity(str(manifest), str(live)))


def _covers_items(ours: Sequence[Any], live: Sequence[Any]) -> bool:
    """Items with a name by their names, whatever else there is; others one by one."""
    identity = next((field for field in IDENTITIES if ours and all(isinstance(item, Mapping) and field in item for item in ours)), None)
    if identity is None:
        return len(ours) == len(live) and all(map(covers, ours, live))
    there = {item.get(identity): item for item in live if isinstance(item, Mapping)}
    return all(covers(item, there.get(item[identity])) for item in ours)


def _is_empty(value: Any) -> bool:
    return value is None or value in ({}, [], "")


def _same_quantity(ours: str, live: str) -> bool:
    amounts = [_quantity(ours), _quantity(live)]
    return None not in amounts and amounts[0] == amounts[1]


def _quantity(text: str) -> Decimal | None:
    """Kubernetes' resource.Quantity; None for what is none."""
    number = text.rstrip("KMGTPEiknum")
    try:
        return Decimal(number) * SUFFIXES[text[len(number) :]]
    except (InvalidOperation, KeyError):
        return None
