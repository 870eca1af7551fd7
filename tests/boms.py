"""A small CycloneDX document that every yardstick finds full, to take things away from."""

from __future__ import annotations

from typing import Any

PARTY = {"name": "Makers", "url": ["https://example.org"], "contact": [{"email": "makers@example.org"}]}
LICENCES = [{"license": {"id": "MIT", "acknowledgement": how}} for how in ("declared", "concluded")]
SHA512 = {"alg": "SHA-512", "content": "ab" * 64}
FLAGS = {
    "filename": "thing.tar",
    "executable": "non-executable",
    "archive": "archive",
    "structured": "structured",
    "effectiveLicense": "MIT",
}


def component(name: str, kind: str = "library") -> dict[str, Any]:
    """Return a component that lacks nothing; its bom-ref is its name."""
    return {
        "bom-ref": name,
        "type": kind,
        "name": name,
        "version": "1.0",
        "purl": f"pkg:deb/debian/{name}@1.0",
        "cpe": f"cpe:2.3:a:{name}:{name}:1.0:*:*:*:*:*:*:*",
        "hashes": [{"alg": "SHA-256", "content": "cd" * 32}, SHA512],
        "supplier": PARTY,
        "manufacturer": PARTY,
        "licenses": list(LICENCES),
        "externalReferences": [
            {"type": "distribution", "url": "https://example.org/thing.tar", "hashes": [SHA512]},
            {"type": "source-distribution", "url": "https://example.org/src.tar", "hashes": [SHA512]},
            {"type": "vcs", "url": "https://example.org/thing.git"},
            {"type": "rfc-9116", "url": "https://example.org/.well-known/security.txt"},
        ],
        "properties": [{"name": f"bsi:component:{key}", "value": value} for key, value in FLAGS.items()],
    }


def bom() -> dict[str, Any]:
    """Return a document of an image with two packages, one of which depends on the other."""
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": "urn:uuid:3e671687-395b-41f5-a30f-a58921a69b79",
        "version": 1,
        "metadata": {
            "timestamp": "2026-01-02T03:04:05Z",
            "lifecycles": [{"phase": "build"}],
            "tools": {"components": [{"type": "application", "name": "pipeline", "version": "1.0"}]},
            "authors": [{"name": "Makers"}],
            "component": component("image", "container"),
            "manufacturer": PARTY,
            "supplier": PARTY,
            "licenses": [{"license": {"id": "CC0-1.0"}}],
        },
        "components": [component("apt"), component("libc6")],
        "dependencies": [
            {"ref": "image", "dependsOn": ["apt", "libc6"]},
            {"ref": "apt", "dependsOn": ["libc6"]},
            {"ref": "libc6"},
        ],
        "compositions": [
            {"aggregate": "complete", "dependencies": ["image", "apt"]},
            {"aggregate": "complete"},
        ],
        "signature": {"algorithm": "ES256", "value": "eA=="},
    }
