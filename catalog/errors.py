"""What can go wrong, by what to do next: `transient` says whether trying again helps.

CatalogError
├─ InvalidRepository       the resource is wrong; the message says what to change
├─ InvalidJob              an argv that is no job of ours, or a setting that is wrong
├─ RepositoryGone          deleted meanwhile: stop, no alarm
├─ WaitingForSecret        a Secret or a key of it is not there yet        transient
├─ SourceError
│   ├─ SourceUnavailable   timeouts, DNS, 429, 5xx, a broken transfer      transient
│   ├─ SourceRefused       401, 403, 404: a person must change something
│   └─ SourceMalformed     what came cannot be read as an index or archive
├─ Interrupted             the process was told to stop                    transient
├─ LimitExceeded           too many bytes, levels, seconds
├─ RemovalsHeld            the listing would empty the catalogue: kept as it was
├─ StoreRefused            PostgreSQL would not: a deadlock, a full disk   by its code
└─ StoreUnavailable        PostgreSQL does not answer                      transient
    ├─ SchemaMissing       it has no schema of ours yet                    transient
    └─ SchemaTooOld        it is to be migrated                            transient

A class's name is the reason that users see: in `sync_runs.error_class`, in conditions, on the page.
"""


class CatalogError(Exception):
    """Base of all errors that a user is told about; its text names the thing, the place and what to do."""

    transient: bool = False

    @property
    def reason(self) -> str:
        """CamelCase word for conditions and rows."""
        return type(self).__name__


class InvalidRepository(CatalogError): ...


class InvalidJob(CatalogError): ...


class RepositoryGone(CatalogError): ...


class WaitingForSecret(CatalogError):
    transient = True


class SourceError(CatalogError): ...


class SourceUnavailable(SourceError):
    """`retry_after`: seconds that the remote asked for, if it did. Not `asked`: its host is left alone, whatever the thing."""

    transient = True

    def __init__(self, message: str, retry_after: float | None = None, *, asked: bool = True) -> None:
        super().__init__(message)
        self.retry_after, self.asked = retry_after, asked


class SourceRefused(SourceError): ...


class SourceMalformed(SourceError): ...


class Interrupted(CatalogError):
    transient = True


class LimitExceeded(CatalogError): ...


class RemovalsHeld(CatalogError): ...


class StoreRefused(CatalogError):
    """`sqlstate` tells what may mend itself: conflicts (40), resources (53), locks (55), a stop (57)."""

    def __init__(self, message: str, sqlstate: str) -> None:
        super().__init__(f"PostgreSQL refused: {message}")
        self.transient = sqlstate[:2] in {"40", "53", "55", "57"}


class StoreUnavailable(CatalogError):
    transient = True


class SchemaMissing(StoreUnavailable): ...


class SchemaTooOld(StoreUnavailable): ...
