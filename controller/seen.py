"""What the API server has last said: one shelf a kind of object. Fed by lists, by watches and by the answers to our own writes.

An object's resourceVersion decides which of two sayings is newer, so that an event that was under way never undoes a later answer.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from catalog.model import RepositoryKey
from controller.manifests import REPOSITORY
from controller.pods import REPOSITORY_NAME as NAME_LABEL
from controller.pods import REPOSITORY_NAMESPACE as NAMESPACE_LABEL

Object = Mapping[str, Any]
Place = tuple[str, str]  # namespace, name
IDENTITY = ("namespace", "name", "uid", "resourceVersion", "generation", "creationTimestamp", "annotations")
Use = tuple[str, str, str]  # resource (secrets, configmaps), namespace, name


def place(thing: Object) -> Place:
    metadata = thing["metadata"]
    return metadata.get("namespace", ""), metadata["name"]


def version(thing: Object) -> int:
    return int(thing["metadata"].get("resourceVersion") or 0)


def annotation(thing: Object, name: str) -> str:
    return (thing["metadata"].get("annotations") or {}).get(name, "")


def itself(thing: Object) -> RepositoryKey:
    """The repository that a resource is."""
    return RepositoryKey(*place(thing))


def owner(thing: Object) -> RepositoryKey | None:
    """The repository that a CronJob or Job says it was made for: our annotation, else Kubeapps' labels. Only `owner_from` believes it."""
    namespace, slash, name = annotation(thing, REPOSITORY).partition("/")
    if slash:
        return RepositoryKey(namespace, name)
    labels = thing["metadata"].get("labels") or {}
    return RepositoryKey(labels[NAMESPACE_LABEL], labels[NAME_LABEL]) if {NAMESPACE_LABEL, NAME_LABEL} <= labels.keys() else None


def owner_from(home: str) -> Callable[[Object], RepositoryKey | None]:
    """`owner`, of what stands in the controller's own namespace or in the repository's: elsewhere anybody may have written anything."""

    def owner_within(thing: Object) -> RepositoryKey | None:
        key = owner(thing)
        return key if key and place(thing)[0] in (home, key.namespace) else None

    return owner_within


@dataclass(slots=True)
class Shelf:
    """A kind's objects by place, and by the repository that they belong to."""

    owner: Callable[[Object], RepositoryKey | None]
    keep: Callable[[Object], Object] = lambda thing: thing
    objects: dict[Place, Object] = field(default_factory=dict)
    owned: dict[RepositoryKey, set[Place]] = field(default_factory=dict)

    def put(self, thing: Object) -> RepositoryKey | None:
        """Take what was said. Returns whom it concerns; None when it is no news."""
        at, known = place(thing), self.objects.get(place(thing))
        if known is not None and version(thing) <= version(known):
            return None
        self.drop(at)
        self.objects[at] = self.keep(thing)
        key = self.owner(thing)
        if key:
            self.owned.setdefault(key, set()).add(at)
        return key

    def drop(self, at: Place) -> RepositoryKey | None:
        known = self.objects.pop(at, None)
        key = self.owner(known) if known else None
        if key:
            self.owned[key].discard(at)
            if not self.owned[key]:
                del self.owned[key]
        return key

    def gone(self, thing: Object) -> RepositoryKey | None:
        """Take off what was said to be gone; None when one of its name is there that is newer."""
        known = self.objects.get(place(thing))
        return self.drop(place(thing)) if known and version(known) <= version(thing) else None

    def replace(self, things: Iterable[Object], at_version: int, namespace: str | None) -> set[RepositoryKey]:
        """A complete listing of a namespace, or of all: what it lacks, and is not newer, is gone. Returns whom all this concerns."""
        listed = {place(thing): thing for thing in things}
        within = (at for at in self.objects if namespace in (None, at[0]) and at not in listed)
        gone = [at for at in within if version(self.objects[at]) <= at_version]
        concerned = {self.drop(at) for at in gone} | {self.put(thing) for thing in listed.values()}
        return {key for key in concerned if key}

    def of(self, key: RepositoryKey) -> list[Object]:
        """A repository's objects, oldest first."""
        return sorted((self.objects[at] for at in self.owned.get(key, ())), key=lambda thing: (created(thing), place(thing)))


def created(thing: Object) -> str:
    """RFC 3339 text, which sorts as time does."""
    return thing["metadata"].get("creationTimestamp") or ""


def without_managers(thing: Object) -> Object:
    """An object without the bookkeeping that is most of its size."""
    metadata = {name: value for name, value in thing["metadata"].items() if name != "managedFields"}
    return {**thing, "metadata": metadata}


def only_version(thing: Object) -> Object:
    """Of a Secret or ConfigMap: that it is there, its resourceVersion and the names of its keys. Its content is not kept."""
    metadata = {name: thing["metadata"].get(name) for name in ("namespace", "name", "resourceVersion")}
    return {"metadata": metadata, "keys": frozenset({**(thing.get("data") or {}), **(thing.get("binaryData") or {})})}


def of_job(thing: Object) -> Object:
    """Of a CronJob or Job: who it is, whose, whether it is suspended, and how it stands."""
    metadata = {name: thing["metadata"][name] for name in IDENTITY if name in thing["metadata"]}
    labels = {name: value for name, value in (thing["metadata"].get("labels") or {}).items() if name in (NAME_LABEL, NAMESPACE_LABEL)}
    suspend = bool((thing.get("spec") or {}).get("suspend"))
    return {"metadata": {**metadata, "labels": labels}, "spec": {"suspend": suspend}, "status": thing.get("status") or {}}


class Seen:
    """All shelves; `home` is the controller's own namespace. A kind that may not be read has none (`readable` lacks it)."""

    def __init__(self, home: str) -> None:
        self.repositories = Shelf(itself, without_managers)
        self.cron_jobs, self.jobs = Shelf(owner_from(home), of_job), Shelf(owner_from(home), of_job)
        self.secrets, self.config_maps = Shelf(lambda _: None, only_version), Shelf(lambda _: None, only_version)
        self.readable: set[str] = set()

    def shelf(self, resource: str) -> Shelf:
        shelves = {"apprepositories": self.repositories, "cronjobs": self.cron_jobs, "jobs": self.jobs}
        return {**shelves, "secrets": self.secrets, "configmaps": self.config_maps}[resource]
