"""Evidence and attestations as OCI artifacts: one manifest per document, which refers to an image's digest.

Rules:
1. The same document of the same image gives the same manifest, byte for byte.
2. An index that others write too is only ever added to: their entries stay as they are, with every key.
3. What a registry lists is a claim. An entry that is damaged is told of and skipped; what an entry claims
   counts only after the manifest it names was read (`read_artifact`).
Grammar: OCI image specification 1.1 (artifacts, the empty descriptor) and OCI distribution specification 1.1
(the referrers tag schema).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from pipeline.domain.evidence import Evidence, EvidenceKind
from pipeline.domain.image import Digest
from pipeline.domain.oci import (
    DOCUMENT_LIMIT,
    OCI_INDEX,
    OCI_MANIFEST,
    Descriptor,
    Manifest,
    canonical,
    digest_of,
    load,
    parse,
)
from pipeline.domain.text import plain
from pipeline.errors import RegistryError, UsageError

EMPTY = b"{}"
"""The config of an artifact that has none."""

EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
TITLE = "org.opencontainers.image.title"
CREATED = "org.opencontainers.image.created"
KIND = "io.bootc-pipeline.evidence"
"""Annotation that names the kind of evidence; what has none is somebody else's."""

BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
"""Artifact type of a signed attestation, and media type of its bundle; cosign's attestations have it too."""

ATTESTATION = "io.bootc-pipeline.attestation"
"""Annotation that names an attestation of a release; what has none is somebody else's."""

OUR_TYPES = frozenset(kind.media_type for kind in EvidenceKind)
"""Artifact types that evidence of ours can have; others use some of them too."""

_HINT = "somebody else writes this tag; look at it, and at who may push to this repository"


class Attachment(Protocol):
    """One document, ready to be stored as an artifact that refers to an image."""

    @property
    def document(self) -> bytes:
        """The document's bytes."""

    @property
    def manifest(self) -> bytes:
        """The artifact manifest's bytes."""

    @property
    def digest(self) -> Digest:
        """Digest of the artifact manifest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """One document of evidence, ready to be stored.

    Attributes:
        evidence: The document.
        manifest: The artifact manifest's bytes.
    """

    evidence: Evidence
    manifest: bytes

    @property
    def document(self) -> bytes:
        """The document's bytes."""
        return self.evidence.data

    @property
    def digest(self) -> Digest:
        """Digest of the artifact manifest."""
        return digest_of(self.manifest)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What an index claims of one artifact.

    Attributes:
        digest, size, artifact_type: Of its manifest.
        kind: The kind of evidence it says it is, "" for none.
        attestation: The attestation it says it is, "" for none.
    """

    digest: Digest
    size: int
    artifact_type: str
    kind: str
    attestation: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What refers to a candidate: entries in order of their digests, and what of the index is damaged."""

    entries: tuple[Entry, ...] = ()
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredArtifact:
    """What an artifact manifest says: the kind, and where its document lies."""

    kind: str
    document: Descriptor


def fallback_tag(subject: Digest) -> str:
    """Return the tag of the index of what refers to a digest, for registries without the referrers API."""
    return f"sha256-{subject.hex}"


def evidence_tag(subject: Digest, artifact: Digest) -> str:
    """Return the tag of one artifact of ours, beside `image.candidate_tag`; see `adapters.referrers`."""
    return f"{evidence_tags(subject)}{artifact.hex[:16]}"


def evidence_tags(subject: Digest) -> str:
    """Return what the tags of all evidence and attestations of an image begin with."""
    return f"evidence-{subject.hex[:16]}-"


def artifact_of(subject: Descriptor, evidence: Evidence, created: dt.datetime) -> Artifact:
    """Make the artifact of one document.

    Args:
        subject: The candidate's manifest: media type, digest, size.
        evidence: The document.
        created: A time that belongs to the candidate, not to this run; UTC, whole seconds.

    Raises:
        UsageError: The time is no UTC time in whole seconds.
    """
    kind = evidence.kind
    title = {TITLE: f"{kind.value}{kind.suffix}"}
    more = title | {KIND: kind.value}
    manifest = attachment_of(subject, kind.media_type, evidence.data, created, more, of_document=title)
    return Artifact(evidence=evidence, manifest=manifest)


