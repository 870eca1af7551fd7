"""A base's manifest and config with one layer more.

Rules: what the base says of itself stays (labels, entrypoint, annotations); the new layer, its diff ID and
its line of history are appended; the manifest names its base by digest in the annotations the specification
reserves for that. The same base and layer always give the same bytes.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.domain.image import Digest, ImageRef
from pipeline.domain.layer import Layer
from pipeline.domain.oci import (
    DOCKER_LAYER_GZIP,
    DOCKER_MANIFEST,
    OCI_LAYER_GZIP,
    Manifest,
    canonical,
    digest_of,
    load,
    parse,
    parse_config,
)
from pipeline.errors import RegistryError

_HINT = "the base is damaged; build and push it again"


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseImage:
    """A base as it lies in the registry, for one platform.

    Attributes:
        ref: By digest.
        manifest: The manifest's bytes.
        config: The config's bytes.
    """

    ref: ImageRef
    manifest: bytes
    config: bytes

    @property
    def parsed(self) -> Manifest:
        """The manifest, parsed.

        Raises:
            RegistryError: It is an index or no manifest at all.
        """
        found = parse(self.manifest, f"the manifest {self.ref}")
        if not isinstance(found, Manifest):
            raise RegistryError(f"{self.ref} is an index", hint="name the manifest of one platform")
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Appended:
    """The image that results: config and manifest, as bytes with their digests."""

    config: bytes
    manifest: bytes
    digest: Digest


def append(
    base: BaseImage, layer: Layer, *, timestamp: int, created_by: str, labels: Mapping[str, str]
) -> Appended:
    """Return the base with one layer more.

    Args:
        base: The base.
        layer: What goes on it.
        timestamp: Seconds since the epoch, for `created` and the history.
        created_by: What the history says of the layer.
        labels: Labels added to, or put over, those of the base.

    Raises:
        RegistryError: Manifest and config of the base do not belong together.
    """
    config = _config(base, layer, timestamp=timestamp, created_by=created_by, labels=labels)
    manifest = _manifest(base, layer, config)
    return Appended(config=config, manifest=manifest, digest=digest_of(manifest))


def _config(
    base: BaseImage, layer: Layer, *, timestamp: int, created_by: str, labels: Mapping[str, str]
) -> bytes:
    known = parse_config(base.config, f"the config of {base.ref}")
    if len(known.diff_ids) != len(base.parsed.layers):
        raise RegistryError(
            f"{base.ref} has {len(base.parsed.layers)} layers, but its config names {len(known.diff_ids)}",
            hint=_HINT,
        )
    value = load(base.config, f"the config of {base.ref}")
    created = dt.datetime.fromtimestamp(timestamp, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    value["created"] = created
    value["rootfs"]["diff_ids"].append(layer.diff_id.value)
    history = _of(value, "history", list, base)
    history.append({"created": created, "created_by": created_by})
    settings = _of(value, "config", dict, base)
    settings["Labels"] = {**(settings.get("Labels") or {}), **labels}
    return canonical(value)


def _manifest(base: BaseImage, layer: Layer, config: bytes) -> bytes:
    value = load(base.manifest, f"the manifest {base.ref}")
    docker = base.parsed.media_type == DOCKER_MANIFEST
    value["mediaType"] = base.parsed.media_type
    value["config"] = {**value["config"], "digest": digest_of(config).value, "size": len(config)}
    value["layers"].append(
        {
            "mediaType": DOCKER_LAYER_GZIP if docker else OCI_LAYER_GZIP,
            "digest": layer.digest.value,
            "size": len(layer.data),
        }
    )
    value.pop("subject", None)
    if not docker:
        annotations = _of(value, "annotations", dict, base)
        annotations["org.opencontainers.image.base.digest"] = base.ref.pinned.value
        annotations["org.opencontainers.image.base.name"] = str(base.ref.repository)
    return canonical(value)


def _of(value: dict[str, Any], key: str, kind: type, base: BaseImage) -> Any:
    """Return a part to be changed in place, made where the base leaves it out."""
    if value.get(key) is None:
        value[key] = kind()
    if not isinstance(value[key], kind):
        raise RegistryError(f"{key} of {base.ref} is no {kind.__name__}", hint=_HINT)
    return value[key]
