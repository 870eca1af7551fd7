"""The signature policy of containers/image (`policy.json`) as values: parsed as strictly as its consumers do.

Rules, from containers-policy.json(5): unknown, duplicate or missing fields make the whole file invalid; the
most specific scope that matches an image decides alone; all requirements in its list must hold at once.
Stricter here: a transport no program knows is refused, because it is a misspelled one.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

ACCEPT = "insecureAcceptAnything"
REJECT = "reject"
SIGSTORE = "sigstoreSigned"
SIMPLE = "signedBy"

TRANSPORTS = frozenset(
    {
        "atomic",
        "containers-storage",
        "dir",
        "docker",
        "docker-archive",
        "docker-daemon",
        "oci",
        "oci-archive",
        "ostree",
        "sif",
        "tarball",
    }
)
"""The transports of containers/image that a policy can name."""

_KEYS = ("keyPath", "keyPaths", "keyData", "keyDatas")
_TRUST = {SIMPLE: ("keyPath", "keyPaths", "keyData"), SIGSTORE: (*_KEYS, "fulcio", "pki")}
_REKOR = frozenset({"rekorPublicKeyPath", "rekorPublicKeyPaths", "rekorPublicKeyData", "rekorPublicKeyDatas"})
_FIELDS = {
    ACCEPT: frozenset({"type"}),
    REJECT: frozenset({"type"}),
    SIMPLE: frozenset({"type", "keyType", "signedIdentity", *_TRUST[SIMPLE]}),
    SIGSTORE: frozenset({"type", "signedIdentity", *_REKOR, *_TRUST[SIGSTORE]}),
}
_IDENTITIES = {
    "matchExact": frozenset[str](),
    "matchRepoDigestOrExact": frozenset[str](),
    "matchRepository": frozenset[str](),
    "exactReference": frozenset({"dockerReference"}),
    "exactRepository": frozenset({"dockerRepository"}),
    "remapIdentity": frozenset({"prefix", "signedPrefix"}),
}
_HOST_SCOPE = re.compile(
    r"(?:\*\.)?(?:\[[0-9a-fA-F:]+\]|[A-Za-z0-9][A-Za-z0-9.-]*)(?::[0-9]{1,5})?"
    r"(?:(?:/[A-Za-z0-9._-]+)+(?::\w[\w.-]{0,127})?(?:@[a-z0-9]+:[0-9a-f]+)?)?"
)
_PEM = re.compile(r"\s*-----BEGIN PUBLIC KEY-----([A-Za-z0-9+/=\s]+)-----END PUBLIC KEY-----\s*")
_DER_SEQUENCE = 0x30


class PolicyFault(ValueError):  # noqa: N818 - a fault of the file; the gate turns it into its answer
    """The file is no policy; the message says where and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """One requirement: its type, the keys it names, and which identity a signature must carry.

    `identity` is the type of `signedIdentity`, or "" where it is left to the default.
    """

    type: str
    key_paths: tuple[str, ...] = ()
    key_data: tuple[str, ...] = ()
    identity: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The default requirements, and those of each transport's scopes (`""` is its own default)."""

    default: tuple[Requirement, ...]
    transports: Mapping[str, Mapping[str, tuple[Requirement, ...]]] = field(default_factory=dict)


def parse_policy(data: bytes) -> Policy:
    """Parse a policy.json.

    Raises:
        PolicyFault: The bytes are no valid policy.
    """
    try:
        parsed = json.loads(data.decode(), object_pairs_hook=_no_duplicates, parse_constant=_no_constant)
    except PolicyFault:
        raise
    except (ValueError, RecursionError) as error:
        raise PolicyFault(f"no JSON: {error}") from error
    top = _object(parsed, "the file", allowed={"default", "transports"}, needed={"default"})
    scopes = _object(top.get("transports", {}), "transports")
    for name in scopes:
        if name not in TRANSPORTS:
            raise PolicyFault(
                f"transports: {name!r} is no transport; known are {', '.join(sorted(TRANSPORTS))}"
            )
    return Policy(
        default=_requirements(top["default"], "default"),
        transports={name: _scopes(value, name) for name, value in scopes.items()},
    )


def covering(scopes: Iterable[str], repository: str) -> str | None:
    """Return the most specific of the `docker` scopes that covers a repository (`host:port/path`), or None.

    The order is the consumers': the repository, its namespaces, its host with port, then `*.` and each
    parent domain without the port, then "".
    """
    known = set(scopes)
    return next(
        (scope for scope in (*_prefixes(repository), *_wildcards(repository), "") if scope in known), None
    )


def prefix_covering(scopes: Iterable[str], repository: str) -> str | None:
    """Return the most specific plain prefix that covers a repository (registries.d knows no wildcards)."""
    known = set(scopes)
    return next((scope for scope in _prefixes(repository) if scope in known), None)


def below(scope: str, repository: str) -> bool:
    """Return whether a scope names the repository itself, a part of it, or one of its tags or digests."""
    return scope == repository or scope.startswith((f"{repository}/", f"{repository}:", f"{repository}@"))


