"""What Kubeapps' controller wrote on a CronJob becomes ours; what others wrote stays theirs."""

from typing import Any

from controller.adoption import taken_over


def entry(manager: str, fields: dict[str, Any], operation: str = "Update", **more: str) -> dict[str, Any]:
    return {"manager": manager, "operation": operation, "apiVersion": "batch/v1", "fieldsType": "FieldsV1", "fieldsV1": fields, **more}


THEIRS = entry("apprepository-controller", {"f:spec": {"f:jobTemplate": {"f:spec": {}}, "f:schedule": {}}})


def test_the_writer_of_the_jobs_template_becomes_us() -> None:
    assert taken_over([THEIRS], "chartfleet") == [{**THEIRS, "manager": "chartfleet", "operation": "Apply"}]


def test_several_writers_of_it_become_one() -> None:
    other = entry("kubectl-edit", {"f:spec": {"f:jobTemplate": {"f:metadata": {}}, "f:suspend": {}}})
    [ours] = taken_over([THEIRS, other], "chartfleet")
    assert ours["fieldsV1"] == {"f:spec": {"f:jobTemplate": {"f:spec": {}, "f:metadata": {}}, "f:schedule": {}, "f:suspend": {}}}


def test_others_keep_what_is_theirs() -> None:
    others = [
        entry("kube-controller-manager", {"f:status": {}}, subresource="status"),
        entry("somebody", {"f:spec": {"f:timeZone": {}}}),
        entry("flux", {"f:spec": {"f:jobTemplate": {}}}, operation="Apply"),
    ]
    assert taken_over([*others, THEIRS], "chartfleet")[:3] == others
    assert taken_over(others, "chartfleet") == others
