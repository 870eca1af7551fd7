"""The containers policy of an image: who may be pulled from, proved by which keys.

Rules: everything is rejected that no scope names; the project's own registry is trusted by key only; what is
allowed without a signature is named as narrowly as the settings give it, never as a whole transport.
Source: containers-policy.json(5) and containers-registries.d(5).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

POLICY = "/etc/containers/policy.json"
KEYS = "/etc/pki/containers"
REGISTRIES_D = "/etc/containers/registries.d"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """Whom an image trusts.

    Attributes:
        registry: `host[:port][/prefix]` of the project's own images.
        keys: File name to PEM public key; any of them may have signed (so that keys can be rotated).
        allow: Scopes (`registry[/path]`) that may be pulled from without a signature.
        signed: Further scopes that are signed by others: scope to file name and PEM public key.
    """

    registry: str
    keys: Mapping[str, str]
    allow: Sequence[str] = ()
    signed: Mapping[str, tuple[str, str]] = field(default_factory=dict)


def trust_files(trust: Trust) -> Mapping[str, bytes]:
    """Return the files of the policy: absolute path in the image to content; all are mode 0644, root's."""
    texts = {**dict(trust.signed.values()), **trust.keys}
    keys = {f"{KEYS}/{name}": text.encode() for name, text in sorted(texts.items())}
    attachments = "docker:\n" + "".join(
        f"  {json.dumps(scope)}:\n    use-sigstore-attachments: true\n"
        for scope in [trust.registry, *sorted(trust.signed)]
    )
    return {
        POLICY: json.dumps(policy(trust), indent=2).encode() + b"\n",
        f"{REGISTRIES_D}/pipeline.yaml": attachments.encode(),
        **keys,
    }


def policy(trust: Trust) -> dict[str, object]:
    """Return policy.json's content."""
    scopes: dict[str, object] = {scope: [{"type": "insecureAcceptAnything"}] for scope in sorted(trust.allow)}
    for scope, (name, _) in sorted(trust.signed.items()):
        scopes[scope] = [_signed([name])]
    scopes[trust.registry] = [_signed(sorted(trust.keys))]
    return {"default": [{"type": "reject"}], "transports": {"docker": scopes}}


def _signed(names: Sequence[str]) -> dict[str, object]:
    """Return the requirement of a signature by one of the keys."""
    signed: dict[str, object] = {
        "type": "sigstoreSigned",
        "signedIdentity": {"type": "matchRepository"},
    }
    paths = [f"{KEYS}/{name}" for name in names]
    # keyPaths came with containers/image 5.33; a single key stays readable for hosts that are older.
    if len(paths) == 1:
        signed["keyPath"] = paths[0]
    else:
        signed["keyPaths"] = paths
    return signed
