r"""Makes text from outside safe to show: names, paths, labels and logs may carry escape codes or bidi tricks.

Rules: the result is one line without control, format, surrogate or unassigned characters; what was there
is shown as an escape (`\x1b`, `\u202e`), never dropped silently, so that two different names stay different
to the eye. Only `without_ansi` drops, and only for logs, where colours are noise.
"""

from __future__ import annotations

import re
import unicodedata

LIMIT = 400
"""Characters of a shown text, unless the caller says otherwise."""

_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_NAMED = {"\n": "\\n", "\r": "\\r"}
_BYTE = range(0xDC80, 0xDD00)
"""Where surrogateescape puts bytes that were no UTF-8."""

_ANSI = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor movement
    r"|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)"  # OSC, DCS, SOS, PM, APC up to their terminator
    r"|\x1b[ -/]*[0-Z\\^-~]"  # two-character escapes
)


def plain(text: str, limit: int = LIMIT) -> str:
    """Return `text` as one harmless line of `limit` characters at most; what was cut off is marked by `…`.

    Tabs and other spaces become a space; everything that does not show itself becomes a visible escape.
    Square brackets are kept: who prints through rich must print literal text, not markup.
    """
    shown = text[: limit + 1]
    if not (shown.isascii() and shown.isprintable()):  # looking at each character takes most of the time
        shown = "".join(map(_shown, shown))
    if len(shown) <= limit:
        return shown
    return shown[: max(limit - 1, 0)] + "…"


def without_ansi(text: str) -> str:
    """Return `text` without complete terminal escape sequences; broken ones are left for `plain` to show."""
    return _ANSI.sub("", text)


def _shown(char: str) -> str:
    if " " <= char <= "~":
        return char
    category = unicodedata.category(char)
    if char == "\t" or category == "Zs":
        return " "
    if category not in _HIDDEN:
        return char
    return _NAMED.get(char) or _escaped(ord(char))


def _escaped(point: int) -> str:
    if point in _BYTE:
        return f"\\x{point - 0xDC00:02x}"
    for letter, digits in (("x", 2), ("u", 4)):
        if point < 16**digits:
            return f"\\{letter}{point:0{digits}x}"
    return f"\\U{point:08x}"
