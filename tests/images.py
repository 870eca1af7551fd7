"""Tiny images made by hand: layers, configs, manifests and a multi-architecture index, as bytes.

The JSON is indented and ordered in ways no tool of ours writes, so a copy that re-writes it is noticed.
"""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from dataclasses import dataclass
from typing import Any

from pipeline.adapters.registry import Registry
from pipeline.domain.image import Digest, Repository
from pipeline.domain.oci import OCI_CONFIG, OCI_INDEX, OCI_LAYER_GZIP, OCI_MANIFEST, digest_of


@dataclass(frozen=True, slots=True, kw_only=True)
class TinyImage:
    """One platform's image: the manifest's bytes and the blobs it names."""

    manifest: bytes
    blobs: tuple[bytes, ...]
    architecture: str

    @property
    def digest(self) -> Digest:
        return digest_of(self.manifest)


def layer(files: dict[str, str]) -> bytes:
    """Return a tar.gz with these files."""
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as tar:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(text.encode())
            tar.addfile(info, io.BytesIO(text.encode()))
    return gzip.compress(sink.getvalue(), mtime=0)


def tiny_image(architecture: str = "amd64", text: str = "hello", *layers: bytes) -> TinyImage:
    """Return an image of one file, or of the given gzip layers."""
    parts = layers or (layer({"etc/greeting": text, "etc/arch": architecture}),)
    config = spelled(
        {
            "os": "linux",
            "architecture": architecture,
            "created": "2026-01-01T00:00:00Z",
            "config": {"Labels": {"text": text}},
            "rootfs": {
                "type": "layers",
                "diff_ids": [digest_of(gzip.decompress(part)).value for part in parts],
            },
            "history": [{"created_by": "by hand"} for _ in parts],
        }
    )
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": descriptor(OCI_CONFIG, config),
        "layers": [descriptor(OCI_LAYER_GZIP, part) for part in parts],
    }
    return TinyImage(manifest=spelled(manifest), blobs=(config, *parts), architecture=architecture)


def index_of(*images: TinyImage) -> bytes:
    """Return an index of the images."""
    children = [
        descriptor(OCI_MANIFEST, image.manifest)
        | {"platform": {"os": "linux", "architecture": image.architecture}}
        for image in images
    ]
    return spelled({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": children})


def descriptor(media_type: str, data: bytes) -> dict[str, Any]:
    return {"size": len(data), "digest": digest_of(data).value, "mediaType": media_type}


def spelled(value: object) -> bytes:
    return json.dumps(value, indent=3).encode() + b"\n"


def push(registry: Registry, repository: Repository, image: TinyImage, tag: str | None = None) -> Digest:
    """Push one platform's image, under a tag or by its digest alone."""
    for blob in image.blobs:
        registry.put_blob(repository, blob)
    return registry.put_manifest(repository, tag or image.digest, image.manifest)
