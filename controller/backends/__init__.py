"""One file a way of running jobs: actions in, effects out."""

from controller.backends.celery import CeleryBackend
from controller.backends.kubernetes import KubernetesBackend

BACKENDS = {"celery": CeleryBackend, "kubernetes": KubernetesBackend}
