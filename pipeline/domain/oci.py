"""Manifests, indexes and descriptors of the OCI image format, read strictly from bytes of any origin.

Rules: nothing is believed before it was counted: a document has a size limit, no key twice, and only the
types the specification gives. Unknown keys are kept out of the values but never out of the bytes: what is
passed on is always the bytes as they came. Digests are compared by whoever fetched the bytes.
Grammar: OCI image specification 1.1 and Docker's manifest schema 2, which say the same in other words.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from pipeline.domain.canonical import no_key_twice
from pipeline.domain.image import Digest
from pipeline.errors import NotFoundError, RegistryError, UsageError

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
OCI_LAYER_ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LAYER_GZIP = "application/vnd.docker.image.rootfs.diff.tar.gzip"

INDEX_TYPES = frozenset({OCI_INDEX, DOCKER_LIST})
MANIFEST_TYPES = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
ACCEPT = f"{OCI_INDEX}, {DOCKER_LIST}, {OCI_MANIFEST}, {DOCKER_MANIFEST}"
"""What a client asks for; leaving one out makes a registry convert or refuse."""

DOCUMENT_LIMIT = 4 << 20
"""Bytes of the largest manifest, index or config that is read; the specification's own bound."""
_CHILDREN_LIMIT = 4096
_HINT = "the registry or what was pushed to it is at fault; push the image again or take another one"


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """What a manifest in an index is for; `variant` is empty where none is told."""

    os: str
    architecture: str
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


@dataclass(frozen=True, slots=True, kw_only=True)
class Descriptor:
    """A pointer to content: media type, digest, size in bytes, and the platform where an index tells one."""

    media_type: str
    digest: Digest
    size: int
    platform: Platform | None = None
    annotations: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """One platform's image: its config and its layers, the base's first."""

    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]
    annotations: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """Several manifests under one digest."""

    media_type: str
    manifests: tuple[Descriptor, ...]
    annotations: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What an image's config says that this program relies on."""

    platform: Platform
    diff_ids: tuple[Digest, ...] = field(default=())


def digest_of(data: bytes) -> Digest:
    """Return the sha256 digest of bytes."""
    return Digest("sha256:" + hashlib.sha256(data).hexdigest())