def attachment_of(
    subject: Descriptor,
    media_type: str,
    document: bytes,
    created: dt.datetime,
    annotations: Mapping[str, str],
    *,
    of_document: Mapping[str, str] | None = None,
) -> bytes:
    """Return the manifest of an artifact of one document.

    Args:
        subject: The image's manifest: media type, digest, size.
        media_type: Of the document; also the artifact's type.
        document: Its bytes.
        created: A time that belongs to the image, not to this run; UTC, whole seconds.
        annotations: Of the manifest.
        of_document: Annotations of the document's own entry.

    Raises:
        UsageError: The time is no UTC time in whole seconds.
    """
    if created.utcoffset() != dt.timedelta(0) or created.microsecond:
        raise UsageError(
            f"{created.isoformat()} is no time for an artifact", hint="give UTC and whole seconds"
        )
    pointer = _pointer(media_type, digest_of(document), len(document))
    return canonical(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": media_type,
            "config": _pointer(EMPTY_TYPE, digest_of(EMPTY), len(EMPTY)),
            "layers": [pointer | {"annotations": dict(of_document)} if of_document else pointer],
            "subject": _pointer(subject.media_type, subject.digest, subject.size),
            "annotations": {**annotations, CREATED: f"{created:%Y-%m-%dT%H:%M:%SZ}"},
        }
    )


def index_entry(manifest: bytes, subject: Digest) -> dict[str, Any] | None:
    """Return the entry an index must have for an artifact manifest; None when it refers to something else.

    Raises:
        RegistryError: The bytes are no artifact manifest.
    """
    value, parsed = _parsed(manifest)
    if _subject_of(value) != subject.value:
        return None
    artifact_type = value.get("artifactType")
    return {
        **_pointer(OCI_MANIFEST, digest_of(manifest), len(manifest)),
        "artifactType": artifact_type if isinstance(artifact_type, str) else parsed.config.media_type,
        "annotations": dict(parsed.annotations),
    }


def merged_index(held: bytes | None, entries: Sequence[dict[str, Any]]) -> bytes | None:
    """Return an index with these entries added, or None when it has them all.

    Args:
        held: The index there is, or None where there is none.
        entries: What `index_entry` returned.

    Raises:
        RegistryError: What is there is no index, or it would become too large.
    """
    value = _index(held)
    known = _digests(value)
    new = [entry for entry in entries if entry["digest"] not in known]
    if not new:
        return None
    return _spelled(value | {"manifests": value["manifests"] + sorted(new, key=lambda one: one["digest"])})


def without_entries(held: bytes, gone: Collection[Digest]) -> bytes:
    """Return an index without the entries of manifests that are no longer there."""
    value = _index(held)
    digests = {one.value for one in gone}
    left = [
        item
        for item in value["manifests"]
        if not (isinstance(item, dict) and str(item.get("digest")) in digests)
    ]
    return _spelled(value | {"manifests": left})


def read_index(data: bytes) -> Listing:
    """Return what an index lists; damaged entries become problems.

    Raises:
        RegistryError: It is no index at all.
    """
    found: dict[str, Entry] = {}
    problems: list[str] = []
    for number, item in enumerate(_index(data)["manifests"]):
        entry = _entry(item)
        if isinstance(entry, Entry):
            found.setdefault(entry.digest.value, entry)
        else:
            problems.append(f"entry {number} of the index {entry}")
    return Listing(entries=tuple(found[key] for key in sorted(found)), problems=tuple(problems))


def joined(listings: Sequence[Listing]) -> Listing:
    """Return several listings as one, each artifact once."""
    entries = {entry.digest.value: entry for listing in reversed(listings) for entry in listing.entries}
    problems = tuple(dict.fromkeys(problem for listing in listings for problem in listing.problems))
    return Listing(entries=tuple(entries[key] for key in sorted(entries)), problems=problems)


def read_artifact(manifest: bytes, subject: Digest) -> StoredArtifact | None:
    """Return what an artifact manifest of ours says; None when it is somebody else's.

    Args:
        manifest: The bytes, whose digest the caller has compared.
        subject: The candidate it must refer to.

    Raises:
        RegistryError: It is no manifest; or it says it is evidence of ours, and refers to another image or
            does not have exactly one document of its kind.
    """
    value, parsed = _parsed(manifest)
    kind = dict(parsed.annotations).get(KIND)
    if kind is None:
        return None
    what = f"the artifact {digest_of(manifest)}"
    if _subject_of(value) != subject.value:
        raise RegistryError(f"{what} refers to another image than {subject}", hint=_HINT)
    if kind not in {known.value for known in EvidenceKind}:
        raise RegistryError(f"{what} names the unknown kind of evidence {plain(kind, 60)!r}", hint=_HINT)
    media_type = EvidenceKind(kind).media_type
    types = [value.get("artifactType"), *(layer.media_type for layer in parsed.layers)]
    if types != [media_type, media_type]:
        raise RegistryError(f"{what} is not one document of the type {media_type}", hint=_HINT)
    return StoredArtifact(kind=kind, document=parsed.layers[0])


