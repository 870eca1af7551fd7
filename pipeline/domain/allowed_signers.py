"""Reads a list of allowed signers (ssh-keygen(1), ALLOWED SIGNERS): which key speaks for which principals.

Rules: only plain lists are read. A principal is a word, no pattern, for a key allowed `*@example.org` could
be anybody there; a key stands for itself, not for an authority that could name further ones; an option that
is not understood is refused. So what this reader sees and what ssh-keygen makes of the list are the same.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.domain.idtoken import TokenIssuer
from pipeline.domain.text import plain
from pipeline.errors import DefinitionError
from pipeline.problem import Problem

PRINCIPAL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,254}")
"""A name that a list may give to a key."""

_OPTION = r'(?:namespaces|valid-after|valid-before)="[^"\\]*"'
_LINE = re.compile(
    rf"(?P<principals>[^\s\"]+)[ \t]+(?:{_OPTION}(?:,{_OPTION})*[ \t]+)?"
    r"(?P<type>[a-z0-9@.-]+)[ \t]+(?P<key>[A-Za-z0-9+/]+={0,2})(?:[ \t].*)?"
)
_LENGTH = 4
"""Bytes of the length before a text in a key (RFC 4253, section 6.6)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AllowedKey:
    """One line of the list: a key's fingerprint (`SHA256:…`) and the principals it speaks for."""

    principals: tuple[str, ...]
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AllowedSigners:
    """The whole list.

    Attributes:
        data: Its bytes, as they are given to ssh-keygen.
        keys: Its lines.
        issuer: Whose identity tokens count beside it, or None.
    """

    data: bytes
    keys: tuple[AllowedKey, ...]
    issuer: TokenIssuer | None = None

    def principals_of(self, key: str) -> tuple[str, ...]:
        """Return whom a key, given by its fingerprint, speaks for; sorted, empty for an unknown key."""
        return tuple(sorted({name for one in self.keys if one.key == key for name in one.principals}))


def fingerprint(blob: bytes) -> str:
    """Return the name of a public key, as ssh-keygen shows it: SHA256, base64 without padding."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


def parse_allowed_signers(data: bytes, *, file: str) -> AllowedSigners:
    """Return the list that a file holds; `file` is its name in problems.

    Raises:
        DefinitionError: Lines are not understood or say more than a plain list may; all of them are named.
    """
    keys: list[AllowedKey] = []
    problems: list[Problem] = []
    for number, text in _lines(data):
        found = _allowed(text)
        if isinstance(found, AllowedKey):
            keys.append(found)
        else:
            problems.append(Problem(file=file, line=number, key="", message=found, hint=_HINT))
    if problems:
        raise DefinitionError(tuple(problems))
    return AllowedSigners(data=data, keys=tuple(keys))


_HINT = 'write: principal[,principal…] [namespaces="…",valid-after="…",valid-before="…"] keytype key'


def _lines(data: bytes) -> Iterator[tuple[int, str]]:
    """Yield what is neither empty nor a comment, with its line number from 1 on."""
    for number, raw in enumerate(data.decode("utf-8", "surrogateescape").split("\n"), 1):
        text = raw.strip(" \t\r")
        if text and not text.startswith("#"):
            yield number, text


def _allowed(text: str) -> AllowedKey | str:
    """Return what one line allows, or why it is refused."""
    if re.search(r"(?i)\bcert-authority\b", text):
        return "names an authority; whoever holds it could make keys that are not in the list"
    found = _LINE.fullmatch(text)
    if found is None:
        return f"is not understood: {plain(text, 80)!r}"
    principals = tuple(found["principals"].split(","))
    for name in principals:
        if not PRINCIPAL.fullmatch(name):
            return f"{plain(name, 80)!r} is a pattern or no principal; write each name out"
    try:
        blob = base64.b64decode(found["key"], validate=True)
    except (binascii.Error, ValueError):
        return "the key is no base64"
    if not _has_type(blob, found["type"].encode()):
        return f"the key is not of the type {plain(found['type'], 60)!r}"
    return AllowedKey(principals=principals, key=fingerprint(blob))


def _has_type(blob: bytes, name: bytes) -> bool:
    length = int.from_bytes(blob[:_LENGTH], "big")
    return length == len(name) and blob[_LENGTH : _LENGTH + length] == name and b"-cert-" not in name