def canonical(value: object) -> bytes:
    """Return the one JSON spelling used for documents made here: keys sorted, no spaces, UTF-8."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def load(data: bytes, what: str) -> dict[str, Any]:
    """Parse a JSON object strictly.

    Args:
        data: The bytes.
        what: What they are, for messages.

    Raises:
        RegistryError: Too large, no UTF-8 JSON object, a key twice, NaN, or nested too deeply.
    """
    if len(data) > DOCUMENT_LIMIT:
        raise RegistryError(f"{what} is larger than {DOCUMENT_LIMIT} bytes", hint=_HINT)
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=no_key_twice, parse_constant=_no_constant)
        if b"\\ud" in data.lower():
            canonical(value)  # half a surrogate pair is no text and could not be printed later
    except (ValueError, RecursionError) as error:
        raise RegistryError(f"{what} is no valid JSON: {error or type(error).__name__}", hint=_HINT) from None
    if not isinstance(value, dict):
        raise RegistryError(f"{what} is no JSON object", hint=_HINT)
    return value


def parse(data: bytes, what: str = "the manifest") -> Manifest | Index:
    """Parse a manifest or an index.

    Args:
        data: The bytes as the registry gave them.
        what: What they are, for messages.

    Raises:
        RegistryError: It is neither, or any part is not as the specification says.
    """
    value = load(data, what)
    if _integer(value, "schemaVersion", what) != 2:  # noqa: PLR2004 - the only version there is
        raise RegistryError(f"{what} has schemaVersion {value['schemaVersion']!r}, not 2", hint=_HINT)
    is_index, is_manifest = "manifests" in value, "config" in value or "layers" in value
    if is_index == is_manifest:
        raise RegistryError(f"{what} is neither a manifest nor an index", hint=_HINT)
    media_type = _text(value, "mediaType", what, OCI_INDEX if is_index else OCI_MANIFEST)
    if media_type not in (INDEX_TYPES if is_index else MANIFEST_TYPES):
        raise RegistryError(f"{what} has the media type {media_type!r}, which is not supported", hint=_HINT)
    annotations = _annotations(value, what)
    if is_index:
        children = _descriptors(value, "manifests", what)
        return Index(media_type=media_type, manifests=children, annotations=annotations)
    return Manifest(
        media_type=media_type,
        config=_descriptor(value.get("config"), f"config of {what}"),
        layers=_descriptors(value, "layers", what),
        annotations=annotations,
    )


def parse_config(data: bytes, what: str = "the image config") -> Config:
    """Parse an image config's platform and diff IDs.

    Raises:
        RegistryError: It is no image config.
    """
    value = load(data, what)
    rootfs = value.get("rootfs")
    if not isinstance(rootfs, dict) or not isinstance(rootfs.get("diff_ids"), list):
        raise RegistryError(f"{what} has no rootfs.diff_ids", hint=_HINT)
    diff_ids = tuple(_digest(item, f"rootfs.diff_ids of {what}") for item in rootfs["diff_ids"])
    return Config(platform=_platform(value, what), diff_ids=diff_ids)


def select(index: Index, platform: Platform) -> Descriptor:
    """Return the one manifest of an index that is for a platform.

    Raises:
        NotFoundError: There is none; the platforms that exist are named.
        RegistryError: Several fit.
    """
    found = [child for child in index.manifests if child.platform and _fits(child.platform, platform)]
    if len({child.digest for child in found}) > 1:
        raise RegistryError(f"the index has several manifests for {platform}", hint="name one by its digest")
    if not found:
        known = sorted({str(child.platform) for child in index.manifests if child.platform})
        raise NotFoundError(
            f"the index has no manifest for {platform}",
            hint=f"it has: {', '.join(known) or 'no platform at all'}",
        )
    return found[0]


def _fits(offered: Platform, wanted: Platform) -> bool:
    same = (offered.os, offered.architecture) == (wanted.os, wanted.architecture)
    return same and (not wanted.variant or offered.variant == wanted.variant)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _integer(value: dict[str, Any], key: str, what: str) -> int:
    found = value.get(key)
    if type(found) is not int or not 0 <= found < 1 << 62:
        raise RegistryError(f"{key} of {what} is no number of bytes or version: {found!r:.80}", hint=_HINT)
    return found


def _text(value: dict[str, Any], key: str, what: str, default: str = "") -> str:
    found = value.get(key, default)
    if not isinstance(found, str):
        raise RegistryError(f"{key} of {what} is no text: {found!r:.80}", hint=_HINT)
    return found


def _digest(value: object, what: str) -> Digest:
    try:
        return Digest(value if isinstance(value, str) else repr(value)[:80])
    except UsageError as error:
        raise RegistryError(f"{what}: {error.message[:160]}", hint=_HINT) from None


def _descriptor(value: object, what: str) -> Descriptor:
    if not isinstance(value, dict):
        raise RegistryError(f"{what} is no descriptor", hint=_HINT)
    platform = value.get("platform")
    if platform is not None and not isinstance(platform, dict):
        raise RegistryError(f"platform of {what} is no object", hint=_HINT)
    return Descriptor(
        media_type=_text(value, "mediaType", what),
        digest=_digest(value.get("digest"), f"digest of {what}"),
        size=_integer(value, "size", what),
        platform=_platform(platform, what) if platform is not None else None,
        annotations=_annotations(value, what),
    )


def _platform(value: dict[str, Any], what: str) -> Platform:
    return Platform(
        os=_text(value, "os", what),
        architecture=_text(value, "architecture", what),
        variant=_text(value, "variant", what),
    )


def _descriptors(value: dict[str, Any], key: str, what: str) -> tuple[Descriptor, ...]:
    items = value.get(key)
    if not isinstance(items, list) or len(items) > _CHILDREN_LIMIT:
        raise RegistryError(f"{key} of {what} is no list of at most {_CHILDREN_LIMIT}", hint=_HINT)
    return tuple(_descriptor(item, f"{key}[{number}] of {what}") for number, item in enumerate(items))


def _annotations(value: dict[str, Any], what: str) -> tuple[tuple[str, str], ...]:
    found = value.get("annotations") or {}
    if not isinstance(found, dict) or not all(isinstance(text, str) for text in found.values()):
        raise RegistryError(f"annotations of {what} are no texts", hint=_HINT)
    return tuple(sorted(found.items()))
