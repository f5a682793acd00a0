"""One file a way of running jobs: actions in, effects out."""

from controller.backends.celery import CeleryBackend

BACKENDS = {"celery": CeleryBackend}
