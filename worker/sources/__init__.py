"""One file a repository type: pure parsing and a little fetching. A source is given what is known, never the store."""

from collections.abc import Awaitable, Callable

from worker.http import Remote
from worker.sources import helm
from worker.sources.helm import Listing, Validators

# A type's door: what the remote offers now, or None when it says that nothing changed since the listing of these validators.
Open = Callable[[Remote, Validators | None], Awaitable[Listing | None]]

SOURCES: dict[str, Open] = {"helm": helm.open_listing}
