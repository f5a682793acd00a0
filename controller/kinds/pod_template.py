"""The shape of `spec.syncJobPodTemplate`: what we build on must be there as Kubernetes has it; the rest is the API server's to judge. Pure.

Looked at once, when the resource is read, so that nothing is applied of one that cannot be: a `containers` that is a text stopped Kubeapps'
controller for all repositories.
"""

from collections.abc import Mapping
from typing import Any

from controller.kinds.fields import Fields, InvalidDocument, is_too_deep

CONTAINERS = ("containers", "initContainers")


def pod_template(template: Fields) -> dict[str, Any]:
    """The template as it was given. Raises InvalidDocument with the field's path."""
    metadata, spec = template.inside("metadata"), template.inside("spec")
    for texts in (metadata.inside("labels"), metadata.inside("annotations")):
        for name in texts.plain():
            texts.text(name, "")
    for field in CONTAINERS:
        for number, container in enumerate(spec.each(field)):
            _check(container, named=bool(number) or field != CONTAINERS[0])  # the first gets its name from us
    for volume in spec.each("volumes"):
        volume.text("name")
    for pull in spec.each("imagePullSecrets"):
        pull.text("name", "")
    spec.inside("securityContext")
    spec.inside("resources")
    return template.plain()


def template_of(resource: Mapping[str, Any] | None) -> dict[str, Any]:
    """A resource's template; {} where there is no usable one."""
    if is_too_deep(resource):
        return {}
    try:
        return pod_template(Fields(resource or {}).inside("spec").inside("syncJobPodTemplate"))
    except InvalidDocument:
        return {}


def _check(container: Fields, *, named: bool) -> None:
    container.text("name", None if named else "")
    for variable in container.each("env"):
        variable.text("name")
        _reference(variable.inside("valueFrom"), "secretKeyRef", "configMapKeyRef")
    for source in container.each("envFrom"):
        _reference(source, "secretRef", "configMapRef")
    for mount in container.each("volumeMounts"):
        mount.text("name")
        mount.text("mountPath")
    container.inside("resources")
    container.inside("securityContext").inside("capabilities")


def _reference(source: Fields, *kinds: str) -> None:
    for kind in kinds:
        source.inside(kind).text("name", "")
