r"""Canonical JSON: one value, one sequence of bytes, so that a hash of it names the value.

Rules: keys sorted by code point, no spaces, UTF-8 as it is (no `\u` escapes but those JSON demands), whole
numbers only and only those every reader keeps exactly, one newline at the end. Reading is as strict: bytes
that are not what writing would give are refused. (RFC 8785 differs: it sorts by UTF-16 and rounds numbers.)
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn, TypeAlias

from pipeline.domain.image import Digest

Json: TypeAlias = "bool | int | str | Sequence[Json] | Mapping[str, Json] | None"
"""What can be written: no floats, no bytes, keys are text."""

LARGEST = 2**53 - 1
"""Greatest whole number, either sign, that readers with 64-bit floats keep exactly (RFC 8259, section 6)."""

_AS_THEY_ARE = frozenset({str, bool, type(None)})


def canonical_json(value: Json) -> bytes:
    """Return the one byte form of a value.

    Raises:
        TypeError: It holds a float or another thing JSON or this form does not have.
        ValueError: A number is too large, a text is no valid Unicode, or the value holds itself.
    """
    try:
        text = json.dumps(_plain(value), ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        return text.encode() + b"\n"
    except UnicodeEncodeError as error:
        raise ValueError("a text holds a lone surrogate, which UTF-8 cannot write") from error
    except RecursionError as error:
        raise ValueError("the value is nested too deeply") from error


def canonical_digest(value: Json) -> Digest:
    """Return the sha256 of the value's canonical bytes (raises as `canonical_json` does)."""
    return Digest(f"sha256:{hashlib.sha256(canonical_json(value)).hexdigest()}")


def parse_canonical(data: bytes) -> Any:
    """Return the value whose canonical bytes these are.

    Raises:
        ValueError: They are no JSON, or not the one form of what they say (a key twice, spaces, a float).
    """
    try:
        value = json.loads(data.decode(), parse_float=_refuse, parse_constant=_refuse)
    except RecursionError as error:
        raise ValueError("the value is nested too deeply") from error
    if canonical_json(value) != data:
        raise ValueError("the bytes are not in canonical form")
    return value


def no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object of a JSON document, for `json.loads` as its `object_pairs_hook`.

    Raises:
        ValueError: A key stands twice, which readers understand in different ways.
    """
    value = dict(pairs)
    if len(value) != len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"the key {twice[:80]!r} stands twice")
    return value


def _plain(value: Json) -> Json:
    kind = type(value)
    if kind in _AS_THEY_ARE:
        return value
    if isinstance(value, dict):
        return {_key(key): item if type(item) is str else _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [item if type(item) is str else _plain(item) for item in value]
    if isinstance(value, int):
        if abs(value) > LARGEST:
            raise ValueError(f"{value} is too large a number")
        return value
    if isinstance(value, Mapping):
        return _plain(dict(value))
    if isinstance(value, str):
        return value
    raise TypeError(f"{kind.__name__} has no canonical form")


def _key(key: object) -> str:
    if not isinstance(key, str):
        raise TypeError(f"a key is text, not {type(key).__name__}")
    return key


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"{text} is no whole number")
