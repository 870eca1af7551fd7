"""Whether an image that is out there will take the next one: does its policy trust the key that is to sign?

Rules: a new key is trusted one release before it signs, so the question is asked of the release before, of
its own `policy.json` and its own key files. This is the early, cheap answer, with the reason; the proof is
that image's skopeo pulling the new one.
"""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.domain.image import Repository
from pipeline.domain.policy import SIGSTORE, PolicyFault, Requirement, covering, decode_key, parse_policy
from pipeline.domain.signature import VerifyKey
from pipeline.errors import SignatureError

_ONLY_REPOSITORY = frozenset({"matchRepository", "exactRepository", "remapIdentity"})
"""The identities that a signature without a tag can satisfy."""


def why_not_trusted(policy: bytes, keys: Mapping[str, bytes], key: VerifyKey, repository: Repository) -> str:
    """Return why a policy refuses what a key signs; "" when it lets it through because of that key.

    Args:
        policy: The release's `/etc/containers/policy.json`.
        keys: Path in that release, as the policy names it, to the file's bytes.
        key: The key that is to sign the next release.
        repository: Where the next release will be.
    """
    try:
        parsed = parse_policy(policy)
    except PolicyFault as fault:
        return f"its policy.json cannot be parsed: {fault}"
    scopes = parsed.transports.get("docker", {})
    scope = covering(scopes, str(repository))
    requirements = parsed.default if scope is None else scopes[scope]
    where = "its default" if scope is None else f'its docker scope "{scope}"'
    signed = [one for one in requirements if one.type == SIGSTORE]
    if not signed or len(signed) != len(requirements):
        kinds = ", ".join(one.type for one in requirements)
        return f"{where} asks for {kinds}, not for a signature by a release key alone"
    faults = (_fault(one, keys, key, where) for one in signed)
    return next(filter(None, faults), "")


def _fault(requirement: Requirement, keys: Mapping[str, bytes], key: VerifyKey, where: str) -> str:
    if requirement.identity not in _ONLY_REPOSITORY:
        return f"{where} compares tags, which no such signature names (signedIdentity)"
    held = [(path, keys.get(path)) for path in requirement.key_paths]
    held += [("keyData", decode_key(text)) for text in requirement.key_data]
    trusted = {path: _fingerprint(path, data) for path, data in held}
    if key.fingerprint in trusted.values():
        return ""
    return f"{where} trusts {', '.join(f'{path} ({found})' for path, found in trusted.items()) or 'no key'}"


def _fingerprint(path: str, data: bytes | None) -> str:
    if data is None:
        return "not in the image"
    try:
        return VerifyKey.parse(path, data.decode("ascii", "replace")).fingerprint
    except SignatureError:
        return "no public key"
