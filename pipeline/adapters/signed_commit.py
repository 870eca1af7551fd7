"""Git commits as bytes, with the SSH signature that `git commit -S` puts into their head.

Rules: what is signed is the commit without its signature, byte for byte; a commit with more than one, or with
a head that is not understood, counts as not signed, for git and this reader could then mean different ones.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_HEADERS = {40: b"gpgsig", 64: b"gpgsig-sha256"}
_COMMITTER = re.compile(rb"committer (?P<who>[^\n]*) (?P<time>[0-9]{1,12}) [+-][0-9]{4}")
_ANY = frozenset(_HEADERS.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedCommit:
    """A commit taken apart.

    Attributes:
        payload: What its signature covers.
        signature: In its armour; "" where there is none that can be meant.
        committer: Whom it names, name and address; as it stands there.
        time: The committer's time, in seconds since 1970; None where it names none.
        fault: Why it counts as not signed; "" when it has a signature to be checked.
    """

    payload: bytes
    signature: str
    committer: str
    time: int | None
    fault: str


def read_commit(identity: str, data: bytes) -> SignedCommit:
    """Take a commit's object apart; `identity` is its full id."""
    head, empty, message = data.partition(b"\n\n")
    kept: list[bytes] = []
    signatures: list[tuple[bytes, list[bytes]]] = []
    inside = False
    for line in head.split(b"\n"):
        name, _, rest = line.partition(b" ")
        if name in _ANY:
            signatures.append((name, [rest]))
        elif inside and line.startswith(b" "):
            signatures[-1][1].append(line[1:])
        else:
            kept.append(line)
        inside = name in _ANY or (inside and line.startswith(b" "))
    named = [found for found in map(_COMMITTER.fullmatch, kept) if found is not None]
    one = named[0] if len(named) == 1 else None
    text = b"\n".join([*(signatures[0][1] if len(signatures) == 1 else ()), b""])
    return SignedCommit(
        payload=b"\n".join(kept) + empty + message,
        signature=text.decode("latin-1"),
        committer="nobody" if one is None else one["who"].decode(errors="replace"),
        time=None if one is None else int(one["time"]),
        fault=_fault(identity, [name for name, _ in signatures], whole=one is not None and bool(empty)),
    )


def with_signature(identity: str, data: bytes, signature: bytes) -> bytes:
    """Return a commit's object with a signature of it in its head, as git writes it."""
    head, empty, message = data.partition(b"\n\n")
    lines = signature.rstrip(b"\n").split(b"\n")
    header = _HEADERS[len(identity)] + b" " + b"\n ".join(lines)
    return head + b"\n" + header + empty + message


def _fault(identity: str, headers: list[bytes], *, whole: bool) -> str:
    if not headers:
        return "it is not signed"
    if len(headers) > 1:
        return "it bears more than one signature"
    if headers[0] != _HEADERS.get(len(identity)):
        return "its signature is for another kind of repository"
    return "" if whole else "its head is not understood"
