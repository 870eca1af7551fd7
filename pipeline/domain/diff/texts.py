"""Configuration and unit files as unified text.

Rules: text is shown where a reviewer must read it (`/etc`, units, drop-in folders of /usr/lib, quadlets);
control characters are made visible; sizes are bounded and what was cut is counted, while the files' SHA-256
are told beside, so that nothing escapes the approval; a file that only root may read is shown only where
it is known to hold rules and no secrets, and a line that looks like a secret is masked.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipeline.domain.diff.containers import QUADLETS
from pipeline.domain.diff.pair import Pair, Side
from pipeline.domain.diff.snapshot import Aspect, ChangeKind, FileChange, FileFacts
from pipeline.domain.secretlike import secret_kind
from pipeline.domain.text import plain
from pipeline.domain.tree import FileType

FOLDERS = (
    "/etc",
    "/usr/etc",
    *(f"/usr/lib/systemd/{name}" for name in ("system", "user", "network")),
    *(f"/usr/lib/systemd/{name}" for name in ("system-preset", "user-preset", "system.conf.d")),
    *(f"/usr/lib/{name}.d" for name in ("sysusers", "tmpfiles", "sysctl", "modprobe", "modules-load")),
    "/usr/lib/udev/rules.d",
    "/usr/lib/bootc",
    "/usr/lib/dracut/dracut.conf.d",
    "/usr/lib/ostree",
    *QUADLETS,
)
"""Folders whose text files are shown."""
_BEGINNINGS = tuple(f"{folder}/" for folder in FOLDERS)

MOST_BYTES = 128 << 10
"""Bytes of the largest file that is compared line by line."""
MOST_LINES = 2000
"""Lines of the longest such file; the comparison's time grows with their product."""
SHOWN_LINES = 300
"""Lines of one file's diff that are kept."""
MOST_SHOWN = 20_000
"""Lines that are kept of all files together."""
_LONGEST = 400
_LOOKED_AT = 1024

_NEVER = re.compile(r"/(?:usr/)?etc/(?:g?shadow-?|security/opasswd|ssh/ssh_host_.*_key|machine-id|.*\.key)")
_RULES = re.compile(
    r"/(?:usr/)?etc/(?:sudoers|sudoers\.d/.*|ssh/sshd_config(?:\.d/.*)?|cron.*|polkit-1/.*|audit/.*|pam\.d/.*"
    r"|nftables.*|sysconfig/nftables.*|firewalld/.*|systemd/.*|containers/.*)",
    re.DOTALL,
)
_HASH = re.compile(r"\$(?:[0-9][a-z]?|y|gy|7|sha1|argon2(?:id|i|d))\$[^\s:]+")
_READABLE = 0o004


@dataclass(frozen=True, slots=True, kw_only=True)
class TextChange:
    """What changed in one file's text.

    Attributes:
        path: The file.
        kind: Added, removed or changed.
        lines: The unified diff without its heads, harmless to show; empty where `why` says why.
        added, removed: Lines that came and went, in all.
        cut: Lines of the diff that were left out.
        why: Why no text is shown, or "".
    """

    path: str
    kind: ChangeKind
    lines: tuple[str, ...] = ()
    added: int = 0
    removed: int = 0
    cut: int = 0
    why: str = ""


def text_changes(pair: Pair, noisy: frozenset[str] = frozenset()) -> tuple[TextChange, ...]:
    """Return the text changes of configuration and unit files, by path; `noisy` paths are left out."""
    left, found = MOST_SHOWN, []
    for change in pair.files:
        if change.path not in noisy and _is_shown(change):
            text = _text_change(pair, change, min(left, SHOWN_LINES))
            left -= len(text.lines)
            found.append(text)
    return tuple(found)


def _is_shown(change: FileChange) -> bool:
    if not change.path.startswith(_BEGINNINGS):
        return False
    if change.kind is ChangeKind.CHANGED and not change.what & {Aspect.CONTENT, Aspect.TYPE}:
        return False
    files = [facts for facts in (change.old, change.new) if facts is not None]
    return any(facts.type is FileType.FILE for facts in files)


def _text_change(pair: Pair, change: FileChange, most: int) -> TextChange:
    why = _refusal(change) if most else "more than is shown of all files together"
    old, new = (None, None) if why else (_lines(pair.old, change.old), _lines(pair.new, change.new))
    if why or isinstance(old, str) or isinstance(new, str) or old is None or new is None:
        reason = why or next((one for one in (old, new) if isinstance(one, str)), "could not be read")
        return TextChange(path=change.path, kind=change.kind, why=reason)
    lines = list(_diff(old, new))
    return TextChange(
        path=change.path,
        kind=change.kind,
        lines=tuple(lines[:most]),
        added=sum(line.startswith("+") for line in lines),
        removed=sum(line.startswith("-") for line in lines),
        cut=max(len(lines) - most, 0),
    )


def _refusal(change: FileChange) -> str:
    sides = [facts for facts in (change.old, change.new) if facts is not None]
    if _NEVER.fullmatch(change.path):
        return "may hold a secret"
    secret = any(facts.type is FileType.FILE and not facts.mode & _READABLE for facts in sides)
    return "only root may read it" if secret and not _RULES.fullmatch(change.path) else ""


def _lines(side: Side, facts: FileFacts | None) -> list[str] | str | None:
    """Return the lines, why there are none to compare, or None where the file could not be read."""
    if facts is None or facts.type is not FileType.FILE:
        return []
    if facts.size > MOST_BYTES:
        return f"larger than {MOST_BYTES >> 10} KiB"
    data = side.read(facts.path, limit=MOST_BYTES)
    if data is None:
        return None
    if b"\0" in data:
        return "no text"
    # Not splitlines: it also splits at characters that are no line end to any program.
    lines = data.decode("utf-8", "surrogateescape").removesuffix("\n").split("\n") if data else []
    return lines if len(lines) <= MOST_LINES else f"longer than {MOST_LINES} lines"


def _diff(old: Sequence[str], new: Sequence[str]) -> Iterator[str]:
    """Yield a unified diff without file heads; lines are compared as they are and shown harmless."""
    for number, line in enumerate(difflib.unified_diff(old, new, n=2, lineterm="")):
        if number > 1:  # after `---` and `+++`
            yield _shown(line)


def _shown(line: str) -> str:
    mark, text = line[:1], line[1:]
    looked_at = text[:_LOOKED_AT]  # more than is shown; the search may take the square of it
    if mark != "@" and _is_secret(looked_at):
        return f"{mark}(a line that looks like a secret)"
    return mark + plain(text, _LONGEST)


def _is_secret(text: str) -> bool:
    value = text.partition("=")[2]  # Environment=TOKEN=… of a unit
    return any(secret_kind(part) for part in (text, value)) or _HASH.search(text) is not None
