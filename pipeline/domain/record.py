"""Records of the ledger: what happened, as frozen values with one JSON form each.

Rules: a record's id is the hash of its content, so that the same record has the same id wherever it is
written and an edited one no longer fits its name; every text is one line without control characters, so that
`git log` and terminals show what is there. A kind is listed in `Kind` only when it can be written and read in
full. Reading back is `record_parser`'s job.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar, Protocol

from pipeline.domain.canonical import Json, canonical_digest, canonical_json
from pipeline.domain.gate import GateResult, Verdict
from pipeline.domain.image import NAME, RELEASE_TAG, Digest, ImageRef, Repository, Tier
from pipeline.domain.record_codec import require_moment, to_json
from pipeline.domain.text import plain
from pipeline.errors import UsageError

SCHEMA = 1
"""Version of the records' form that this program writes, and the newest it understands."""

TEXT_LIMIT = 1000
"""Characters of one text in a record."""

DIRTY_LIMIT = 50
"""Changed paths that a record names."""

# A fixed list, not the Unicode tables of whichever Python runs: a record must be readable on all of them.
_UNFIT = re.compile("[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


class Kind(StrEnum):
    """What a record can tell."""

    CANDIDATE = "candidate"
    APPROVAL = "approval"
    REJECTION = "rejection"
    WITHDRAWAL = "withdrawal"
    RESERVATION = "reservation"
    SEAL = "seal"
    YANK = "yank"
    DEPLOYMENT = "deployment"
    RETENTION = "retention"


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What every kind of record has.

    Attributes:
        time: When it was recorded; UTC, whole seconds, as all times here.
        author: Who recorded it, for people; what proves a person is in the kinds that need one.
    """

    kind: ClassVar[Kind]

    time: dt.datetime
    author: str

    def check(self) -> None:
        """Refuse what no record can hold; every kind calls it first.

        Raises:
            UsageError: The time or the author does not do.
        """
        require_moment(self.time)
        require_text("the author", self.author)

    @property
    def id(self) -> str:
        """Hash of the record's content, 64 hexadecimal digits."""
        return canonical_digest(self.content()).hex

    @property
    def title(self) -> str:
        """The record in one line, as the subject of its commit."""
        raise NotImplementedError

    def summary(self) -> tuple[tuple[str, str], ...]:
        """Return what `git log` shows of the record, as key and value."""
        raise NotImplementedError

    def names(self) -> frozenset[str]:
        """Return the images it speaks of, as `line/image`."""
        raise NotImplementedError

    def content(self) -> dict[str, Json]:
        """Return the record as JSON values, without its id."""
        return {"schema": SCHEMA, "kind": self.kind.value, **to_json(self)}


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceState:
    """The git state of the folder that holds the definitions.

    Attributes:
        commit: Full id of the commit that was checked out; None without a repository or a first commit.
        clean: Whether everything there is in that commit (ignored files aside); None when that is unknown.
        dirty: Paths that differ from the commit, sorted, at most `DIRTY_LIMIT` of them.
    """

    commit: str | None = None
    clean: bool | None = None
    dirty: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.commit is not None and not _COMMIT.fullmatch(self.commit):
            raise UsageError(f"{self.commit!r} is no git commit", hint="give the full id, 40 or 64 digits")
        if self.clean and self.dirty:
            raise UsageError(
                "a clean source has no changed paths", hint="set clean to false, or name no path"
            )
        for path in self.dirty:
            require_text("a changed path", path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parent:
    """The image a candidate was built on: its name (`debian/upstream`) and exact digest."""

    image: str
    digest: Digest

    def __post_init__(self) -> None:
        require_text("the parent's name", self.image)


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a mirrored image came from: the reference that was asked for and the digest it had."""

    reference: str
    digest: Digest

    def __post_init__(self) -> None:
        require_text("the origin's reference", self.reference)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedPins:
    """The kernel, its kernel-devel package version, and module name to version, as they were built."""

    kernel: str
    kernel_devel: str
    modules: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for text in (self.kernel, self.kernel_devel, *self.modules, *self.modules.values()):
            require_text("a pin", text)


@dataclass(frozen=True, slots=True, kw_only=True)
class GateRecord:
    """One gate's answer, without the details, which are evidence."""

    gate: str
    verdict: Verdict
    summary: str

    def __post_init__(self) -> None:
        require_text("a gate's name", self.gate)
        require_text("a gate's summary", self.summary, empty=True)

    @classmethod
    def of(cls, result: GateResult) -> GateRecord:
        """Return the record of a gate's result; what the image put into the summary is made harmless."""
        return cls(gate=result.gate, verdict=result.finding.verdict, summary=harmless(result.finding.summary))

    @property
    def ok(self) -> bool:
        """Whether this answer lets a candidate go on."""
        return self.verdict.ok


@dataclass(frozen=True, slots=True, kw_only=True)
class Builder:
    """Who built: the user or CI job, and what kind of host it ran on."""

    identity: str
    host: str

    def __post_init__(self) -> None:
        require_text("the builder's identity", self.identity)
        require_text("the builder's host", self.host)


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate(Record):
    """A built image with its evidence.

    Attributes:
        run: Id of the run that built it; the images of one fleet share it.
        line, image, tier, repository, digest, tag: The image and where its candidate lies.
        parent: The image it was built on; None for an upstream.
        origin: What a mirrored upstream was copied from; None otherwise.
        pins: What was compiled against what; None where nothing is pinned.
        source: Git state of the definitions.
        gates: Every gate's answer.
        builder, started, finished: By whom and when it was built.
        packages: Digest of the package set, where it is known.
        evidence: Name of a piece of evidence to its sha256.
    """

    kind: ClassVar[Kind] = Kind.CANDIDATE

    run: str
    line: str
    image: str
    tier: Tier
    repository: Repository
    digest: Digest
    tag: str
    parent: Parent | None = None
    origin: Origin | None = None
    pins: RecordedPins | None = None
    source: SourceState
    gates: tuple[GateRecord, ...] = ()
    builder: Builder
    started: dt.datetime
    finished: dt.datetime
    packages: Digest | None = None
    evidence: Mapping[str, Digest] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.check()
        for moment in (self.started, self.finished):
            require_moment(moment)
        require_text("the run's id", self.run)
        for name in (self.line, self.image):
            if not NAME.fullmatch(name):
                raise UsageError(
                    f"{name!r} is no image name", hint="use lower-case letters, digits and '-', 63 at most"
                )
        if RELEASE_TAG.fullmatch(self.tag):
            raise UsageError(
                f"a candidate may not bear the release tag {self.tag}", hint="only `pipeline seal` releases"
            )
        ImageRef(repository=self.repository, tag=self.tag, digest=self.digest)
        for name in self.evidence:
            require_text("a piece of evidence's name", name)

    @property
    def title(self) -> str:
        """The record in one line, as the subject of its commit."""
        return f"{self.kind} {self.line}/{self.image} sha256:{self.digest.short}"

    @property
    def ok(self) -> bool:
        """Whether every gate let it go on; without any gate, no."""
        return bool(self.gates) and all(gate.ok for gate in self.gates)

    def names(self) -> frozenset[str]:
        """Return its image."""
        return frozenset({f"{self.line}/{self.image}"})

    def summary(self) -> tuple[tuple[str, str], ...]:
        """Return what `git log` shows of the record, as key and value."""
        return (
            ("Image", f"{self.line}/{self.image}"),
            ("Tier", self.tier),
            ("Digest", f"{self.repository}@{self.digest}"),
            ("Parent", "none" if self.parent is None else f"{self.parent.image}@{self.parent.digest}"),
            ("Kernel", "none" if self.pins is None else self.pins.kernel),
            ("Gates", "passed" if self.ok else "NOT PASSED"),
            ("Source", f"{self.source.commit or 'none'} {_cleanliness(self.source.clean)}"),
            ("Builder", self.builder.identity),
            ("Record", self.id),
        )


def candidates(records: Iterable[Record]) -> tuple[Candidate, ...]:
    """Return the candidates among records, in their order."""
    return tuple(record for record in records if isinstance(record, Candidate))


class LedgerReader(Protocol):
    """Reads the ledger."""

    def read(self, *, offline: bool = False) -> tuple[Record, ...]:
        """Return every record, oldest first; `offline` asks no remote and may miss the newest.

        Raises:
            LedgerError: The ledger is damaged, rewritten or not understood.
            LedgerRemoteError: The remote cannot be reached.
        """


class LedgerWriter(Protocol):
    """Adds to the ledger."""

    def append(self, records: Sequence[Record]) -> str:
        """Write records in one commit and return its id.

        Raises:
            LedgerError: The ledger is damaged, rewritten or not understood.
            LedgerRaceError: Other writers kept winning.
            LedgerRemoteError: The remote cannot be reached or refuses; the records are kept in this clone.
        """


def record_path(record: Record) -> str:
    """Return the record's file in the ledger's tree: a name of its own, so that no two writers collide."""
    return f"records/{record.time.year:04d}/{record.time.month:02d}/{record.id}.json"


def record_bytes(record: Record) -> bytes:
    """Return the record's file content, canonical JSON."""
    return canonical_json(record_json(record))


def record_json(record: Record) -> dict[str, Json]:
    """Return the record as JSON values, with its id."""
    return {**record.content(), "id": record.id}


def harmless(text: str) -> str:
    """Return any text as one a record can hold: one line, no control characters, not too long."""
    return _UNFIT.sub("?", plain(text, TEXT_LIMIT))


def require_text(what: str, text: object, *, empty: bool = False) -> None:
    """Let a text pass that a record can hold: one line without control characters.

    Raises:
        UsageError: It is no text, empty where it may not be, too long, or has characters that do not show.
    """
    if not isinstance(text, str):
        raise UsageError(f"{what} is no text: {text!r}", hint="give one line of text")
    if _UNFIT.search(text) or len(text) > TEXT_LIMIT or not (text or empty):
        raise UsageError(
            f"{what} cannot be recorded: {plain(text, 80)!r}",
            hint=f"give one line of 1 to {TEXT_LIMIT} characters without control characters",
        )


def _cleanliness(clean: bool | None) -> str:  # noqa: FBT001 - three answers, not a switch
    return {True: "clean", False: "with changes that are in no commit", None: "(state unknown)"}[clean]
