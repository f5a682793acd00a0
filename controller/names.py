"""Names of the objects of a repository: Kubeapps' own wherever those are valid, else valid ones. Pure.

A CronJob's name has at most 52 characters, so that the Jobs it makes can add eleven. Kubeapps gives either part of a name half of what is
left and ends a part that does not fit with the Adler-32 sum of what was cut off. It does not look at what it gets: a part may be cut at a
dot, and a label value may be too long. Such a name, and one that another repository has already, gets ten hexadecimal digits of ours.
"""

import re
from hashlib import blake2b
from zlib import adler32

from catalog.model import RepositoryKey

LONGEST = 52  # of a CronJob's name
LONGEST_SUBDOMAIN = 253  # of other objects' names
LONGEST_LABEL = 63  # of a label's value, and of a DNS label
SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")


def cron_job_name(key: RepositoryKey) -> str:
    """At most 52 characters; also the beginning of the names of its one-off Jobs."""
    name = _pattern("sync", key, LONGEST - len("apprepo--sync-"))
    return name if SUBDOMAIN.fullmatch(name) else spare_name(name, key)


def clean_up_prefix(key: RepositoryKey) -> str:
    """At most 52 characters and a dash at the end, to which a clean-up Job's own are added."""
    name = _pattern("cleanup", key, LONGEST - len("apprepo--cleanup--"))
    return (name if SUBDOMAIN.fullmatch(name) else _ended(name, LONGEST - 1, str(key))) + "-"


def spare_name(name: str, key: RepositoryKey) -> str:
    """The name for a repository whose own is taken: two keys may have the same, as a-sync-b/c and a/b-sync-c."""
    return _ended(name, LONGEST, str(key))


def one_off_name(cron: str, asked: str, handled: str) -> str:
    """A sync Job's name (≤ 63) from what is asked for and what was handled last: the name is the lock, and going back is a change too."""
    return f"{cron}-{_digits(f'{asked} {handled}')}"


def clean_up_name(key: RepositoryKey, uid: str, attempt: int) -> str:
    """A clean-up Job's name (≤ 62) from the resource that goes and the number of the attempt."""
    return clean_up_prefix(key) + _digits(f"{uid} {attempt}")


def copied_secret_name(key: RepositoryKey) -> str:
    """Where Kubeapps looks for the Secret of a repository in another namespace than its own."""
    name = f"{key.namespace}-apprepo-{key.name}"
    return name if len(name) <= LONGEST_SUBDOMAIN else _ended(name, LONGEST_SUBDOMAIN, name)


def label_value(text: str) -> str:
    """The text as a label's value, cut and given a hash where it is none."""
    return text if LABEL_VALUE.fullmatch(text) else _ended(text, LONGEST_LABEL, text)


def volume_name(secret: str) -> str:
    """The Secret's name as a volume's, which is a DNS label: Kubeapps takes it as it is."""
    return secret if DNS_LABEL.fullmatch(secret) else _ended(secret, LONGEST_LABEL, secret)


def _pattern(verb: str, key: RepositoryKey, room: int) -> str:
    return f"apprepo-{_truncated(key.namespace, room // 2)}-{verb}-{_truncated(key.name, room // 2)}"


def _truncated(part: str, longest: int) -> str:
    """Kubeapps' truncateAndHashString: the sum is that of the part cut off, in decimal."""
    if len(part) <= longest:
        return part
    kept = longest - 11
    return f"{part[:kept]}-{adler32(part[kept:].encode())}" if kept >= 0 else part[:longest]


def _ended(text: str, longest: int, whose: str) -> str:
    """A DNS label of at most `longest` characters: the text's beginning and a hash of `whose`."""
    beginning = re.sub("[^a-z0-9]+", "-", text.lower())[: longest - 11].strip("-")
    return f"{beginning}-{_digits(whose)}".lstrip("-")


def _digits(text: str) -> str:
    return blake2b(text.encode(), digest_size=5).hexdigest()
