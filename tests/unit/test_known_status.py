"""Where the controller finds the status that it wrote."""

import json

import pytest

from controller.reconcile import STATUS, known_status

OURS, OLDER, THEIRS = {"observedGeneration": 2}, {"observedGeneration": 1}, {"status": "x"}


@pytest.mark.parametrize(
    ("status", "annotation", "subresource", "known"),
    [
        (OURS, None, True, OURS),
        (OURS, OLDER, True, OURS),  # of the time before our definition
        (OLDER, OURS, False, OURS),  # the right to write it is gone
        (THEIRS, OURS, True, OURS),
        (THEIRS, None, True, THEIRS),
        (None, OURS, True, OURS),
        (None, None, True, {}),
    ],
)
def test_a_status_that_is_not_ours_does_not_hide_what_was_written_beside_it(
    status: dict[str, object] | None, annotation: dict[str, object] | None, subresource: bool, known: dict[str, object]
) -> None:
    annotations = {STATUS: json.dumps(annotation)} if annotation else {}
    resource = {"metadata": {"annotations": annotations}, **({"status": status} if status else {})}
    assert known_status(resource, subresource) == known
