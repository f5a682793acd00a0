"""Who waits for room to sync, and who no longer does."""

from dataclasses import replace
from datetime import timedelta

import pytest
from lightkube.config.kubeconfig import KubeConfig

from catalog.model import Repository, RepositoryKey
from catalog.schedule import Every
from controller.backends.kubernetes import KubernetesBackend
from controller.cluster import Cluster
from controller.desired import Desired
from controller.flags import JobSettings
from controller.seen import Seen

KEY = RepositoryKey("kubeapps", "a")
DESIRED = Desired(Repository(KEY, "helm", "http://x"), Every(timedelta(hours=1)), "f1", "l1", "test", interval="1h", uid="u")


@pytest.mark.parametrize(
    ("wanted", "handled", "waits"),
    [(DESIRED, "f0", True), (DESIRED, "f1", False), (replace(DESIRED, suspended=True), "f0", False)],
)
async def test_a_change_that_is_taken_back_or_suspended_waits_no_longer(wanted: Desired, handled: str, waits: bool) -> None:
    named = {"name": "x", "cluster": "x", "user": "x"}
    config = {
        "current-context": "x",
        "clusters": [{"name": "x", "cluster": {"server": "http://127.0.0.1:1"}}],
        "users": [{"name": "x", "user": {}}],
    }
    cluster = Cluster(KubeConfig.from_dict({**config, "contexts": [{"name": "x", "context": named}]}).get() or pytest.fail("no context"))
    backend = KubernetesBackend(cluster, Seen("kubeapps"), JobSettings(), waiting={KEY: None})
    standing = await backend.standing(wanted, {"lastHandledFingerprint": handled})
    await cluster.close()
    assert (bool(standing.under_way), KEY in backend.waiting) == (waits, waits)
