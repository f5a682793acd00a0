"""Which cron expressions Kubernetes takes as a CronJob's schedule: those of robfig/cron's standard parser without a time zone. Pure.

Five fields or one of six names. Beyond other crons' dialects there is no day of the week 7, no L, W or #, and no seconds.
"""

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
# A field's name, least and greatest value, and names of values.
_FIELDS = (
    ("minute", 0, 59, {}),
    ("hour", 0, 23, {}),
    ("day of the month", 1, 31, {}),
    ("month", 1, 12, {name: number for number, name in enumerate(_MONTHS, 1)}),
    ("day of the week", 0, 6, {name: number for number, name in enumerate(_DAYS)}),
)
_NAMED = {"@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"}


def cron_problem(text: str) -> str | None:
    """What is wrong with a cron expression, or None."""
    fields = text.split()
    if len(fields) == 1 and text.strip().startswith("@"):
        return None if fields[0] in _NAMED else f"there is no {fields[0][:40]!r} (known: {', '.join(sorted(_NAMED))})"
    if fields and fields[0].startswith(("TZ=", "CRON_TZ=")):
        return "a time zone cannot be given: schedules are in UTC"
    if len(fields) != len(_FIELDS):
        return f"it has {len(fields)} fields, not five"
    for word, (name, least, greatest, names) in zip(fields, _FIELDS, strict=True):
        if not all(_is_range(part, least, greatest, names) for part in word.split(",")):
            return f"{word[:40]!r} is no {name}: {least} to {greatest}, as *, N, N-N or either with /STEP, in a list with commas"
    return None


def _is_range(part: str, least: int, greatest: int, names: dict[str, int]) -> bool:
    """`*`, `?`, N, N-N, each with or without /STEP."""
    span, slash, step = part.partition("/")
    low, dash, high = span.partition("-")
    if slash and not (_is_number(step) and int(step) > 0):
        return False
    if span in ("*", "?"):
        return True
    first, last = _value(low, names), _value(high, names) if dash else greatest
    return first is not None and last is not None and least <= first <= last <= greatest


def _value(word: str, names: dict[str, int]) -> int | None:
    return int(word) if _is_number(word) else names.get(word.lower())


def _is_number(word: str) -> bool:
    return word.isascii() and word.isdigit() and len(word) < 10  # int() has a limit