def is_public_key(data: bytes) -> bool:
    """Return whether the bytes are one PEM public key (SubjectPublicKeyInfo), as cosign writes it."""
    found = _PEM.fullmatch(data.decode("ascii", "replace"))
    der = _base64("".join(found[1].split())) if found is not None else None
    return der is not None and len(der) > 1 and der[0] == _DER_SEQUENCE


def decode_key(data: str) -> bytes:
    """Return the bytes of a `keyData` value; empty when it is no base64."""
    return _base64(data) or b""


def _base64(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None


def _prefixes(repository: str) -> list[str]:
    parts = repository.split("/")
    return ["/".join(parts[:count]) for count in range(len(parts), 0, -1)]


def _wildcards(repository: str) -> list[str]:
    labels = repository.partition("/")[0].partition(":")[0].split(".")
    return [f"*.{'.'.join(labels[at:])}" for at in range(1, len(labels))]


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for key, value in pairs:
        if key in made:
            raise PolicyFault(f"the key {key!r} is given twice")
        made[key] = value
    return made


def _no_constant(name: str) -> Any:
    raise PolicyFault(f"{name} is no JSON")


def _object(
    value: Any, where: str, *, allowed: Iterable[str] | None = None, needed: Iterable[str] = ()
) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise PolicyFault(f"{where}: must be an object")
    unknown = sorted(set(value) - set(allowed)) if allowed is not None else []
    if unknown:
        raise PolicyFault(f"{where}: unknown key {unknown[0]!r}")
    missing = sorted(set(needed) - set(value))
    if missing:
        raise PolicyFault(f"{where}: {missing[0]!r} is missing")
    return value


def _scopes(value: Any, transport: str) -> dict[str, tuple[Requirement, ...]]:
    found = {}
    for scope, requirements in _object(value, f"transports.{transport}").items():
        where = f"transports.{transport}[{scope!r}]"
        if not _is_scope(transport, scope):
            raise PolicyFault(f"{where}: no scope of this transport")
        found[scope] = _requirements(requirements, where)
    return found


def _is_scope(transport: str, scope: str) -> bool:
    if scope == "" or transport in ("containers-storage", "docker-daemon", "ostree"):
        return True
    if transport in ("docker", "atomic"):
        return _HOST_SCOPE.fullmatch(scope) is not None
    if transport in ("docker-archive", "tarball"):
        return False
    parts = scope.split("/")
    return scope.startswith("/") and scope != "/" and not {"", ".", ".."} & set(parts[1:])


def _requirements(value: Any, where: str) -> tuple[Requirement, ...]:
    if not isinstance(value, list) or not value:
        raise PolicyFault(f"{where}: must be a list of at least one requirement")
    return tuple(_requirement(item, f"{where}[{at}]") for at, item in enumerate(value))


def _requirement(value: Any, where: str) -> Requirement:
    kind = _object(value, where, needed={"type"})["type"]
    if not isinstance(kind, str) or kind not in _FIELDS:
        raise PolicyFault(f"{where}: {kind!r} is no requirement; known are {', '.join(sorted(_FIELDS))}")
    _object(value, where, allowed=_FIELDS[kind])
    if kind not in _TRUST:
        return Requirement(type=kind)
    given = [name for name in _TRUST[kind] if name in value]
    if len(given) != 1:
        raise PolicyFault(
            f"{where}: exactly one of {', '.join(_TRUST[kind])} must be given, not {len(given)}"
        )
    if kind == SIMPLE and value.get("keyType") != "GPGKeys":
        raise PolicyFault(f"{where}: keyType must be GPGKeys")
    if given[0] in ("fulcio", "pki"):
        _object(value[given[0]], f"{where}.{given[0]}")
    return Requirement(
        type=kind,
        key_paths=_texts(value, "keyPath", "keyPaths", where),
        key_data=_texts(value, "keyData", "keyDatas", where),
        identity=_identity(value, where),
    )


def _texts(value: dict[str, Any], one: str, many: str, where: str) -> tuple[str, ...]:
    items = value.get(many, [value[one]] if one in value else [])
    if not isinstance(items, list) or not all(isinstance(item, str) and item for item in items):
        raise PolicyFault(f"{where}: {many if many in value else one} must be text that is not empty")
    if many in value and not items:
        raise PolicyFault(f"{where}: {many} is empty")
    return tuple(items)


def _identity(value: dict[str, Any], where: str) -> str:
    if "signedIdentity" not in value:
        return ""
    where = f"{where}.signedIdentity"
    identity = _object(value["signedIdentity"], where, needed={"type"})
    kind = identity["type"]
    if not isinstance(kind, str) or kind not in _IDENTITIES:
        raise PolicyFault(f"{where}: {kind!r} is no identity; known are {', '.join(sorted(_IDENTITIES))}")
    _object(identity, where, allowed={"type", *_IDENTITIES[kind]}, needed=_IDENTITIES[kind])
    if not all(isinstance(item, str) for item in identity.values()):
        raise PolicyFault(f"{where}: all values must be text")
    return kind
