"""`pipeline status`: what waits, what runs, what is wrong, by the ledger read once; the worst first.

Rules: quick before exact. Evidence that is recorded counts as held, and gates are what the record says, for
asking the registry would cost requests per candidate: `review` and `seal` check for real. Approvals are
checked for real, against the protected branch; where that cannot be read, it is said that nobody knows the
rule. Where the ledger's remote cannot be reached, what this clone saw last is shown, and said so.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Protocol

from pipeline.domain.decision import Approval, Release
from pipeline.domain.image import Digest, Tier
from pipeline.domain.overview import Overview
from pipeline.domain.protected_rules import ProtectedRules
from pipeline.domain.record import Candidate, LedgerReader, Record
from pipeline.domain.seen import Status
from pipeline.domain.trouble import HostStatus, ImageStatus, troubles
from pipeline.domain.waiting import Wait, waits_for, waits_unruled
from pipeline.errors import PipelineError
from pipeline.verbs.knowing import Authors, Newcomers, paths_of
from pipeline.verbs.releases import latest_records
from pipeline.verbs.standing import Known, RuleBook, Signatures, Standings


class Branch(RuleBook, Newcomers, Protocol):
    """The protected branch: who may decide, and which keys a change brought."""


def status(
    ledger: LedgerReader,
    *,
    defined: Mapping[str, Tier],
    branch: Branch,
    authors: Authors,
    signatures: Signatures,
    now: dt.datetime,
    line: str | None = None,
) -> Status:
    """Return how everything stands.

    Args:
        ledger: Where the records are; read once.
        defined: Every image of the definitions (`line/image`) and its tier.
        branch: What the protected branch says.
        authors: Tells who changed the definitions.
        signatures: Checks the proofs of approvals.
        now: UTC, whole seconds.
        line: One line alone; None for all.

    Raises:
        LedgerError: The ledger is damaged, rewritten or not understood.
    """
    records, stale = latest_records(ledger)
    overview = Overview(records)
    waiting = _Waiting(records, overview, branch, authors, signatures, now)
    names = [name for name in sorted({*overview.names, *defined}) if line in (None, name.partition("/")[0])]
    images = tuple(_image(name, defined.get(name), overview, waiting) for name in names)
    shown = frozenset(names)
    hosts = tuple(
        HostStatus(view=view, channel=overview.lineage.channel(view.name))
        for view in overview.hosts
        if view.name in shown
    )
    return Status(
        now=now,
        troubles=troubles(images, hosts, overview, now),
        images=images,
        hosts=hosts,
        notices=tuple(filter(None, (stale, waiting.notice))),
    )


class _Waiting:
    """Tells what candidates wait for; the protected branch is read when the first one is asked about."""

    def __init__(
        self,
        records: Sequence[Record],
        overview: Overview,
        branch: Branch,
        authors: Authors,
        signatures: Signatures,
        now: dt.datetime,
    ) -> None:
        self._records, self._overview = records, overview
        self._branch, self._signatures, self._now = branch, signatures, now
        # The images of a run share their commits: each question to git is asked once.
        self._authors, self._newcomers = cache(authors.authors), cache(self._asked)
        self._rules: ProtectedRules | None = None
        self._standings: Standings | None = None
        self._approvals: dict[Digest, int] = {}
        self.notice = ""

    def of(self, candidate: Candidate) -> Wait:
        """Return what a candidate that is no release waits for."""
        if self._standings is None and not self.notice:
            self._open()
        approvals = self._approvals.get(candidate.digest, 0)
        if self._standings is None:
            return waits_unruled(candidate, self._overview, approvals)
        standing = self._standings.of(candidate, self._known(candidate, asked=approvals > 0))
        return waits_for(standing.facts, standing.rule, self._overview)

    def _open(self) -> None:
        for record in self._records:
            if isinstance(record, Approval):
                for one in record.decided:
                    self._approvals[one.digest] = self._approvals.get(one.digest, 0) + 1
        try:
            self._rules = self._branch.read()
        except PipelineError as error:
            self.notice = f"who may approve is not known: {error.message}"
            return
        self._standings = Standings(self._records, self._rules, self._signatures, now=self._now)

    def _known(self, candidate: Candidate, *, asked: bool) -> Known:
        """Return what is known; git is `asked` only about changes that somebody approved."""
        name = f"{candidate.line}/{candidate.image}"
        before = self._overview.lineage.newest(name)
        old = None if before is None else self._overview.candidate_of(before)
        since, until = (None if old is None else old.source.commit), candidate.source.commit
        # As `seal` asks: without the release's own candidate, the whole history counts as the change.
        known = asked and until is not None
        return Known(
            predecessor=None if before is None else Release(version=before.version, digest=before.digest),
            authors=self._authors(since, until, paths_of(candidate)) if known else None,
            gates={one.gate: one.verdict for one in candidate.gates},
            held=frozenset(candidate.evidence),
            newcomers=self._newcomers(since, until) if asked else frozenset(),
        )

    def _asked(self, since: str | None, until: str | None) -> frozenset[str]:
        assert self._rules is not None  # noqa: S101 - read before
        return self._branch.newcomers(self._rules, since, until)


def _image(name: str, tier: Tier | None, overview: Overview, waiting: _Waiting) -> ImageStatus:
    candidate = overview.candidate(name)
    if candidate is not None and overview.lineage.at(name, candidate.digest) is not None:
        candidate = None
    built = candidate or overview.lineage.newest(name)
    return ImageStatus(
        name=name,
        tier=tier or (None if built is None else built.tier),
        candidate=candidate,
        waits=None if candidate is None else waiting.of(candidate),
        newest=overview.lineage.newest(name),
        released=bool(overview.lineage.releases(name)),
    )
