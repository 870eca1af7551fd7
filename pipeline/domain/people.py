"""Who is who: the names under which one person builds, commits and signs, and how many people signed.

Rules: a name belongs to one person; names that share a key, and keys that share a name, are one person,
however many there are of either; a name that nobody has is unknown, and what asks about it does not guess.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from pipeline.domain.allowed_signers import AllowedSigners

_ADDRESSED = re.compile(r"(?P<name>[^<>]*?)\s*<(?P<address>[^<>]+)>")


@dataclass(frozen=True, slots=True, kw_only=True)
class People:
    """The people of a project.

    Attributes:
        names: Person to every name of theirs: principals, git names and addresses, CI users, `user@host`.
        outsiders: Names of builders and authors who are none of these people: CI jobs, bots, contributors;
            one
            that ends in `*` is everything that begins so.
    """

    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    outsiders: tuple[str, ...] = ()

    def persons(self, name: str) -> frozenset[str]:
        """Return whose name this is; `Name <address>` is everybody whose name or address it is."""
        forms = _forms(name)
        return frozenset(
            person for person, names in self.names.items() if forms & {one.casefold() for one in names}
        )

    def knows(self, name: str) -> bool:
        """Whether it is told whose name this is, or that it is nobody's."""
        return bool(self.persons(name)) or any(
            _fits(form, one.casefold()) for form in _forms(name) for one in self.outsiders
        )


class Same:
    """Joins names, keys and persons that belong together (a union of sets)."""

    def __init__(self, people: People, signers: AllowedSigners) -> None:
        self._above: dict[str, str] = {}
        for person, names in people.names.items():
            for name in names:
                self.join(f"person {person}", _principal(name))
        for one in signers.keys:
            for principal in one.principals:
                self.join(_principal(principal), f"key {one.key}")

    def join(self, one: str, other: str) -> None:
        """Say that two belong to one person."""
        self._above[self._top(one)] = self._top(other)

    def signer(self, identity: str, key: str) -> str:
        """Return what stands for the person who signs as `identity` with `key`."""
        self.join(_principal(identity), f"key {key}")
        return self._top(f"key {key}")

    def stands_for(self, person: str) -> str:
        """Return what stands for a person."""
        return self._top(f"person {person}")

    def count(self, signers: Iterable[tuple[str, str]]) -> int:
        """Return how many people these are, given as pairs of principal and key."""
        pairs = tuple(signers)
        for identity, key in pairs:
            self.signer(identity, key)
        return len({self._top(f"key {key}") for _, key in pairs})

    def _top(self, one: str) -> str:
        while (above := self._above.get(one, one)) != one:
            one = above
        return one


def _principal(name: str) -> str:
    return f"name {name.casefold()}"


def _forms(name: str) -> frozenset[str]:
    found = _ADDRESSED.fullmatch(name.strip())
    parts = (name, *found.groups()) if found else (name,)
    return frozenset(part.strip().casefold() for part in parts if part.strip())


def _fits(name: str, outsider: str) -> bool:
    return name.startswith(outsider[:-1]) if outsider.endswith("*") else name == outsider
