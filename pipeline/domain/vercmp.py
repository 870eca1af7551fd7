"""Order of package versions, as rpm and dpkg themselves order them.

Rules: the same answer as `rpm.vercmp` and `dpkg --compare-versions` for every version those accept
(`tests/unit/test_vercmp.py` asks the real programs); no limit on the length of a number, no exceptions
whatever the text. Sources: rpm 4.20 `rpmvercmp` (with `~` before and `^` after everything), Debian
Policy 5.6.12.
"""

from __future__ import annotations

import re
from functools import cmp_to_key

_RPM_PART = re.compile(r"[0-9]+|[a-zA-Z]+|~|\^")
_NUMBER_OR_NOT = re.compile(r"([^0-9]*)([0-9]*)")


def rpm_compare(left: str, right: str) -> int:
    """Compare two rpm versions or releases, without epoch; negative, zero or positive."""
    if left == right:
        return 0
    ours, theirs = _RPM_PART.findall(left), _RPM_PART.findall(right)
    for a, b in zip([*ours, ""], [*theirs, ""], strict=False):
        answer = _rpm_part(a, b)
        if answer:
            return answer
    return 0


def _rpm_part(a: str, b: str) -> int:
    """Compare one part; "" is the end of a version, after `~`, before `^`, which is before any other part."""
    ranks = _rpm_rank(a), _rpm_rank(b)
    if ranks[0] != ranks[1]:
        return _sign(*ranks)
    return _numbers(a, b) if a[:1].isdigit() else _sign(a, b)


def _rpm_rank(part: str) -> int:
    if part in ("~", "", "^"):
        return ("~", "", "^").index(part)
    return 4 if part.isdigit() else 3


def _numbers(a: str, b: str) -> int:
    """Compare runs of digits as numbers without converting them: hostile ones may be very long."""
    a, b = a.lstrip("0"), b.lstrip("0")
    return _sign(len(a), len(b)) or _sign(a, b)


def _sign(a: int | str, b: int | str) -> int:
    return (a > b) - (a < b)  # type: ignore[operator]  # both are of one kind


def evr_compare(left: str, right: str) -> int:
    """Compare two `[epoch:]version-release` texts as dnf does; a missing epoch is 0."""
    ours, theirs = _split(left), _split(right)
    return _numbers(ours[0], theirs[0]) or rpm_compare(ours[1], theirs[1]) or rpm_compare(ours[2], theirs[2])


def dpkg_compare(left: str, right: str) -> int:
    """Compare two Debian versions, `[epoch:]upstream[-revision]`; negative, zero or positive."""
    ours, theirs = _split(left), _split(right)
    return _numbers(ours[0], theirs[0]) or _dpkg_part(ours[1], theirs[1]) or _dpkg_part(ours[2], theirs[2])


def _split(version: str) -> tuple[str, str, str]:
    epoch, colon, rest = version.partition(":")
    if not colon:
        epoch, rest = "0", version
    body, dash, revision = rest.rpartition("-")
    return (epoch, body, revision) if dash else (epoch, rest, "")


def _dpkg_part(left: str, right: str) -> int:
    ours, theirs = _NUMBER_OR_NOT.findall(left), _NUMBER_OR_NOT.findall(right)
    longest = max(len(ours), len(theirs))
    for index in range(longest):
        a = ours[index] if index < len(ours) else ("", "")
        b = theirs[index] if index < len(theirs) else ("", "")
        answer = _sign_weights(a[0], b[0]) or _numbers(a[1], b[1])
        if answer:
            return answer
    return 0


def _sign_weights(a: str, b: str) -> int:
    """Compare runs without digits: `~`, then the end of the run, then letters, then all the rest."""
    ours, theirs = [*map(_weight, a), 0], [*map(_weight, b), 0]
    return (ours > theirs) - (ours < theirs)


def _weight(character: str) -> int:
    if character == "~":
        return -1
    return ord(character) if character.isascii() and character.isalpha() else ord(character) + 256


evr_key = cmp_to_key(evr_compare)
"""Sort key for rpm's `[epoch:]version-release`."""

dpkg_key = cmp_to_key(dpkg_compare)
"""Sort key for Debian versions."""
