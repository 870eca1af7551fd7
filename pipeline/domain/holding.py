"""What a repository holds: its manifests, the tags that name them, and which of them refers to which.

Rules: bytes of any origin are read tolerantly, since one manifest that somebody damaged must not hide the
others; what a manifest says of its subject counts, what a list says of others is only a place to look. Tags
that bind to an image by its digest are the ones that hosts, cosign and this program agree on.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from pipeline.domain.artifact import evidence_tags, read_index
from pipeline.domain.image import Digest, Repository
from pipeline.domain.oci import Descriptor, Index, digest_of, load, parse
from pipeline.errors import RegistryError, UsageError

_ATTACHED = re.compile(r"sha256-([0-9a-f]{64})(?:\.(?:sig|att|sbom))?")
_EVIDENCE = re.compile(r"evidence-[0-9a-f]{16}-[0-9a-f]{16}")
_FALLBACK = re.compile(r"sha256-[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """One manifest or index.

    Attributes:
        digest: Its digest.
        media_type: As it says itself; "" for what is no manifest.
        tags: What names it, sorted.
        children: Manifests that it lists when it is an index, in its order.
        blobs: Config and layers when it is a manifest.
        subject: What it says that it refers to.
        data: Its bytes.
    """

    digest: Digest
    media_type: str = ""
    tags: tuple[str, ...] = ()
    children: tuple[Digest, ...] = ()
    blobs: tuple[Descriptor, ...] = ()
    subject: Digest | None = None
    data: bytes = field(repr=False)

    @property
    def lists_referrers(self) -> bool:
        """Whether it is the list of what refers to a digest, where a registry has no API for that."""
        return any(_FALLBACK.fullmatch(tag) for tag in self.tags)

    def subjects(self) -> frozenset[Digest]:
        """Return what it belongs to, by its own word or by the tags that it has; never itself."""
        tagged = {found for tag in self.tags if (found := subject_of_tag(tag)) is not None}
        own = set() if self.subject is None else {self.subject}
        return frozenset((tagged | own) - {self.digest})

    def bound(self, tag: str) -> bool:
        """Tell whether a tag of its binds it to an image, as signatures and evidence are bound."""
        if subject_of_tag(tag) is not None:
            return True
        fits = self.subject is not None and tag.startswith(evidence_tags(self.subject))
        return fits and _EVIDENCE.fullmatch(tag) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelf:
    """One repository.

    Attributes:
        repository: Which.
        held: Every manifest that was found.
    """

    repository: Repository
    held: Mapping[Digest, Held]

    def tagged(self) -> dict[str, Digest]:
        """Return every tag and what it names."""
        return {tag: one.digest for one in self.held.values() for tag in one.tags}

    def parts_of(self, image: Digest) -> tuple[Digest, ...]:
        """Return an image and, for an index, the manifests of its platforms that are there, each once."""
        found = [image]
        for digest in found:
            one = self.held.get(digest)
            if one is not None and not one.lists_referrers:
                found += [child for child in one.children if child in self.held and child not in found]
        return tuple(found)

    def belonging(self, images: Iterable[Digest]) -> tuple[Held, ...]:
        """Return what refers to these digests, and what refers to that, in order of their digests."""
        wanted = set(images)
        found: dict[Digest, Held] = {}
        while True:
            new = {
                digest: one
                for digest, one in self.held.items()
                if digest not in found and digest not in wanted and one.subjects() & (wanted | set(found))
            }
            if not new:
                return tuple(found[digest] for digest in sorted(found))
            found |= new


def subject_of_tag(tag: str) -> Digest | None:
    """Return the digest that a tag of a signature, an attestation or a list of referrers is about."""
    match = _ATTACHED.fullmatch(tag)
    return None if match is None else Digest(f"sha256:{match[1]}")


def held_of(data: bytes, tags: Iterable[str] = ()) -> Held:
    """Return what the bytes of a manifest say; of bytes that are none, the digest alone."""
    digest, names = digest_of(data), tuple(sorted(set(tags)))
    try:
        value = load(data, "the manifest")
    except RegistryError:
        return Held(digest=digest, tags=names, data=data)
    media_type = value.get("mediaType")
    children, blobs = _contents(data)
    return Held(
        digest=digest,
        media_type=media_type if isinstance(media_type, str) else "",
        tags=names,
        children=children,
        blobs=blobs,
        subject=_subject(value.get("subject")),
        data=data,
    )


def _contents(data: bytes) -> tuple[tuple[Digest, ...], tuple[Descriptor, ...]]:
    with contextlib.suppress(RegistryError):
        parsed = parse(data)
        if isinstance(parsed, Index):
            return tuple(child.digest for child in parsed.manifests), ()
        return (), (parsed.config, *parsed.layers)
    with contextlib.suppress(RegistryError):
        return tuple(entry.digest for entry in read_index(data).entries), ()
    return (), ()


def _subject(value: object) -> Digest | None:
    with contextlib.suppress(UsageError):
        return Digest(str(value.get("digest"))) if isinstance(value, dict) else None
    return None
