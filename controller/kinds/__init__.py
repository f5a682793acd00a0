"""One file a resource kind: a document → Desired, or InvalidDocument with the field's path."""

from collections.abc import Callable, Mapping
from typing import Any

from controller.desired import Desired
from controller.kinds import apprepository

# parse(document's value, fingerprints of the Secrets it may name, source) → Desired
Parse = Callable[[Mapping[str, Any], "SecretHash", str], Desired]
SecretHash = Callable[[str, str, str], str]

KINDS: dict[tuple[str, str], Parse] = {("kubeapps.com/v1alpha1", "AppRepository"): apprepository.parse}
