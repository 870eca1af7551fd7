"""Who may write which kind of record: the table `[ledger.writers]`, and how a commit is judged by it.

Rules: what counts is the table on the protected branch, with the list of signers there, as they are now; a
kind that is listed needs a signature by a key of one of its principals, made for git; a key counts when it
counted at the commit's time and at the latest time of the signed commits before it, so that one that went out
of use cannot sign by dating back; a revoked key never counts. Decisions prove themselves and are not listed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field, model_validator

from pipeline.domain.allowed_signers import AllowedKey, AllowedSigners
from pipeline.domain.approval_settings import Principal
from pipeline.domain.definition import Definition, Pattern
from pipeline.domain.record import Kind, Record
from pipeline.domain.text import plain
from pipeline.errors import LedgerError

NAMESPACE = "git"
"""What git signs for."""

_PROVED = (Kind.APPROVAL, Kind.REJECTION, Kind.WITHDRAWAL)

DEMANDABLE = frozenset(Kind) - frozenset(_PROVED)
"""The kinds of records that can be asked a signature for."""

CommitId = Annotated[str, Pattern(r"[0-9a-f]{40}|[0-9a-f]{64}", "full commit id: 40 or 64 digits, 0-9 a-f")]
Principals = Annotated[tuple[Principal, ...], Field(min_length=1)]


class WritersTable(Definition):
    """Whose signature a ledger's commit needs, by the kind of its records; kinds left out need none."""

    since: CommitId | None = None
    """The newest commit of the ledger from before this table: up to it, records are taken as they are."""
    candidate: Principals | None = None
    """Who may record candidates: whoever builds."""
    reservation: Principals | None = None
    """Who may reserve versions: whoever seals."""
    seal: Principals | None = None
    """Who may record releases."""
    yank: Principals | None = None
    """Who may mark releases as bad."""
    deployment: Principals | None = None
    """Who may record what hosts were led to: whoever rolls back."""
    retention: Principals | None = None
    """Who may record what is deleted: whoever prunes."""

    @model_validator(mode="before")
    @classmethod
    def _no_decisions(cls, values: Any) -> Any:
        named = [kind.value for kind in _PROVED if isinstance(values, Mapping) and kind.value in values]
        if named:
            raise ValueError(
                f"{', '.join(named)}: decisions are signed by their own, and [approval] says whose count; "
                "leave them out"
            )
        return values

    def allowed(self) -> dict[Kind, frozenset[str]]:
        """Return the kinds that need a signature, and whose."""
        listed = {kind: getattr(self, kind.value, None) for kind in Kind}
        return {kind: frozenset(names) for kind, names in listed.items() if names}


@dataclass(frozen=True, slots=True, kw_only=True)
class WriterRules:
    """What the protected branch says about writers.

    Attributes:
        allowed: Kind to the principals that may write it; other kinds anybody may.
        since: Commit up to which records are taken as they are, or None.
        signers: The list of signers there.
        revoked: Fingerprints of the keys on that list that were revoked.
        source: Where it was read, with the commit, for people.
    """

    allowed: Mapping[Kind, frozenset[str]]
    since: str | None = None
    signers: AllowedSigners
    revoked: frozenset[str] = frozenset()
    source: str

    def demanding(self, kinds: Iterable[Kind]) -> tuple[Kind, ...]:
        """Return those of the kinds that need a signature, in order."""
        wanted = frozenset(kinds)
        return tuple(kind for kind in Kind if kind in wanted and kind in self.allowed)

    def refusal(self, kinds: Iterable[Kind], key: str, moments: Iterable[int]) -> str:
        """Return why a key may not sign records of these kinds; "" when it may.

        Args:
            kinds: The kinds of the records of one commit.
            key: The key's fingerprint.
            moments: The times at which it has to count, in seconds since 1970.
        """
        lines = [one for one in self.signers.keys if one.key == key]
        if not lines:
            return f"the key {plain(key, 80)} is nobody's on the list of signers"
        if key in self.revoked:
            return f"the key {plain(key, 80)} of {_names(lines)} was revoked"
        times = tuple(moments)
        good = [one for one in lines if all(one.counts_at(moment) for moment in times)]
        if not good:
            return f"the key {plain(key, 80)} of {_names(lines)} did not count at that time"
        fit = [one for one in good if one.may_sign(NAMESPACE)]
        if not fit:
            return f'the key {plain(key, 80)} of {_names(good)} may not sign for "{NAMESPACE}"'
        mine = frozenset(name for one in fit for name in one.principals)
        for kind in self.demanding(kinds):
            if not mine & self.allowed[kind]:
                return f"it is signed by {_names(fit)}"
        return ""

    def wanted(self, kinds: Iterable[Kind]) -> str:
        """Return in words who may write records of these kinds."""
        listed = ((kind, sorted(self.allowed[kind])) for kind in self.demanding(kinds))
        return "; ".join(f"{kind} records are for {', '.join(names)}" for kind, names in listed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Breach:
    """A commit of the ledger whose author may not write what it holds.

    Attributes:
        commit: Its full id.
        titles: Its records, in words, each with the begin of its id.
        images: What they speak of, `line/image`.
        committer: Whom the commit names, which proves nothing.
        why: What is wrong with its signature.
        wanted: Who may write such records.
        source: Where that was read.
    """

    commit: str
    titles: tuple[str, ...]
    images: frozenset[str]
    committer: str
    why: str
    wanted: str
    source: str

    def __str__(self) -> str:
        more = f" and {len(self.titles) - 1} more" if len(self.titles) > 1 else ""
        return (
            f"{self.titles[0]}{more}, in commit {self.commit[:12]} by {self.committer}: {self.why}; "
            f"{self.wanted} ({self.source})"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Sifted:
    """A ledger's records, oldest first, without those of the commits that breach the rule."""

    records: tuple[Record, ...]
    breaches: tuple[Breach, ...] = ()


def refused(breaches: Sequence[Breach]) -> LedgerError:
    """Return the error of a ledger with such commits, one at least."""
    more = f"; {len(breaches) - 1} more commits are like it" if len(breaches) > 1 else ""
    return LedgerError(
        f"the ledger holds what its author may not write: {breaches[0]}{more}",
        hint="find out who pushed it and have it taken off the branch; where a person finds these records "
        "right, let `since` in [ledger.writers] of the protected branch name the commit",
    )


def _names(lines: Iterable[AllowedKey]) -> str:
    return ", ".join(sorted({name for one in lines for name in one.principals}))
