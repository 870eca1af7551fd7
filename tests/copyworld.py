"""A project whose signed releases are copied, and what a whole copy is.

A `Site` is the side that is copied from; the other side is a registry, `client` and `at`, or a folder.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cosigntool import attest, cosign_program, key_pair, sign
from retentionworld import QUICK, SILENT, World

from pipeline.adapters.ocilayout import OciLayout
from pipeline.adapters.registry import Registry
from pipeline.domain.artifact import fallback_tag
from pipeline.domain.image import Digest, Repository, Tier
from pipeline.domain.lineage import Lineage
from pipeline.domain.oci import digest_of
from pipeline.domain.parcel import FOLDER, CopyResult, Parcel, parcels_of
from pipeline.verbs.copy import copy
from pipeline.verbs.copy_parts import CopyParts, CopySource, CopyTarget

WEB, BASE = "debian/web-1", "debian/base"
NAME = "org.opencontainers.image.ref.name"


class Site(World):
    """A project whose releases a real cosign signed and attested."""

    key: Path
    public: Path

    def fill(self) -> None:
        self.key, self.public = key_pair(self.folder, "release")
        predicate = self.folder / "predicate.json"
        predicate.write_text('{"tested": true}')
        base = self.release(self.candidate("base", Tier.BASE, index=True), "2.0.0")
        hosts = [
            self.release(self.candidate("web-1", Tier.INSTANCE, base), v, base) for v in ("1.0.0", "1.1.0")
        ]
        for seal in (base, *hosts):
            attest(self.key, f"{seal.repository}@{seal.digest}", predicate)

    def sign(self, of: Any) -> None:
        sign(self.key, f"{of.repository}@{of.digest}")

    def bundle(self, repository: Repository, digest: Digest) -> Digest:
        return digest  # cosign makes real ones

    def parcels(self, *versions: str, every: bool = False, parents: bool = True) -> tuple[Parcel, ...]:
        return parcels_of(self.ledger().read(), WEB, versions, every=every, parents=parents)

    def yanked(self, name: str) -> frozenset[str]:
        lineage = Lineage(self.ledger().read())
        return frozenset(one.version for one in lineage.releases(name) if lineage.yank_of(one))


def client(host: str) -> Registry:
    return Registry(host, insecure=True, patience=QUICK)


def at(host: str, prefix: str = "mirror") -> Callable[[str], Repository]:
    return lambda name: Repository(registry=host, path=f"{prefix}/{name}")


def in_folder(name: str) -> Repository:
    return Repository(registry=FOLDER, path=name)


def run(
    parcels: tuple[Parcel, ...], source: CopySource, target: CopyTarget, place: Callable[[str], Repository],
    **more: Any,
) -> CopyResult:  # fmt: skip
    more.setdefault("yanked", lambda _name: frozenset())
    parts = CopyParts(source=source, target=target, place=place, reporter=SILENT, jobs=4, **more)
    return copy(parcels, parts)


def sent(site: Site, parcels: tuple[Parcel, ...], host: str, **more: Any) -> CopyResult:
    """Copy a site's releases straight to another registry."""
    return run(parcels, site.registry, client(host), at(host), **more)


def to_folder(site: Site, folder: Path, *versions: str, **more: Any) -> OciLayout:
    parcels = site.parcels(*versions, **more)
    parents = {(one.name, one.tag): one.parent for one in parcels if one.parent is not None}
    layout = OciLayout(folder, parents=parents, create=True)
    run(parcels, site.registry, layout, in_folder)
    return layout


def everything(registry: Registry, repository: Repository) -> dict[str, Digest]:
    """Every tag that goes with a release, and what it names."""
    tags = [tag for tag in registry.tags(repository) if not tag.startswith("candidate-") and tag != "current"]
    return {tag: registry.resolve(repository.tagged(tag)).digest for tag in tags}


def listed(registry: Registry, repository: Repository, subject: Digest) -> set[str]:
    data = registry.unparsed(repository.tagged(fallback_tag(subject)))
    return {entry["digest"] for entry in json.loads(data)["manifests"]}


def same(site: Site, far: Registry, place: Callable[[str], Repository], versions: tuple[str, ...]) -> None:
    """The far side has what the near side has, digest for digest, with every blob."""
    for parcel in site.parcels(*versions, every=not versions):
        target = place(parcel.name)
        ours, theirs = everything(site.registry, parcel.source), everything(far, target)
        assert theirs[parcel.tag] == parcel.digest
        own = [tag for tag in ours if parcel.digest.hex[:16] in tag]
        assert len(own) == 1 + 2 + 1, "a signature, two documents, a list"
        assert {tag: theirs[tag] for tag in own} == {tag: ours[tag] for tag in own}
        everyone = listed(site.registry, parcel.source, parcel.digest)
        assert listed(far, target, parcel.digest) == everyone
        assert len(everyone) == 3, "two documents and cosign's attestation"
        for digest in (*everyone, parcel.digest.value):
            complete(far, target, Digest(digest))


def complete(far: Registry, target: Repository, digest: Digest) -> None:
    manifest = json.loads(far.manifest(target.at(digest)))
    for child in manifest.get("manifests", ()):
        complete(far, target, Digest(child["digest"]))
    for blob in (*manifest.get("layers", ()), *([manifest["config"]] if "config" in manifest else [])):
        assert digest_of(far.blob(target, Digest(blob["digest"]))).value == blob["digest"]


def verified(site: Site, ref: str) -> None:
    """A real cosign finds the signature that hosts verify, and the attestation."""
    for argv in (
        ["verify", "--new-bundle-format=false", "--insecure-ignore-tlog=true"],
        ["verify-attestation", "--insecure-ignore-tlog=true", "--type=https://example.org/test"],
    ):
        done = subprocess.run(
            [cosign_program(), *argv, "--allow-http-registry=true", f"--key={site.public}", ref],
            capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr


def edit(folder: Path, change: Callable[[list[dict[str, Any]]], None]) -> None:
    index = json.loads((folder / "index.json").read_text())
    change(index["manifests"])
    (folder / "index.json").write_text(json.dumps(index))
