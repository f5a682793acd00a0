"""A CronJob that Kubeapps' controller wrote becomes ours. Pure.

What a PUT wrote belongs to its writer under "Update"; applying leaves such fields beside ours. Under our name and "Apply" they are those
that we applied before, so that the next apply drops what it lacks (as kubectl does on its way to server-side apply).
"""

from collections.abc import Iterable, Mapping
from typing import Any


def taken_over(managed: Iterable[Mapping[str, Any]], manager: str) -> list[dict[str, Any]]:
    """`managedFields` in which all that the writers of the Jobs' template set was applied by `manager`; others keep what is theirs."""
    theirs = [entry for entry in managed if _wrote_template(entry)]
    if not theirs:
        return [dict(entry) for entry in managed]
    fields: dict[str, Any] = {}
    for entry in theirs:
        fields = _union(fields, entry["fieldsV1"])
    applied = {**theirs[0], "manager": manager, "operation": "Apply", "fieldsV1": fields}
    return [*(dict(entry) for entry in managed if entry not in theirs), applied]


def _wrote_template(entry: Mapping[str, Any]) -> bool:
    spec = (entry.get("fieldsV1") or {}).get("f:spec") or {}
    return entry.get("operation") == "Update" and not entry.get("subresource") and "f:jobTemplate" in spec


def _union(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _union(one.get(name, {}), other.get(name, {})) for name in {**one, **other}}
