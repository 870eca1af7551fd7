"""Decisions of people: approval, rejection and withdrawal, each bound to digests and proved by its maker.

Rules: a decision speaks of exact image digests and of the hashes of their evidence, never of a tag or a
branch; its proof covers the *statement*, everything in the record but the proof itself and the ledger's
author, so that nothing in it can be changed or moved to another image; each decision names its own purpose,
so that a signature made for one kind of statement is none for another.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar

from semver import Version

from pipeline.domain.canonical import canonical_json
from pipeline.domain.image import NAME, Digest, Repository, Tier
from pipeline.domain.record import Kind, Record, require_text
from pipeline.domain.record_codec import require_moment
from pipeline.errors import UsageError

NAMESPACE = "decision@bootc-pipeline"
"""What signatures of statements are made for (`ssh-keygen -Y sign -n`); no other use shares it."""

PROOF_LIMIT = 16_384
"""Characters of a proof: an RSA signature or an identity token fits, a file does not."""

_ID = re.compile(r"[0-9a-f]{64}")
_PROOF = re.compile(r"[A-Za-z0-9+/=._-]+")


class Method(StrEnum):
    """How a person proved a decision."""

    SSH = "ssh"
    GITLAB = "gitlab"


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A released version of an image and its digest."""

    version: str
    digest: Digest

    def __post_init__(self) -> None:
        require_version(self.version)


def release_words(release: Release | None) -> str:
    """Return a release as messages name it: version and the digest's beginning, or none."""
    return "none" if release is None else f"v{release.version} {release.digest.short}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """One image that a decision is about.

    Attributes:
        line, image, tier, repository, digest: The image.
        candidate: Id of its candidate's record.
        version: The version it is proposed to be released as.
        predecessor: The last release of that image, or None.
        evidence: Kind of evidence to the sha256 of the document that was looked at.
    """

    line: str
    image: str
    tier: Tier
    repository: Repository
    digest: Digest
    candidate: str
    version: str
    predecessor: Release | None = None
    evidence: Mapping[str, Digest] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in (self.line, self.image):
            if not NAME.fullmatch(name):
                raise UsageError(f"{name!r} is no image name", hint="use lower-case letters, digits and '-'")
        require_id(self.candidate)
        require_version(self.version)

    @property
    def name(self) -> str:
        """`line/image`."""
        return f"{self.line}/{self.image}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What shows who decided.

    Attributes:
        method: How it is checked.
        identity: Who it says it is: a principal of allowed_signers, or `gitlab:LOGIN`.
        key: Fingerprint of the key (`SHA256:…`), or the account's number at its issuer (`https://…#42`).
        text: The signature without its armour, or the token; base64 and dots only.
    """

    method: Method
    identity: str
    key: str
    text: str

    def __post_init__(self) -> None:
        require_text("the proof's identity", self.identity)
        require_text("the proof's key", self.key)
        if not _PROOF.fullmatch(self.text) or len(self.text) > PROOF_LIMIT:
            raise UsageError(
                "the proof is neither signature nor token",
                hint="it is base64 text, as the signing tool gave it",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision(Record):
    """What approval, rejection and withdrawal have in common: why, and who proved it."""

    why: str
    proof: Proof | None = None

    def statement(self) -> bytes:
        """Return what the proof covers, canonical JSON."""
        said = {key: value for key, value in self.content().items() if key not in ("author", "proof")}
        return canonical_json({"statement": NAMESPACE, **said})

    def check(self) -> None:
        """Refuse what no record can hold.

        Raises:
            UsageError: A text or a time does not do.
        """
        Record.check(self)
        require_text("the reason", self.why)

    def _proved(self) -> tuple[str, str]:
        return "By", "nobody proved it" if self.proof is None else self.proof.identity


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval(Decision):
    """A person's yes to exactly these images with exactly this evidence.

    Attributes:
        decided: The images, sorted by name; none twice.
        what: What changes, in the approver's words.
        expires: When it stops counting; UTC.
    """

    kind: ClassVar[Kind] = Kind.APPROVAL

    decided: tuple[Decided, ...]
    what: str
    expires: dt.datetime

    def __post_init__(self) -> None:
        self.check()
        _require_decided(self.decided)
        require_text("what changes", self.what)
        require_moment(self.expires)
        if self.expires <= self.time:
            raise UsageError("the approval has expired before it is made", hint="give a later expiry")

    @property
    def title(self) -> str:
        """The record in one line."""
        return _title(self.kind, self.decided)

    def names(self) -> frozenset[str]:
        """Return its images."""
        return frozenset(one.name for one in self.decided)

    def summary(self) -> tuple[tuple[str, str], ...]:
        """Return what `git log` shows of the record."""
        return (*_images(self.decided), ("What", self.what), ("Why", self.why), self._proved())


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection(Decision):
    """A person's no to exactly these images; it counts at once."""

    kind: ClassVar[Kind] = Kind.REJECTION

    decided: tuple[Decided, ...]

    def __post_init__(self) -> None:
        self.check()
        _require_decided(self.decided)

    @property
    def title(self) -> str:
        """The record in one line."""
        return _title(self.kind, self.decided)

    def names(self) -> frozenset[str]:
        """Return its images."""
        return frozenset(one.name for one in self.decided)

    def summary(self) -> tuple[tuple[str, str], ...]:
        """Return what `git log` shows of the record."""
        return (*_images(self.decided), ("Why", self.why), self._proved())


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawal(Decision):
    """A person takes an approval or a rejection back; it counts at once.

    Attributes:
        approval: Id of the decision's record.
        images: The images it spoke of, `line/image`, sorted.
    """

    kind: ClassVar[Kind] = Kind.WITHDRAWAL

    approval: str
    images: tuple[str, ...]

    def __post_init__(self) -> None:
        self.check()
        require_id(self.approval)
        for name in self.images:
            require_text("an image's name", name)

    @property
    def title(self) -> str:
        """The record in one line."""
        return f"{self.kind} of decision {self.approval[:12]}"

    def names(self) -> frozenset[str]:
        """Return its images."""
        return frozenset(self.images)

    def summary(self) -> tuple[tuple[str, str], ...]:
        """Return what `git log` shows of the record."""
        return (("Decision", self.approval), ("Why", self.why), self._proved())


def require_version(text: str) -> None:
    """Let a release version pass: MAJOR.MINOR.PATCH, nothing before or after.

    Raises:
        UsageError: It is none.
    """
    if not Version.is_valid(text) or Version.parse(text).prerelease or Version.parse(text).build:
        raise UsageError(f"{text!r} is no release version", hint="write MAJOR.MINOR.PATCH, such as 1.4.0")


def require_id(text: str) -> None:
    """Let a record's id pass.

    Raises:
        UsageError: It is none.
    """
    if not _ID.fullmatch(text):
        raise UsageError(f"{text!r} is no record's id", hint="an id has 64 hexadecimal digits")


def _require_decided(decided: tuple[Decided, ...]) -> None:
    names = [one.name for one in decided]
    if not names or names != sorted(set(names)):
        raise UsageError(
            "a decision speaks of at least one image, each once, in order", hint="name each image once"
        )


def _title(kind: Kind, decided: tuple[Decided, ...]) -> str:
    first, rest = decided[0], len(decided) - 1
    more = f" and {rest} more" if rest else ""
    return f"{kind} {first.name} sha256:{first.digest.short}{more}"


def _images(decided: tuple[Decided, ...]) -> tuple[tuple[str, str], ...]:
    return tuple(("Image", f"{one.name} {one.version} {one.digest}") for one in decided)
