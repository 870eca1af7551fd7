"""Names, digests and references of images: parsed once at the edge, then never bare strings.

Rules: everything after a build refers to digests; a candidate tag never looks like a release tag.
Grammar of names, tags and digests: OCI distribution specification 1.1.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from pipeline.errors import UsageError

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_REPOSITORY = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_REGISTRY = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*|\[[0-9a-fA-F:]+\])"
    r"(?::[0-9]{1,5})?"
)
RELEASE_TAG = re.compile(r"v?[0-9]+(?:\.[0-9]+){0,2}|current|latest")
"""What a release, alias or channel tag looks like; a build must never write one."""

NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
"""A host or image name: a DNS label in lower case (RFC 1123), so that it is also a hostname."""


class Tier(StrEnum):
    """The three kinds of image, each built on the one before."""

    UPSTREAM = "upstream"
    BASE = "base"
    INSTANCE = "instance"


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """A content digest, `sha256:` and 64 hexadecimal digits."""

    value: str

    def __post_init__(self) -> None:
        if not _DIGEST.fullmatch(self.value):
            raise UsageError(
                f"{self.value!r} is no digest", hint="a digest is sha256: followed by 64 hexadecimal digits"
            )

    @property
    def hex(self) -> str:
        """The 64 hexadecimal digits alone."""
        return self.value.removeprefix("sha256:")

    @property
    def short(self) -> str:
        """Twelve digits, for people."""
        return self.hex[:12]

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, slots=True, kw_only=True)
class Repository:
    """A repository in a registry, without tag or digest."""

    registry: str
    path: str

    def __post_init__(self) -> None:
        if not _REGISTRY.fullmatch(self.registry):
            raise UsageError(f"{self.registry!r} is no registry", hint="write host or host:port")
        if not _REPOSITORY.fullmatch(self.path):
            raise UsageError(
                f"{self.path!r} is no repository name",
                hint="use lower-case letters, digits, '.', '_', '-' and '/'",
            )

    def at(self, digest: Digest) -> ImageRef:
        """Return the reference of one digest in this repository."""
        return ImageRef(repository=self, digest=digest)

    def tagged(self, tag: str) -> ImageRef:
        """Return the reference of one tag in this repository."""
        return ImageRef(repository=self, tag=tag)

    def __str__(self) -> str:
        return f"{self.registry}/{self.path}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRef:
    """A repository with a tag, a digest, or both."""

    repository: Repository
    tag: str | None = None
    digest: Digest | None = None

    def __post_init__(self) -> None:
        if self.tag is not None and not _TAG.fullmatch(self.tag):
            raise UsageError(
                f"{self.tag!r} is no tag", hint="a tag has letters, digits, '.', '_' and '-', 128 at most"
            )
        if self.tag is None and self.digest is None:
            raise UsageError(f"{self.repository} has neither tag nor digest", hint="append :TAG or @sha256:…")

    @classmethod
    def parse(cls, text: str) -> ImageRef:
        """Parse `registry[:port]/path[:tag][@digest]`.

        Raises:
            UsageError: The text is no reference, names no registry, or has neither tag nor digest.
        """
        rest, _, digest = text.partition("@")
        registry, slash, path = rest.partition("/")
        if not slash or not ("." in registry or ":" in registry or registry == "localhost"):
            raise UsageError(
                f"{text!r} does not name a registry",
                hint="write the whole reference: registry/path:tag or registry/path@sha256:…",
            )
        path, colon, tag = path.partition(":")
        return cls(
            repository=Repository(registry=registry, path=path),
            tag=tag if colon else None,
            digest=Digest(digest) if digest else None,
        )

    @property
    def pinned(self) -> Digest:
        """The digest; a reference without one is refused.

        Raises:
            UsageError: The reference is by tag only.
        """
        if self.digest is None:
            raise UsageError(f"{self} is not pinned to a digest", hint="append @sha256:…")
        return self.digest

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag is not None else ""
        digest = f"@{self.digest}" if self.digest is not None else ""
        return f"{self.repository}{tag}{digest}"


def candidate_tag(digest: Digest) -> str:
    """Return the tag under which a candidate of this digest lies; no release pattern matches it."""
    return f"candidate-{digest.hex[:16]}"
