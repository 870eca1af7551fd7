"""Reads a list of allowed signers (ssh-keygen(1), ALLOWED SIGNERS): which key speaks for which principals.

Rules: only plain lists are read. A principal is a word, no pattern, for a key allowed `*@example.org` could
be anybody there; a key stands for itself, not for an authority that could name further ones; an option that
is not understood is refused. So what this reader sees and what ssh-keygen makes of the list are the same.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pipeline.domain.idtoken import TokenIssuer
from pipeline.domain.text import plain
from pipeline.errors import DefinitionError
from pipeline.problem import Problem

PRINCIPAL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,254}")
"""A name that a list may give to a key."""

_OPTION = r'(?:namespaces|valid-after|valid-before)="[^"\\]*"'
_SETTING = re.compile(r'(?P<name>[a-z-]+)="(?P<value>[^"]*)"')
_TIME = re.compile(r"(?P<time>[0-9]{8}(?:[0-9]{4}(?:[0-9]{2})?)?)Z?")
_LINE = re.compile(
    rf"(?P<principals>[^\s\"]+)[ \t]+(?:(?P<options>{_OPTION}(?:,{_OPTION})*)[ \t]+)?"
    r"(?P<type>[a-z0-9@.-]+)[ \t]+(?P<key>[A-Za-z0-9+/]+={0,2})(?:[ \t].*)?"
)
_LENGTH = 4
"""Bytes of the length before a text in a key (RFC 4253, section 6.6)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AllowedKey:
    """One line of the list.

    Attributes:
        principals: Whom the key speaks for.
        key: Its fingerprint, `SHA256:…`.
        namespaces: Patterns of what it may sign for; None for everything.
        public: The key itself, kind and base64, as a list of keys names it.
        after, before: From when to when it counts, both inclusive, in seconds since 1970; None for no limit.
    """

    principals: tuple[str, ...]
    key: str
    namespaces: tuple[str, ...] | None = None
    public: str = ""
    after: int | None = None
    before: int | None = None

    def may_sign(self, namespace: str) -> bool:
        """Whether it may sign for a namespace, as ssh-keygen matches lists of patterns."""
        if self.namespaces is None:
            return True
        fits = {one for one in self.namespaces if _like(one.removeprefix("!"), namespace)}
        return bool(fits) and not any(one.startswith("!") for one in fits)

    def counts_at(self, moment: int) -> bool:
        """Whether it counts at a time, given in seconds since 1970."""
        return (self.after is None or moment >= self.after) and (self.before is None or moment <= self.before)


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


def _like(pattern: str, text: str) -> bool:
    parts = (".*" if char == "*" else "." if char == "?" else re.escape(char) for char in pattern)
    return re.fullmatch("".join(parts), text, re.DOTALL) is not None


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
    options = _options(found["options"] or "")
    return options if isinstance(options, str) else _key(found, principals, options)


def _key(found: re.Match[str], principals: tuple[str, ...], options: Mapping[str, str]) -> AllowedKey | str:
    try:
        blob = base64.b64decode(found["key"], validate=True)
    except (binascii.Error, ValueError):
        return "the key is no base64"
    if not _has_type(blob, found["type"].encode()):
        return f"the key is not of the type {plain(found['type'], 60)!r}"
    names = options.get("namespaces")
    return AllowedKey(
        principals=principals,
        key=fingerprint(blob),
        namespaces=None if names is None else tuple(names.split(",")),
        public=f"{found['type']} {found['key']}",
        after=_seconds(options.get("valid-after")),
        before=_seconds(options.get("valid-before")),
    )


def _options(text: str) -> dict[str, str] | str:
    """Return the options of a line, or why they are refused."""
    found: dict[str, str] = {}
    for one in _SETTING.finditer(text):
        if one["name"] in found:
            return f"says {one['name']} twice"
        if one["name"] != "namespaces" and _seconds(one["value"]) is None:
            return f"{one['name']} is no time: {plain(one['value'], 60)!r}; write YYYYMMDD or YYYYMMDDHHMMSS"
        found[one["name"]] = one["value"]
    return found


def _seconds(text: str | None) -> int | None:
    """Return a time as ssh-keygen reads it, here always UTC; None for none."""
    found = None if text is None else _TIME.fullmatch(text)
    if found is None:
        return None
    try:
        moment = dt.datetime.strptime(f"{found['time']:0<14}Z", "%Y%m%d%H%M%S%z")
    except ValueError:
        return None
    return int(moment.timestamp())


def _has_type(blob: bytes, name: bytes) -> bool:
    length = int.from_bytes(blob[:_LENGTH], "big")
    return length == len(name) and blob[_LENGTH : _LENGTH + length] == name and b"-cert-" not in name
