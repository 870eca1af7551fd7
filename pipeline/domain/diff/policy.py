"""What two signature policies allow: the defaults, each scope, and where the new one trusts more.

Rules: a requirement is told in words with the keys it names, and a key's own bytes count, since a key swapped
under the same path changes who is trusted; a scope is weaker when it lets through what needed a signature, or
what was refused; a file that is no policy is told as such.
Source: containers-policy.json(5).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.domain.diff.change import Change, compare
from pipeline.domain.diff.pair import Pair, Side
from pipeline.domain.policy import ACCEPT, REJECT, Policy, PolicyFault, Requirement, covering, parse_policy

PATHS = ("/etc/containers/policy.json", "/usr/etc/containers/policy.json")
_KEY_FOLDERS = ("/etc/pki", "/usr/etc/pki", "/usr/share/pki", "/usr/lib/pki", "/etc/containers")
_LARGEST = 1 << 20
_DEFAULT = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What is asked of images in a scope: in words, and how strict (0 accepts all, 1 signed, 2 refuses)."""

    requires: tuple[str, ...]
    strictness: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyChange:
    """What changed in a policy.

    Attributes:
        scopes: `default` or `transport:scope`, by name.
        weaker: Names of those that let through more than before.
        faults: What is wrong with a side's file, `old: …` or `new: …`.
    """

    scopes: tuple[Change[Scope], ...] = ()
    weaker: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()


def policy_change(pair: Pair) -> PolicyChange:
    """Return what changed; empty when neither the policies nor any key's folder did."""
    if not any(pair.has(path) for path in PATHS) and not pair.any_below(*_KEY_FOLDERS):
        return PolicyChange()
    faults: list[str] = []
    old, new = _policy(pair.old, "old", faults), _policy(pair.new, "new", faults)
    changes = compare(_scopes(old, pair.old), _scopes(new, pair.new))
    weaker = (change.name for change in changes if old and _weaker(change, old, new))
    return PolicyChange(scopes=changes, weaker=tuple(weaker), faults=tuple(faults))


def _policy(side: Side, name: str, faults: list[str]) -> Policy | None:
    path = next((path for path in PATHS if side.facts(path) is not None), None)
    data = None if path is None else side.read(path, limit=_LARGEST)
    if path is None or data is None:
        return None
    try:
        return parse_policy(data)
    except PolicyFault as error:
        faults.append(f"{name}: {path} is no policy: {error}")
        return None


def _scopes(policy: Policy | None, side: Side) -> Mapping[str, Scope]:
    if policy is None:
        return {}
    found = {_DEFAULT: _scope(policy.default, side)}
    for transport, scopes in policy.transports.items():
        for scope, requirements in scopes.items():
            found[f"{transport}:{scope}"] = _scope(requirements, side)
    return found


def _scope(requirements: tuple[Requirement, ...], side: Side) -> Scope:
    words = tuple(_words(one, side) for one in requirements)
    return Scope(requires=words, strictness=_strictness(requirements))


def _words(one: Requirement, side: Side) -> str:
    keys = [f"key {path} ({_key(side, path)})" for path in one.key_paths]
    keys += [f"key in the policy ({_short(data.encode())})" for data in one.key_data]
    identity = [f"identity {one.identity}"] if one.identity else []
    return ", ".join([one.type, *keys, *identity])


def _key(side: Side, path: str) -> str:
    facts = side.facts(path)
    if facts is not None and facts.sha256:
        return facts.sha256[:12]
    data = side.read(path, limit=_LARGEST) if facts is not None else None  # a link to it
    return "missing" if data is None else _short(data)


def _short(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:12]


def _strictness(requirements: tuple[Requirement, ...]) -> int:
    """All requirements must hold: one that rejects decides, and accepting ones add nothing."""
    kinds = {one.type for one in requirements}
    if REJECT in kinds:
        return 2
    return 0 if kinds == {ACCEPT} else 1


def _weaker(change: Change[Scope], old: Policy, new: Policy | None) -> bool:
    if new is None:
        return True  # no policy at all: every consumer falls back to its own default, or fails
    before = change.old.strictness if change.old else _strictness(_covering(old, change.name))
    after = change.new.strictness if change.new else _strictness(_covering(new, change.name))
    return after < before


def _covering(policy: Policy, name: str) -> tuple[Requirement, ...]:
    """Return what a policy without this very scope asks of it."""
    transport, _, scope = name.partition(":")
    scopes = policy.transports.get(transport, {})
    found = covering((one for one in scopes if one != scope), scope)
    return policy.default if found is None else scopes[found]
