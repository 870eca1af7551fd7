"""Writes plain values as YAML that every parser reads alike: block style, every text in JSON's quotes.

Rules: same value, same bytes; keys keep their order; no anchors, no tags, no bare text that some parser
takes for a number, a date or a truth value. A text in JSON quotes is a YAML double-quoted scalar,
but for characters beyond ASCII.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence

Value = str | int | bool | Sequence["Value"] | Mapping[str, "Value"]

_BARE = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_UNLIKE = re.compile(r"[^ -~]")
"""What is written by number: JSON's surrogate pairs are two characters to YAML, and DEL is none."""

_TAKEN = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})
"""Bare words that YAML 1.1 parsers turn into something else."""


def emit(value: Mapping[str, Value]) -> str:
    """Return a mapping as a YAML document; empty lists and mappings are written `[]` and `{}`."""
    return "".join(f"{line}\n" for line in _mapping(value))


def _mapping(value: Mapping[str, Value]) -> Iterator[str]:
    for key, inner in value.items():
        yield from _entry(f"{_key(key)}:", inner)


def _entry(head: str, value: Value) -> Iterator[str]:
    if isinstance(value, str | int) or not value:
        yield f"{head} {_scalar(value)}"
        return
    yield head
    for line in _mapping(value) if isinstance(value, Mapping) else _sequence(value):
        yield f"  {line}"


def _sequence(value: Sequence[Value]) -> Iterator[str]:
    for item in value:
        if isinstance(item, str | int) or not item:
            yield f"- {_scalar(item)}"
            continue
        lines = _mapping(item) if isinstance(item, Mapping) else _sequence(item)
        for number, line in enumerate(lines):
            yield f"  {line}" if number else f"- {line}"


def _scalar(value: Value) -> str:
    return _quoted(value) if isinstance(value, str) else json.dumps(value)


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) and key.lower() not in _TAKEN else _quoted(key)


def _quoted(text: str) -> str:
    """Return a double-quoted scalar: JSON's, but for what YAML reads otherwise or not at all."""
    return _UNLIKE.sub(lambda found: f"\\U{ord(found[0]):08x}", json.dumps(text, ensure_ascii=False))
