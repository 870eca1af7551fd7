"""Reads documents of evidence field by field, so that a wrong one is told and never half understood.

Rules: a field that must be there and is not, or has another type, is an error that names it; where a document
may leave a field out, the reader says so by giving what counts then.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any, TypeVar

Wanted = TypeVar("Wanted")


class NotUnderstoodError(ValueError):
    """A document that is not in the form this program knows."""


class Fields:
    """One JSON object and where it stands.

    Args:
        value: The parsed JSON.
        where: Its place in the document, for errors.

    Raises:
        NotUnderstoodError: It is no object.
    """

    def __init__(self, value: object, where: str) -> None:
        if not isinstance(value, Mapping):
            raise NotUnderstoodError(f"{where} is no object")
        self._value: Mapping[str, Any] = value
        self.where = where

    def __contains__(self, key: str) -> bool:
        return self._value.get(key) is not None

    def text(self, key: str, default: str | None = None) -> str:
        """Return a text."""
        return self._one(key, str, default)

    def whole(self, key: str) -> int:
        """Return a whole number."""
        return self._one(key, int)

    def flag(self, key: str) -> bool:
        """Return true or false."""
        return self._one(key, bool)

    def object(self, key: str) -> Fields:
        """Return an object below."""
        return Fields(self._value.get(key), f"{self.where}.{key}")

    def objects(self, key: str) -> tuple[Fields, ...]:
        """Return a list of objects; nothing for a key that is not there."""
        return tuple(Fields(one, f"{self.where}.{key}[{index}]") for index, one in enumerate(self._list(key)))

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a list of texts; nothing for a key that is not there."""
        found = self._list(key)
        if not all(isinstance(one, str) for one in found):
            raise NotUnderstoodError(f"{self.where}.{key} holds something that is no text")
        return tuple(found)

    def pairs(self, key: str) -> tuple[tuple[str, str], ...]:
        """Return an object of texts as pairs; nothing for a key that is not there."""
        if key not in self:
            return ()
        found = self.object(key)
        return tuple((name, found.text(name)) for name in found.keys())  # noqa: SIM118 - no mapping

    def moment(self, key: str) -> dt.datetime:
        """Return a time with its zone."""
        try:
            found = dt.datetime.fromisoformat(self.text(key))
        except ValueError as error:
            raise NotUnderstoodError(f"{self.where}.{key} is no time") from error
        return found

    def keys(self) -> tuple[str, ...]:
        """Return the names of its fields."""
        return tuple(self._value)

    def raw(self, key: str) -> Any:
        """Return a field as it is; None where there is none."""
        return self._value.get(key)

    def _list(self, key: str) -> list[Any]:
        found = self._value.get(key)
        if found is None:
            return []
        if not isinstance(found, list | tuple):
            raise NotUnderstoodError(f"{self.where}.{key} is no list")
        return list(found)

    def _one(self, key: str, kind: type[Wanted], default: Wanted | None = None) -> Wanted:
        found = self._value.get(key)
        if found is None and default is not None:
            return default
        if not isinstance(found, kind) or (kind is int and isinstance(found, bool)):
            raise NotUnderstoodError(f"{self.where}.{key} is no {_NAMES[kind]}")
        return found


_NAMES: dict[type, str] = {str: "text", int: "whole number", bool: "true or false"}
