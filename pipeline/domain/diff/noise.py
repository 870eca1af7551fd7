"""Which changes any two builds of the same thing have: told apart by the reason, never hidden.

Rules: noise is a change of content or time alone, at a place where programs write down what they have done; a
change of type, mode, owner, capability, or of a link's target never is, wherever it is; a file that came or
went only in caches and logs. The list names places, and nothing an image says of itself adds to it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pipeline.domain.diff.snapshot import Aspect, ChangeKind, FileChange
from pipeline.domain.tree import FileType

_QUIET = frozenset({Aspect.CONTENT, Aspect.MTIME})
_TIME_ALONE = frozenset({Aspect.MTIME})
_PLAIN = frozenset({FileType.FILE, FileType.DIRECTORY})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rule:
    """A place and why it differs from build to build; `transient` where files may come and go unremarked."""

    why: str
    pattern: re.Pattern[str]
    transient: bool = False


def _rule(why: str, pattern: str, *, transient: bool = False) -> _Rule:
    return _Rule(why=why, pattern=re.compile(pattern, re.DOTALL), transient=transient)


_RULES = (
    _rule("log", r"/var/log/.+", transient=True),
    _rule("cache", r"/var/cache/.+", transient=True),
    _rule("cache", r"/(?:root|home/[^/]+)/\.cache/.+", transient=True),
    _rule("compiled Python file", r"/usr/(?:local/)?lib/.+/__pycache__/[^/]+\.pyc"),
    _rule("package database", r"/(?:usr/lib/sysimage|var/lib)/dpkg/(?:status|available|lock)(?:-old)?"),
    _rule("package database", r"/(?:usr/lib/sysimage|var/lib)/dpkg/(?:diversions|statoverride)-old"),
    _rule("package database", r"/var/lib/dpkg/triggers/.+"),
    _rule("package database", r"/(?:usr/lib/sysimage|usr/share|var/lib)/rpm/.+"),
    _rule("package database", r"/(?:usr/lib/sysimage/libdnf5|var/lib/dnf)/.+"),
    _rule(
        "package database", r"/var/lib/(?:apt/extended_states|pam/seen|ucf/(?:hashfile|registry)(?:\.\d+)?)"
    ),
    _rule("rebuilt index", r"/etc/ld\.so\.cache"),
    _rule("rebuilt index", r"/usr/lib/systemd/catalog/database|/var/lib/systemd/catalog/database"),
    _rule("rebuilt index", r"/(?:etc|usr/lib)/udev/hwdb\.bin"),
    _rule("rebuilt index", r"/usr/share/(?:mime/mime\.cache|glib-2\.0/schemas/gschemas\.compiled|info/dir)"),
    _rule(
        "rebuilt index", r"/usr/lib/(?:[^/]+/)?(?:gconv/gconv-modules\.cache|gio/modules/giomodule\.cache)"
    ),
    _rule("rebuilt index", r"/usr/lib/locale/locale-archive"),
    _rule(
        "rebuilt index",
        r"/(?:usr/)?lib/modules/[^/]+/modules\.(?:dep|alias|symbols|builtin(?:\.alias)?)\.bin",
    ),
    _rule("rebuilt initramfs", r"/(?:(?:usr/)?lib/modules/[^/]+/initramfs\.img|boot/initr(?:d|amfs)[^/]*)"),
)


def noise_of(change: FileChange) -> str | None:
    """Return why a change is in any two builds, in a word or two; None when it is not.

    Args:
        change: One path that differs.
    """
    if change.what == _TIME_ALONE:
        return "time"
    rule = next((rule for rule in _RULES if rule.pattern.fullmatch(change.path)), None)
    if rule is None:
        return None
    if change.kind is ChangeKind.CHANGED:
        return rule.why if change.what <= _QUIET else None
    plain = not change.what and all(facts.type in _PLAIN for facts in (change.old, change.new) if facts)
    return rule.why if rule.transient and plain else None
