"""What a seal is made with, and the plan of one: everything that was found out before anything is written."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from pipeline.domain.approvals import Vote
from pipeline.domain.decision import Approval, Release
from pipeline.domain.events import Reporter
from pipeline.domain.image import Digest, ImageRef, Repository
from pipeline.domain.lineage import aliases_of
from pipeline.domain.oci import Descriptor
from pipeline.domain.protected_rules import ProtectedRules
from pipeline.domain.record import Candidate
from pipeline.domain.release import Reservation, Seal
from pipeline.domain.sealing import PlannedSeal, ProposedBump, SealSummary, TagOrder, git_tag
from pipeline.domain.signature import VerifyKey
from pipeline.verbs.host_pull import HostPull
from pipeline.verbs.knowing import Knowing
from pipeline.verbs.signing import FurtherSigner, SignatureStore, Signer, UnsafeUnsigned
from pipeline.verbs.standing import DecisionLedger, Known, RuleBook, Signatures

Signing: TypeAlias = Signer | UnsafeUnsigned
"""What signs, or the explicit word that nothing does."""


class SealRegistry(Protocol):
    """The registry of the images; `adapters.registry.Registry` is one. Called from several threads."""

    def resolve(self, ref: ImageRef) -> Descriptor:
        """Return what a reference names now."""

    def manifest(self, ref: ImageRef) -> bytes:
        """Return a manifest, compared with its digest."""

    def has_blob(self, repository: Repository, digest: Digest) -> bool:
        """Tell whether a repository has a blob."""

    def put_manifest(self, repository: Repository, reference: str | Digest, data: bytes) -> Digest:
        """Write a manifest under a tag, read the tag again and return its digest."""


class ReleaseTags(Protocol):
    """Git tags of releases; `adapters.gittags.GitTags` writes them."""

    def require(self, orders: Sequence[TagOrder]) -> None:
        """Return if these tags can be written; nothing is."""

    def sign(self, orders: Sequence[TagOrder]) -> None:
        """Sign the tags that are not there yet; nothing of it shows before `write`."""

    def write(self, orders: Sequence[TagOrder]) -> None:
        """Write the tags; those that are there already as wanted stay."""


def _go_on(_step: str) -> None:
    """Do nothing after a step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Further:
    """A second signature, with an identity in place of a key; whether the seal may go on without it."""

    signer: FurtherSigner
    required: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SealParts:
    """What a seal is made with.

    Attributes:
        ledger, rules, signatures: Where it is recorded, who may approve, how proofs are checked.
        knowing: Evidence and authors of candidates.
        registry: The images' registry.
        keys: Public keys that hosts trust, or will.
        signer: What signs the releases, or the explicit word that nothing does.
        further: What signs once more, as evidence that hosts do not look at; None for nothing.
        signed: Where signatures and attestations are kept.
        host_pull: Asks hosts' own skopeo.
        tags: Writes git tags.
        author: Who records it, for people.
        clock: Tells the time; UTC, whole seconds.
        reporter: Shows progress.
        on_step: Told the name of each step when it is done, from any thread.
        warnings: What weakens this run, told again at the end.
        jobs: Images worked on at once.
    """

    ledger: DecisionLedger
    rules: RuleBook
    signatures: Signatures
    knowing: Knowing
    registry: SealRegistry
    keys: tuple[VerifyKey, ...]
    signer: Signing
    signed: SignatureStore
    host_pull: HostPull
    tags: ReleaseTags
    author: str
    clock: Callable[[], dt.datetime]
    reporter: Reporter
    further: Further | None = None
    on_step: Callable[[str], None] = _go_on
    warnings: tuple[str, ...] = ()
    jobs: int = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealing:
    """One image that is to be released.

    Attributes:
        candidate: Its record.
        subject: Its manifest, as the registry has it.
        version: What it is released as.
        reserved: Whether an earlier run reserved that version.
        before: The release before it, or None.
        parent: The release it is built on; None for an upstream.
        bump: What the difference proposes.
        known: What is known of it beside the ledger.
        votes: The approvals that count.
        what, why: From the approvals.
    """

    candidate: Candidate
    subject: Descriptor
    version: str
    reserved: bool
    before: Seal | None
    parent: Release | None
    bump: ProposedBump
    known: Known
    votes: tuple[Vote, ...]
    what: str
    why: str

    @property
    def name(self) -> str:
        """`line/image`."""
        return f"{self.candidate.line}/{self.candidate.image}"

    @property
    def ref(self) -> ImageRef:
        """The image by its digest."""
        return self.candidate.repository.at(self.candidate.digest)

    @property
    def tag(self) -> str:
        """The release tag."""
        return f"v{self.version}"

    @property
    def aliases(self) -> tuple[str, ...]:
        """The tags that move to it."""
        return aliases_of(self.version, self.candidate.tier)

    @property
    def git_tag(self) -> str:
        """Name of its git tag; "" where it was built from no commit."""
        return git_tag(self.name, self.version) if self.candidate.source.commit else ""

    @property
    def approvals(self) -> tuple[str, ...]:
        """Ids of the approvals that count, sorted."""
        return tuple(sorted({vote.approval for vote in self.votes}))

    @property
    def approvers(self) -> tuple[str, ...]:
        """Who approved, sorted."""
        return tuple(sorted({vote.identity for vote in self.votes}))

    def reservation(self, time: dt.datetime, author: str) -> Reservation:
        """Return the record that keeps its version for it."""
        one = self.candidate
        return Reservation(
            time=time,
            author=author,
            line=one.line,
            image=one.image,
            repository=one.repository,
            digest=one.digest,
            version=self.version,
            approvals=self.approvals,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SealPlan:
    """What a seal is going to do.

    Attributes:
        sealings: The images that are to be released, sorted by name.
        already: Those that are released, as whatever version.
        rules: What the protected branch says.
        approvals: The decisions that count, by id.
        warnings: What a person has to know.
    """

    sealings: tuple[Sealing, ...]
    already: tuple[Seal, ...]
    rules: ProtectedRules
    approvals: tuple[Approval, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def summary(self) -> SealSummary:
        """What people are shown of it."""
        return SealSummary(
            planned=tuple(
                PlannedSeal(
                    name=one.name,
                    version=one.version,
                    before=None if one.before is None else one.before.version,
                    digest=one.candidate.digest,
                    bump=one.bump,
                    approvers=one.approvers,
                    tags=(one.tag, *one.aliases),
                    git_tag=one.git_tag,
                    what=one.what,
                    why=one.why,
                    reserved=one.reserved,
                )
                for one in self.sealings
            ),
            already=self.already,
            warnings=self.warnings,
        )
