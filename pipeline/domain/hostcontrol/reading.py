"""Typed access to JSON that a host sent: a value of the wrong type is refused with its place.

Rules: a key that is absent and one that is null differ, since the first means unknown; nothing is guessed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.domain.hostcontrol.state import System, not_understood


class Table:
    """One JSON object from a host.

    Args:
        system: Who said it, for messages.
        value: The parsed value.
        place: Where it stands.
    """

    def __init__(self, system: System, value: Any, place: str) -> None:
        if not isinstance(value, Mapping):
            not_understood(system, f"{place} is no object")
        self._system, self._value, self._place = system, value, place

    @classmethod
    def parse(cls, system: System, text: str) -> Table:
        """Return the object a text holds.

        Raises:
            HostError: It is no JSON object.
        """
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            not_understood(system, "its status is no JSON: " + text[:80])
        return cls(system, value, "the status")

    def has(self, key: str) -> bool:
        """Tell whether the key is there, null or not."""
        return key in self._value

    def filled(self, key: str) -> bool:
        """Tell whether something other than null, false and emptiness is there."""
        return bool(self._value.get(key))

    def table(self, key: str) -> Table | None:
        """Return the object at a key; None when it is null or absent."""
        value = self._value.get(key)
        return None if value is None else Table(self._system, value, f"{self._place}.{key}")

    def tables(self, key: str) -> Iterator[Table]:
        """Yield the objects of the list at a key; none when it is null or absent."""
        value = self._value.get(key) or []
        if not isinstance(value, list):
            not_understood(self._system, f"{self._place}.{key} is no list")
        for number, one in enumerate(value):
            yield Table(self._system, one, f"{self._place}.{key}[{number}]")

    def text(self, key: str) -> str | None:
        """Return the text at a key; None when it is null or absent."""
        value = self._value.get(key)
        if value is not None and not isinstance(value, str):
            not_understood(self._system, f"{self._place}.{key} is no text")
        return value

    def flag(self, key: str) -> bool | None:
        """Return the truth value at a key; None when it is null or absent."""
        value = self._value.get(key)
        if value is not None and not isinstance(value, bool):
            not_understood(self._system, f"{self._place}.{key} is neither true nor false")
        return value
