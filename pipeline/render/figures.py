"""Numbers as people read them: bytes, differences of bytes, durations, points.

Rules: one form each, the same in the terminal and on the page; a true minus sign, so that columns line up.
"""

from __future__ import annotations

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_STEP = 1024
_SHOWN = 1000
_HUNDRED = 100
_TEN = 10
_SECOND = 1000
_MINUTE = 60 * _SECOND
_MINUTE_SECONDS, _HOUR_SECONDS, _DAY_SECONDS = 60, 3600, 86_400
_MINUS = "\N{MINUS SIGN}"


def size(count: int) -> str:
    """Return bytes in the largest unit that fits, rounded: `1.02 GiB`, `12.3 MiB`."""
    amount = float(abs(count))
    unit = 0
    while amount >= _SHOWN and unit < len(_UNITS) - 1:
        amount /= _STEP
        unit += 1
    digits = 0 if unit == 0 or amount >= _HUNDRED else 1 if amount >= _TEN else 2
    return f"{_MINUS if count < 0 else ''}{amount:.{digits}f} {_UNITS[unit]}"


def growth(count: int) -> str:
    """Return a difference of bytes with its sign; `±0` for none."""
    return f"+{size(count)}" if count > 0 else size(count) if count else "\N{PLUS-MINUS SIGN}0"


def share(delta: int, before: int) -> str:
    """Return a difference as a share of what was there: `+1.4 %`; empty where nothing was."""
    if not before:
        return ""
    percent = 100 * delta / before
    sign = "+" if percent > 0 else _MINUS if percent < 0 else ""
    return f"{sign}{abs(percent):.1f} %"


def duration(milliseconds: int) -> str:
    """Return a duration: `840 ms`, `13.2 s`, `4 min 45 s`."""
    if milliseconds < _SECOND:
        return f"{milliseconds} ms"
    if milliseconds < _MINUTE:
        return f"{milliseconds / _SECOND:.1f} s"
    minutes, rest = divmod(milliseconds, _MINUTE)
    return f"{minutes} min {rest // _SECOND} s"


def points(hundredths: int) -> str:
    """Return hundredths of points: `9.43`, and `7` where they are whole."""
    whole, rest = divmod(hundredths, 100)
    return f"{whole}.{rest:02}" if rest else str(whole)


def many(count: int, one: str, more: str = "") -> str:
    """Return a number with its noun: `1 package`, `3 packages`, `1,204 packages`."""
    return f"{count:,} {one if count == 1 else more or one + 's'}"


def age(seconds: float) -> str:
    """Return how long ago something was, in whole units as people say them: `40 s`, `12 min`, `2 h`, `3 d`.

    What another clock dates ahead by more than a minute is told as such: `in 2 h`.
    """
    if seconds < 0:
        return "0 s" if seconds > -_MINUTE_SECONDS else f"in {age(-seconds)}"
    if seconds < _MINUTE_SECONDS:
        return f"{int(seconds)} s"
    if seconds < _HOUR_SECONDS:
        return f"{int(seconds / _MINUTE_SECONDS)} min"
    if seconds < 2 * _DAY_SECONDS:
        return f"{int(seconds / _HOUR_SECONDS)} h"
    return f"{int(seconds / _DAY_SECONDS):,} d"
