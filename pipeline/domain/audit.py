"""What an audit can find, and how the tags of a registry are judged by the ledger.

Rules: a tag names what the last record that moved it says; what looks like a release and is in no record was
added by somebody; what a record names and nobody pruned must be there. A seal or a rollback that is under way
leaves its tags before its record: that is told as unfinished, with the command that finishes it, for nothing
was forged then. Every finding says what was expected, what is there, and what to do.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from pipeline.domain.image import RELEASE_TAG, Digest, Repository, Tier
from pipeline.domain.lineage import CHANNEL, aliases_of
from pipeline.domain.lookback import LookBack
from pipeline.domain.release import Reservation, Seal
from pipeline.domain.text import plain


class What(StrEnum):
    """The kinds of findings; the value is part of the command line's contract."""

    MOVED = "tag-moved"
    REPUSHED = "tag-repushed"
    ADDED = "tag-added"
    DELETED = "tag-deleted"
    CHANNEL = "channel-moved"
    REPOSITORY = "repository-gone"
    SIGNATURE = "signature"
    ATTESTATION = "attestation-gone"
    EVIDENCE = "evidence-gone"
    KEY = "approval-key"
    PARENT = "parent-yanked"
    RECORD = "seal-record"
    WRITER = "record-writer"
    CHAIN = "not-verified"
    UNSIGNED = "unsigned"
    YANKED = "yanked-in-use"
    UNFINISHED = "unfinished"
    PRUNED = "pruned-still-there"


NOTES = frozenset({What.UNSIGNED, What.YANKED, What.UNFINISHED, What.PRUNED})
"""What a person has to know, and nobody did behind our back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is not as the ledger says, or that a person has to know.

    Attributes:
        what: Its kind.
        image: `line/image`, "" where it is of several.
        release: The tag or version, "" where it is of the whole image.
        text: What is there and what was expected.
        todo: What to do next.
    """

    what: What
    image: str = ""
    release: str = ""
    text: str
    todo: str

    @property
    def note(self) -> bool:
        """Whether it is no fault."""
        return self.what in NOTES


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """A repository in which an image's releases lie, or in which its definition puts them.

    Attributes:
        image: `line/image`.
        repository: Where.
        tags: Every tag there; None when there is no such repository.
        named: Tags that look like releases, and what they name.
    """

    image: str
    repository: Repository
    tags: frozenset[str] | None = None
    named: Mapping[str, Digest] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditReport:
    """What an audit looked at and found.

    Attributes:
        images, releases: How many were looked at.
        findings: In order of image and release.
        deep: Whether every release's whole chain was verified.
    """

    images: int
    releases: int
    findings: tuple[Finding, ...]
    deep: bool = False

    @property
    def faults(self) -> tuple[Finding, ...]:
        """What is not as the ledger says."""
        return tuple(one for one in self.findings if not one.note)

    @property
    def ok(self) -> bool:
        """Whether everything is as the ledger says."""
        return not self.faults


def homes_of(look: LookBack, defined: Mapping[str, Repository]) -> tuple[Home, ...]:
    """Return every repository that ledger or definitions put an image into, sorted, not looked into yet."""
    found = {(name, repository) for name, repository in defined.items()}
    found |= {(f"{one.line}/{one.image}", one.repository) for one in look.candidates}
    found |= {(name, one.repository) for name in look.lineage.names for one in look.lineage.releases(name)}
    ordered = sorted(found, key=lambda pair: (pair[0], str(pair[1])))
    return tuple(Home(image=name, repository=repository) for name, repository in ordered)


def expected_tags(home: Home, look: LookBack) -> dict[str, Digest]:
    """Return the tags that must be in a repository, and what each must name."""
    here = {one.digest for one in kept_releases(home, look)}
    return {tag: digest for tag, digest in look.lineage.tags(home.image).items() if digest in here}


def kept_releases(home: Home, look: LookBack) -> tuple[Seal, ...]:
    """Return the releases that must lie in a repository, lowest version first."""
    return tuple(
        one
        for one in look.lineage.releases(home.image)
        if one.repository == home.repository and look.kept(one)
    )


def copied_releases(home: Home, look: LookBack) -> tuple[Seal, ...]:
    """Return the releases that a repository holds copies of; their signatures name where they were sealed."""
    if kept_releases(home, look):
        return ()
    found = look.lineage.releases(home.image)
    return tuple(one for one in found if home.named.get(f"v{one.version}") == one.digest)


def tags_to_ask(home: Home, look: LookBack) -> frozenset[str]:
    """Return the tags whose digests must be known: those that look like releases, and those missing."""
    there = frozenset(tag for tag in home.tags or () if RELEASE_TAG.fullmatch(tag))
    return there | expected_tags(home, look).keys()


def tag_findings(home: Home, look: LookBack) -> Iterator[Finding]:
    """Yield what is wrong with the tags of a repository that was looked into."""
    expected = expected_tags(home, look)
    if home.tags is None:
        yield from _gone(home, look, expected)
        return
    if not kept_releases(home, look):
        # A copy of releases that lie elsewhere: what is there has to be right, nothing has to be there.
        elsewhere = look.lineage.tags(home.image)
        expected = {tag: elsewhere[tag] for tag in home.named if tag in elsewhere}
    for tag in sorted(expected.keys() | home.named.keys()):
        found = _tag_finding(home, look, tag, expected.get(tag))
        if found is not None:
            yield found


