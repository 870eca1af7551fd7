"""The gate on signature policy: the image accepts what its owner signed, and can still pull its successor.

What counts as a real default deny:

1. `default` is one `reject` and nothing else.
2. No `docker` or `atomic` scope `""` accepts anything: with it, every registry is open and the `reject` above
   is decoration. A wildcard (`*.example.com`) is wider than one host and may not accept anything either.
3. The other transports carry images past the registries this policy knows (an archive from anywhere, the
   store of a Docker daemon that checks nothing), so their scope `""` may not accept anything; a folder may be
   named instead. The exception is `containers-storage`: what lies in this host's own store came in through
   the policy, and `bootc install` reads from there.
4. The project's own repository asks for a `sigstoreSigned` key that the image has, with an identity that
   cosign's signatures can satisfy, and registries.d tells the puller to look for the signature at all.

Which file: containers/image reads `$HOME/.config/containers/policy.json` where it exists, otherwise
`/etc/containers/policy.json`. A file below /usr/share is not read; one in root's home would replace ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from pipeline.domain.gate import Finding, Gate, Subject, Verdict
from pipeline.domain.gates.common import answer, etc, read
from pipeline.domain.image import Tier
from pipeline.domain.policy import (
    ACCEPT,
    REJECT,
    SIGSTORE,
    Policy,
    PolicyFault,
    Requirement,
    below,
    covering,
    decode_key,
    is_public_key,
    parse_policy,
    prefix_covering,
)
from pipeline.domain.tree import Tree

_PATH = "/etc/containers/policy.json"
_SHIPPED = "/usr/share/containers/policy.json"
_OVERRIDES = ("/root/.config/containers/policy.json", "/var/roothome/.config/containers/policy.json")
_REGISTRIES = ("/etc/containers/registries.d", "/usr/etc/containers/registries.d")
_LARGEST = 1 << 20
_LARGEST_KEY = 64 << 10
_REMOTE = ("docker", "atomic")
_ONLY_REPOSITORY = ("matchRepository", "exactRepository")
"""The identities a cosign signature can satisfy: it names a repository and no tag."""


def _policy(subject: Subject) -> Finding:
    tree = subject.tree
    path = etc(tree, _PATH)
    if tree.entry(path) is None:
        return _absent(subject)
    data = read(tree, path, limit=_LARGEST)
    if data is None:
        return Finding(verdict=Verdict.FAIL, summary=f"{path} is no file of at most {_LARGEST >> 20} MiB")
    try:
        policy = parse_policy(data)
    except PolicyFault as fault:
        return Finding(
            verdict=Verdict.FAIL,
            summary=f"{path} is no valid policy, so that nothing at all can be pulled",
            details=(str(fault),),
        )
    own = subject.expected.registry
    found = [*_overridden(tree), *_open_doors(policy), *(_own(policy, tree, own) if own else ())]
    return answer(
        found,
        clean=f"{path} denies by default" + (f" and trusts {own} by key" if own else ""),
        bad=f"{path} accepts too much, or not the image's successor",
        notes=_missing_keys(policy, tree),
    )


def _absent(subject: Subject) -> Finding:
    unread = subject.tree.entry(_SHIPPED) is not None
    note = (f"{_SHIPPED} is there, but nothing reads it",) if unread else ()
    if subject.expected.policy_required:
        return Finding(verdict=Verdict.FAIL, summary=f"the image has no {_PATH}", details=note)
    return Finding(
        verdict=Verdict.PASS, summary="the image has no policy, and none is asked for", details=note
    )


def _overridden(tree: Tree) -> Iterator[str]:
    for path in dict.fromkeys(_OVERRIDES):
        if tree.entry(path) is not None:
            yield f"{path}: replaces {_PATH} for everything root pulls"
            return  # /root is commonly a link to the other one


def _open_doors(policy: Policy) -> Iterator[str]:
    if [requirement.type for requirement in policy.default] != [REJECT]:
        yield 'default: must be [{"type": "reject"}] and nothing else'
    for transport, scopes in policy.transports.items():
        for scope, requirements in scopes.items():
            if not _accepts_anything(requirements):
                continue
            if scope == "" and transport in _REMOTE:
                yield f'{transport} scope "": accepts every image of every registry, a fake default deny'
            elif scope == "" and transport != "containers-storage":
                yield f'{transport} scope "": accepts images from anywhere; name a folder, or remove it'
            elif scope.startswith("*.") and transport in _REMOTE:
                yield f"{transport} scope {scope}: accepts anything from more than one host; name the hosts"


def _accepts_anything(requirements: tuple[Requirement, ...]) -> bool:
    return all(requirement.type == ACCEPT for requirement in requirements)


def _own(policy: Policy, tree: Tree, own: str) -> Iterator[str]:
    scopes = policy.transports.get("docker", {})
    scope = covering(scopes, own)
    if scope is None:
        yield f"docker: no scope covers {own}, so that the next release of this image would be rejected"
    for name in dict.fromkeys(
        [*([scope] if scope is not None else []), *(it for it in scopes if below(it, own))]
    ):
        yield from _own_scope(f'docker scope "{name}"', scopes[name], tree)
    yield from _attachments(tree, own)


def _own_scope(where: str, requirements: tuple[Requirement, ...], tree: Tree) -> Iterator[str]:
    if any(requirement.type == REJECT for requirement in requirements):
        yield f"{where}: rejects the image's own releases"
        return
    signed = [requirement for requirement in requirements if requirement.type == SIGSTORE]
    if not any(requirement.key_paths or requirement.key_data for requirement in signed):
        yield f"{where}: must ask for sigstoreSigned with a key (keyPath, keyPaths or keyData)"
    for requirement in signed:
        yield from (f"{where}: {fault}" for fault in _key_faults(requirement, tree))
        if requirement.identity not in _ONLY_REPOSITORY:
            yield (
                f"{where}: signedIdentity {requirement.identity or 'left to its default'} refuses cosign's "
                "signatures, which name no tag; write matchRepository or exactRepository"
            )


def _key_faults(requirement: Requirement, tree: Tree) -> Iterator[str]:
    for path in requirement.key_paths:
        data = read(tree, etc(tree, path), limit=_LARGEST_KEY) if path.startswith("/") else None
        if data is None:
            yield f"the key {path} is not in the image"
        elif not is_public_key(data):
            yield f"the key {path} is no PEM public key"
    for encoded in requirement.key_data:
        if not is_public_key(decode_key(encoded)):
            yield "keyData is no base64 of a PEM public key"


def _missing_keys(policy: Policy, tree: Tree) -> list[str]:
    """Say which keys of any scope are missing: it rejects everything, which is safe but rarely meant."""
    lists = [policy.default, *(it for scopes in policy.transports.values() for it in scopes.values())]
    paths = {path for requirements in lists for requirement in requirements for path in requirement.key_paths}
    return [
        f"the key {path} is named and missing; its scope rejects everything"
        for path in sorted(paths)
        if tree.entry(etc(tree, path)) is None
    ]


def _attachments(tree: Tree, own: str) -> Iterator[str]:
    """Check that every section of registries.d that decides on the own repository reads signatures."""
    sections: dict[str, Any] = {}
    folder = next((path for path in _REGISTRIES if tree.list(path)), _REGISTRIES[0])
    for name in tree.list(folder):
        if not name.endswith(".yaml"):
            continue
        parsed = _yaml(read(tree, f"{folder}/{name}", limit=_LARGEST))
        if parsed is None:
            yield f"{folder}/{name}: no YAML mapping, so that nothing at all can be pulled"
            continue
        for scope, section in _sections(parsed):
            if scope in sections:
                yield f"{folder}/{name}: {scope} has a section already, so that nothing at all can be pulled"
            sections[scope] = section
    decisive = prefix_covering(sections, own) or "default-docker"
    for scope in dict.fromkeys([decisive, *(it for it in sections if below(it, own))]):
        section = sections.get(scope)
        if not isinstance(section, Mapping) or section.get("use-sigstore-attachments") is not True:
            where = (
                f"the section {scope}"
                if scope in sections
                else f"no section covers {own}, and default-docker"
            )
            yield f"{folder}: {where} does not set use-sigstore-attachments: true; no signature is found"


def _sections(parsed: Mapping[Any, Any]) -> Iterator[tuple[str, Any]]:
    docker = parsed.get("docker")
    if isinstance(docker, Mapping):
        yield from ((str(scope), section) for scope, section in docker.items())
    if "default-docker" in parsed:
        yield "default-docker", parsed["default-docker"]


def _yaml(data: bytes | None) -> Mapping[Any, Any] | None:
    try:
        parsed = yaml.safe_load((data if data is not None else b"[]").decode())
    except (yaml.YAMLError, ValueError, RecursionError, TypeError):
        return None
    if parsed is None:  # only comments
        return {}
    return parsed if isinstance(parsed, Mapping) else None


GATES: tuple[Gate, ...] = (
    Gate(
        name="policy",
        asks="Does policy.json parse, really deny by default, and trust the key of this image's successor?",
        tiers=frozenset({Tier.BASE, Tier.INSTANCE}),
        rule=_policy,
    ),
)
