"""Our visible rows are those that helm itself reads: name, version, app version, description, and their order."""

from pathlib import Path

import pytest

from tests.conformance.collection import REPOSITORIES
from tests.conformance.conftest import Catalogue
from tests.conformance.helm_search import helm_rows, our_rows


@pytest.mark.parametrize("name", [each.name for each in REPOSITORIES])
def test_every_row_and_its_place_agree_with_helm(name: str, catalogue: Catalogue, helm: str, tmp_path: Path) -> None:
    ours = our_rows(catalogue.database, name)
    assert ours
    assert ours == helm_rows(helm, catalogue.urls[name], tmp_path)