def read_attestation(manifest: bytes, subject: Digest) -> StoredArtifact | None:
    """Return the name and the bundle of an attestation of a release; None when it is something else.

    Args:
        manifest: The bytes, whose digest the caller has compared.
        subject: The image it must refer to.

    Raises:
        RegistryError: It is no manifest; or it says it is an attestation of ours, and refers to another image
            or is not one bundle.
    """
    value, parsed = _parsed(manifest)
    name = dict(parsed.annotations).get(ATTESTATION)
    if name is None:
        return None
    what = f"the attestation {digest_of(manifest)}"
    if _subject_of(value) != subject.value:
        raise RegistryError(f"{what} refers to another image than {subject}", hint=_HINT)
    if [value.get("artifactType"), *(layer.media_type for layer in parsed.layers)] != [BUNDLE, BUNDLE]:
        raise RegistryError(f"{what} is not one Sigstore bundle", hint=_HINT)
    return StoredArtifact(kind=plain(name, 60), document=parsed.layers[0])


def is_ours(manifest: bytes, subject: Digest) -> bool:
    """Tell whether a manifest is evidence or an attestation that this program attached to an image."""
    try:
        found = read_artifact(manifest, subject) or read_attestation(manifest, subject)
    except RegistryError:
        return False
    return found is not None


def _parsed(manifest: bytes) -> tuple[dict[str, Any], Manifest]:
    what = f"the artifact {digest_of(manifest)}"
    parsed = parse(manifest, what)
    if not isinstance(parsed, Manifest):
        raise RegistryError(f"{what} is an index, not a manifest", hint=_HINT)
    return load(manifest, what), parsed


def _subject_of(value: dict[str, Any]) -> str:
    subject = value.get("subject")
    return str(subject.get("digest")) if isinstance(subject, dict) else ""


def _index(data: bytes | None) -> dict[str, Any]:
    if data is None:
        return {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}
    value = load(data, "the index of referrers")
    if value.get("mediaType", OCI_INDEX) != OCI_INDEX or not isinstance(value.get("manifests"), list):
        raise RegistryError(
            "what lies where the index of referrers belongs is no OCI index",
            hint="look at the tag sha256-<digest> of the candidate; move what was pushed there elsewhere",
        )
    return value


def _digests(value: dict[str, Any]) -> set[str]:
    return {str(item.get("digest")) for item in value["manifests"] if isinstance(item, dict)}


def _entry(item: object) -> Entry | str:
    """Return an entry, or what is wrong with it."""
    if not isinstance(item, dict):
        return "is no descriptor"
    size, artifact_type = item.get("size"), item.get("artifactType") or ""
    annotations = item.get("annotations") or {}
    try:
        digest = Digest(str(item.get("digest")))
    except UsageError:
        return f"has no digest: {plain(str(item.get('digest')), 60)!r}"
    if type(size) is not int or not 0 < size <= DOCUMENT_LIMIT:
        return f"({digest}) has no size a manifest can have: {plain(repr(size), 60)}"
    if not isinstance(artifact_type, str) or not isinstance(annotations, dict):
        return f"({digest}) has an artifact type or annotations that are none"
    return Entry(
        digest=digest,
        size=size,
        artifact_type=artifact_type,
        kind=str(annotations.get(KIND, "")),
        attestation=str(annotations.get(ATTESTATION, "")),
    )


def _pointer(media_type: str, digest: Digest, size: int) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest.value, "size": size}


def _spelled(value: dict[str, Any]) -> bytes:
    data = canonical(value)
    if len(data) > DOCUMENT_LIMIT:
        raise RegistryError(
            f"the index of referrers would be larger than {DOCUMENT_LIMIT} bytes",
            hint="remove artifacts of this image that nobody needs",
        )
    return data
