"""What becomes of approved images: reservation, seal, yank, deployment on hosts, retention.

Rules: a version is reserved before its tag is written, so that of two seals one wins; a seal is the last
record of a release and names everything that proves it; a release is never changed, only yanked; what a host
runs is known from deployments alone, and what was deleted stays on record.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar

from pipeline.domain.decision import Release, require_id, require_version
from pipeline.domain.image import NAME, Digest, Repository, Tier
from pipeline.domain.record import Kind, Record, require_text
from pipeline.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Released(Record):
    """What records about one version of one image have in common.

    Attributes:
        line, image, repository, digest: The image.
        version: MAJOR.MINOR.PATCH.
    """

    line: str
    image: str
    repository: Repository
    digest: Digest
    version: str

    def check(self) -> None:
        """Refuse what no record can hold.

        Raises:
            UsageError: A name, a version or a time does not do.
        """
        Record.check(self)
        for name in (self.line, self.image):
            if not NAME.fullmatch(name):
                raise UsageError(f"{name!r} is no image name", hint="use lower-case letters, digits and '-'")
        require_version(self.version)

    @property
    def name(self) -> str:
        """`line/image`."""
        return f"{self.line}/{self.image}"

    @property
    def title(self) -> str:
        """The record in one line."""
        return f"{self.kind} {self.name} v{self.version} sha256:{self.digest.short}"

    def names(self) -> frozenset[str]:
        """Return its image."""
        return frozenset({self.name})

    def summary(self) -> tuple[tuple[str, str], ...]:
        """Return what `git log` shows of the record."""
        return (
            ("Image", self.name),
            ("Version", f"v{self.version}"),
            ("Digest", f"{self.repository}@{self.digest}"),
            *self._more(),
            ("Record", self.id),
        )

    def _more(self) -> tuple[tuple[str, str], ...]:
        return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation(Released):
    """A version that is about to be sealed for one digest, and for no other from then on.

    Attributes:
        approvals: Ids of the approvals it rests on, sorted.
    """

    kind: ClassVar[Kind] = Kind.RESERVATION

    approvals: tuple[str, ...]

    def __post_init__(self) -> None:
        self.check()
        _require_ids(self.approvals)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seal(Released):
    """A release: everything that makes it one, written when all of it is there.

    Attributes:
        tier: The image's tier.
        candidate: Id of the candidate's record.
        approvals: Ids of the approvals, sorted.
        parent: The release it is built on; None for an upstream.
        predecessor: The release before it, or None.
        evidence: Kind of evidence to the sha256 of the document.
        signatures: Name of a signature or attestation to the digest of its manifest.
        aliases: Tags that were moved to it.
        git_tag: Name of the signed git tag, or "" where there is no repository to tag.
        bump: Which part of the version was raised, and the reasons, in words.
        what, why: From the approval.
        approvers: Who approved, sorted.
    """

    kind: ClassVar[Kind] = Kind.SEAL

    tier: Tier
    candidate: str
    approvals: tuple[str, ...]
    parent: Release | None = None
    predecessor: Release | None = None
    evidence: Mapping[str, Digest] = field(default_factory=dict)
    signatures: Mapping[str, Digest] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()
    git_tag: str = ""
    bump: tuple[str, ...] = ()
    what: str
    why: str
    approvers: tuple[str, ...]

    def __post_init__(self) -> None:
        self.check()
        require_id(self.candidate)
        _require_ids(self.approvals)
        for what, text in (("what changed", self.what), ("the reason", self.why)):
            require_text(what, text)
        for text in (*self.approvers, *self.aliases, *self.bump, *self.signatures, *self.evidence):
            require_text("a name", text)
        require_text("the git tag", self.git_tag, empty=True)

    def _more(self) -> tuple[tuple[str, str], ...]:
        return (
            ("What", self.what),
            ("Why", self.why),
            ("Approved-by", ", ".join(self.approvers)),
            ("Before", "none" if self.predecessor is None else f"v{self.predecessor.version}"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Yank(Released):
    """A release that nothing new may be built on or moved to."""

    kind: ClassVar[Kind] = Kind.YANK

    why: str

    def __post_init__(self) -> None:
        self.check()
        require_text("the reason", self.why)

    def _more(self) -> tuple[tuple[str, str], ...]:
        return (("Why", self.why),)


class Step(StrEnum):
    """How far a host is on its way to a release."""

    WANTED = "wanted"
    CHANNEL = "channel"
    STAGED = "staged"
    BOOTED = "booted"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment(Released):
    """One step of bringing a release to a host.

    Attributes:
        host: The host's name; its image is named like it.
        step: What was done or seen.
        why: Why, or what went wrong.
        before: The release before, where it is known.
    """

    kind: ClassVar[Kind] = Kind.DEPLOYMENT

    host: str
    step: Step
    why: str
    before: Release | None = None

    def __post_init__(self) -> None:
        self.check()
        require_text("the host", self.host)
        require_text("the reason", self.why)

    @property
    def title(self) -> str:
        """The record in one line."""
        return f"{self.kind} {self.host} {self.step} v{self.version} sha256:{self.digest.short}"

    def _more(self) -> tuple[tuple[str, str], ...]:
        return (("Host", self.host), ("Step", self.step), ("Why", self.why))


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """A manifest that was deleted, and why it could go."""

    repository: Repository
    digest: Digest
    reason: str

    def __post_init__(self) -> None:
        require_text("the reason", self.reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention(Record):
    """What one run of `prune` deleted, sorted by repository and digest."""

    kind: ClassVar[Kind] = Kind.RETENTION

    removed: tuple[Removed, ...]

    def __post_init__(self) -> None:
        self.check()
        if not self.removed:
            raise UsageError("nothing was deleted", hint="record what was deleted, or nothing")

    @property
    def title(self) -> str:
        """The record in one line."""
        return f"{self.kind} removed {len(self.removed)} manifests"

    def names(self) -> frozenset[str]:
        """Return the repositories' last two parts, which are `line/image`."""
        return frozenset("/".join(one.repository.path.split("/")[-2:]) for one in self.removed)

    def summary(self) -> tuple[tuple[str, str], ...]:
        """Return what `git log` shows of the record."""
        return tuple(("Removed", f"{one.repository}@{one.digest}: {one.reason}") for one in self.removed)


def _require_ids(ids: tuple[str, ...]) -> None:
    for one in ids:
        require_id(one)
    if list(ids) != sorted(set(ids)):
        raise UsageError("ids are sorted, each once", hint="name each approval once")
