"""Numbers as people read them."""

from datetime import UTC, datetime


def count(number: int) -> str:
    """`12,345`."""
    return f"{number:,}"


def plural(number: int, noun: str) -> str:
    """`1 row`, `2,000 rows`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def rate(per_second: float | None) -> str:
    """`162/s`; below 10 with a digit, below one item a second per minute; empty if unknown."""
    if per_second is None or per_second <= 0:
        return ""
    if per_second < 1:
        return f"{per_second * 60:.1f}/min"
    if per_second < 9.95:
        return f"{per_second:.1f}/s"
    return f"{round(per_second):,}/s"


def duration(seconds: float) -> str:
    """`0.4 s`, `23 s`, `3 min 05 s`, `2 h 07 min`, `3 d 04 h`."""
    seconds = max(0.0, seconds)
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    minutes = round(seconds / 60)
    if minutes < 24 * 60:
        return f"{minutes // 60} h {minutes % 60:02} min"
    hours = round(seconds / 3600)
    return f"{hours // 24} d {hours % 24:02} h"


def percent(done: int, total: int) -> int | None:
    """Whole percent, 100 only when all is done; None if there is nothing to count."""
    return None if total <= 0 else min(100, 100 * done // total)


def size(octets: int) -> str:
    """`532 bytes`, `1.4 MB`: decimal units, as disks and networks count."""
    if octets < 1000:
        return plural(octets, "byte")
    number = float(octets)
    for unit in ("kB", "MB", "GB"):
        number /= 1000
        if number < 999.95:
            return f"{number:.1f} {unit}"
    return f"{number / 1000:,.1f} TB"


def took(started: datetime | None, finished: datetime | None) -> str:
    """How long something took, or has taken until now; empty if it has not begun."""
    if started is None:
        return ""
    return duration(((finished or datetime.now(UTC)) - started).total_seconds())


def clock(moment: datetime | None) -> str:
    """A moment in the user's own time zone, to the second; empty if there is none."""
    return "" if moment is None else f"{moment.astimezone():%Y-%m-%d %H:%M:%S}"


def printable(text: str) -> str:
    """The text on one line, without characters that could command a terminal."""
    return "".join(c if c.isprintable() else " " for c in text)