def _gone(home: Home, look: LookBack, expected: Mapping[str, Digest]) -> Iterator[Finding]:
    built = [
        one
        for one in look.candidates
        if (f"{one.line}/{one.image}", one.repository) == (home.image, home.repository)
        and (one.repository, one.digest) not in look.removed
    ]
    if expected or built:
        held = f"{len(expected)} tags of releases" if expected else f"{len(built)} candidates"
        yield Finding(
            what=What.REPOSITORY,
            image=home.image,
            text=f"there is no repository {home.repository}; the ledger has {held} in it",
            todo="restore it from a copy or a backup of the registry; hosts cannot pull it",
        )


def _tag_finding(home: Home, look: LookBack, tag: str, expected: Digest | None) -> Finding | None:
    got = home.named.get(tag)
    if got == expected or (got is not None and _under_way(home, look, tag, got)):
        return None
    if expected is None and got is not None:
        return _added(home, look, tag, got)
    if got is None:
        return _found(
            home,
            tag,
            What.DELETED,
            f"the tag is gone; the ledger says {expected}",
            "write it back by its digest if that is still there, and see who may delete",
        )
    if tag == CHANNEL and (wanted := look.wanted(home.image)) is not None and wanted.digest == got:
        return _found(
            home,
            tag,
            What.UNFINISHED,
            f"a rollback to v{wanted.version} moved the channel and was not finished",
            f"pipeline rollback {wanted.host} v{wanted.version} --why '…' finishes it",
        )
    known = known_as(home.image, got, look)
    return _found(
        home,
        tag,
        What.CHANNEL if tag == CHANNEL else What.MOVED if known else What.REPUSHED,
        f"it names {got}, {known or 'which the ledger does not know'}; the ledger says {expected}",
        "see who pushed it; write the tag back by the digest the ledger says",
    )


def _added(home: Home, look: LookBack, tag: str, got: Digest) -> Finding:
    if (home.repository, got) in look.removed and look.lineage.tags(home.image).get(tag) == got:
        text = f"it still names {got}, which the ledger says was pruned"
        return _found(home, tag, What.PRUNED, text, "run `pipeline prune --apply` again")
    half = any(
        (f"v{one.version}", one.name, one.digest) == (tag, home.image, got) for one in look.passed_over
    )
    known = known_as(home.image, got, look) or "which the ledger does not know"
    text = f"no release has this tag; it names {got}, {known}"
    if half:
        text = f"it was reserved for {got} and never sealed; a higher version was released since"
    return _found(home, tag, What.ADDED, text, "see who pushed it, and delete the tag")


def known_as(image: str, digest: Digest, look: LookBack) -> str:
    """Return as what the ledger knows a digest, in words; "" when it does not."""
    seal = look.lineage.at(image, digest) or look.lineage.by_digest(digest)
    if seal is not None:
        return f"which is {seal.name} v{seal.version}"
    built = next((one for one in look.candidates if one.digest == digest), None)
    return "" if built is None else f"which is a candidate of {built.line}/{built.image}"


def _under_way(home: Home, look: LookBack, tag: str, got: Digest) -> bool:
    """Whether a seal that is under way, or was interrupted, wrote this tag; `unfinished` tells of it."""
    return any(
        tag in (f"v{one.version}", *aliases_of(one.version, Tier.INSTANCE))
        for one in look.unfinished
        if (one.name, one.digest) == (home.image, got)
    )


def yanked_findings(home: Home, look: LookBack) -> Iterator[Finding]:
    """Yield the aliases and channels that still lead to a yanked release."""
    for tag, digest in sorted(expected_tags(home, look).items()):
        seal = look.lineage.at(home.image, digest)
        yank = None if seal is None else look.lineage.yank_of(seal)
        if seal is None or yank is None or tag == f"v{seal.version}":
            continue
        todo = (
            f"pipeline rollback {seal.image} VERSION --why '…'"
            if tag == CHANNEL
            else "seal a release after it"
        )
        text = f"it leads to v{seal.version}, which was yanked: {plain(yank.why, 200)}"
        yield _found(home, tag, What.YANKED, text, todo)


def parent_findings(home: Home, look: LookBack) -> Iterator[Finding]:
    """Yield the good releases that are built on a yanked one, however many tiers above."""
    for seal in kept_releases(home, look):
        if look.lineage.yank_of(seal) is not None:
            continue
        above = look.parent(seal)
        while above is not None:
            yank = look.lineage.yank_of(above)
            if yank is not None:
                text = f"it is built on {above.name} v{above.version}, yanked: {plain(yank.why, 200)}"
                todo = (
                    f"release {seal.name} on a good parent, then `pipeline yank {seal.name} v{seal.version}`"
                )
                yield _found(home, f"v{seal.version}", What.PARENT, text, todo)
                break
            above = look.parent(above)


def unfinished_finding(one: Reservation) -> Finding:
    """Return the note of a version that was reserved and not sealed."""
    return Finding(
        what=What.UNFINISHED,
        image=one.name,
        release=f"v{one.version}",
        text=f"it is reserved for {one.digest} and not sealed: a seal is under way or was interrupted",
        todo=f"pipeline seal {one.repository}@{one.digest}",
    )


def repeated_findings(seals: Iterable[Seal]) -> Iterator[Finding]:
    """Yield the seals of versions that had been released before."""
    for one in seals:
        yield Finding(
            what=What.RECORD,
            image=one.name,
            release=f"v{one.version}",
            text=f"a second seal, {one.id[:12]}, says v{one.version} is {one.digest}; the first seal counts",
            todo="find out who appended it: `git log` of the ledger's branch",
        )


def _found(home: Home, tag: str, what: What, text: str, todo: str) -> Finding:
    return Finding(what=what, image=home.image, release=tag, text=text, todo=todo)
