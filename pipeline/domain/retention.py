"""Which images must stay in the registry, by the ledger and by what hosts said; and why the others may go.

Rules, each of which alone lets an image stay:
1. The newest releases of each image that were not yanked, as many as the settings say.
2. What a host runs, has staged, may fall back to, has pinned, shall run or follows. The ledger tells: from
   the boot before the last one on, all releases on the host's way and all that its channel has named since.
   Of a host that was never seen, that is every release its channel ever named. A host that told all it has is
   believed instead of that history, but not instead of its channel and of what it shall run.
3. Candidates: the newest of each image, the young ones, those with a reserved version or a valid approval.
4. Everything that an image which stays is built on, all the way down.
Yanked releases follow rules 2 and 4. What goes with an image is `retention_plan`'s job.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pipeline.domain.decision import Approval, Withdrawal
from pipeline.domain.hostcontrol.state import HostState
from pipeline.domain.image import Digest, Repository
from pipeline.domain.lineage import CHANNEL, Lineage, removed_of
from pipeline.domain.record import Candidate, Record
from pipeline.domain.release import Deployment, Reservation, Retention, Seal, Step
from pipeline.errors import UsageError

UNFINISHED = 8
"""Newest retention records of a repository that are looked into for what is recorded and still there."""

_ROLES = {
    "booted": "runs it",
    "staged": "has it staged",
    "fallback": "may fall back to it",
    "pinned": "has pinned it",
    "other": "has it installed",
}
_STEPS = {
    Step.WANTED: "was told to run it",
    Step.CHANNEL: "follows a channel that has named it since its last boots",
    Step.STAGED: "has staged it",
    Step.BOOTED: "has run it and may fall back to it",
    Step.FAILED: "failed on its way to it and may run it",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much stays: the newest releases of each image, and candidates up to an age in days."""

    releases: int = 5
    candidate_days: int = 30

    def __post_init__(self) -> None:
        if self.releases < 1 or self.candidate_days < 1:
            raise UsageError("nothing at all would stay", hint="keep at least one release, and one day")


@dataclass(frozen=True, slots=True, kw_only=True)
class HostsKnown:
    """What hosts said of themselves just now: `line/host` to its state; nothing for hosts not asked."""

    states: Mapping[str, HostState] = field(default_factory=dict)


NOBODY = HostsKnown()


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether one image stays, and every reason for it.

    Attributes:
        name: `line/image`.
        title: Which one it is, such as `v1.2.0` or `candidate`.
        released: Whether it is a release.
        keep: Whether it stays.
        reasons: Why it stays, or why it may go.
    """

    name: str
    title: str
    released: bool
    keep: bool
    reasons: tuple[str, ...]


class Images:
    """The images of a ledger, each with its verdict.

    Args:
        records: The ledger, oldest first.
        limits: How much stays.
        hosts: What hosts said.
        now: UTC.
    """

    def __init__(
        self, records: Sequence[Record], limits: Limits, *, hosts: HostsKnown = NOBODY, now: dt.datetime
    ) -> None:
        self._records = records
        self._limits = limits
        self._now = now
        self._lineage = Lineage(records)
        self._candidates = [one for one in records if isinstance(one, Candidate)]
        self._built: dict[Digest, dt.datetime] = {}
        for one in self._candidates:
            self._built[one.digest] = max(one.time, self._built.get(one.digest, one.time))
        self._why: dict[Digest, list[str]] = {}
        for digest, reason in (
            *self._newest_releases(), *self._of_hosts(hosts), *self._of_candidates(),
            *self._reserved(), *self._approved(),
        ):  # fmt: skip
            self._note(digest, reason)
        self._keep_parents()
        self.removed = removed_of(records)

    @property
    def names(self) -> tuple[str, ...]:
        """Every image, `line/image`, sorted."""
        return tuple(sorted({name_of(one) for one in self._images()}))

    def repositories(self) -> dict[Repository, str]:
        """Return every repository in which images were recorded, and the image's name."""
        return {one.repository: name_of(one) for one in self._images()}

    def in_repository(self, repository: Repository) -> dict[Digest, Verdict]:
        """Return the verdict on every image that was recorded there."""
        found: dict[Digest, Verdict] = {}
        for one in self._images():
            if one.repository == repository and one.digest not in found:
                found[one.digest] = self._verdict(name_of(one), one.digest)
        return found

    def tags(self, repository: Repository) -> dict[str, Digest]:
        """Return every tag that the ledger gives a repository, and what it must name."""
        found = {one.tag: one.digest for one in self._candidates if one.repository == repository}
        for record in self._records:
            if isinstance(record, Reservation) and record.repository == repository:
                found.setdefault(f"v{record.version}", record.digest)
        names = {name_of(one) for one in self._seals() if one.repository == repository}
        for name in names:
            found.update(self._lineage.tags(name))
        return found

    def left_over(self, repository: Repository) -> frozenset[Digest]:
        """Return what the last runs recorded as deleted from a repository; one that was killed left some."""
        batches = [
            {one.digest for one in record.removed if one.repository == repository}
            for record in self._records
            if isinstance(record, Retention)
        ]
        return frozenset().union(*[batch for batch in batches if batch][-UNFINISHED:])

    def hosts(self) -> tuple[str, ...]:
        """Return the images (`line/image`) that hosts run, sorted: with a channel or a host's record."""
        named = {one.name for one in self._records if isinstance(one, Deployment)}
        return tuple(sorted(named | {one.name for one in self._seals() if CHANNEL in one.aliases}))

    def _images(self) -> Iterator[Candidate | Seal]:
        yield from self._candidates
        yield from self._seals()

    def _seals(self) -> Iterator[Seal]:
        return (seal for name in self._lineage.names for seal in self._lineage.releases(name))

    def _verdict(self, name: str, digest: Digest) -> Verdict:
        seals = [one for one in self._lineage.releases(name) if one.digest == digest]
        keep = tuple(dict.fromkeys(self._why.get(digest, ())))
        return Verdict(
            name=name,
            title=", ".join(f"v{one.version}" for one in seals) or "candidate",
            released=bool(seals),
            keep=bool(keep),
            reasons=keep or (self._why_not(seals, digest),),
        )

    def _why_not(self, seals: Sequence[Seal], digest: Digest) -> str:
        if any(self._lineage.yank_of(one) for one in seals):
            return "was yanked, and no host may run it"
        if seals:
            return f"none of the newest {self._limits.releases} releases, and no host may run it"
        return f"a candidate of {self._age(digest).days} days; they stay {self._limits.candidate_days}"

    def _age(self, digest: Digest) -> dt.timedelta:
        return self._now - self._built[digest]

    def _note(self, digest: Digest, reason: str) -> None:
        self._why.setdefault(digest, []).append(reason)

    def _newest_releases(self) -> Iterator[tuple[Digest, str]]:
        for name in self._lineage.names:
            newest = self._lineage.good(name)[-self._limits.releases :]
            yield from ((one.digest, f"one of the newest {self._limits.releases} releases") for one in newest)

    def _of_candidates(self) -> Iterator[tuple[Digest, str]]:
        newest = {name_of(one): one.digest for one in self._candidates}
        yield from ((digest, "the newest candidate of its image") for digest in newest.values())
        days = dt.timedelta(days=self._limits.candidate_days)
        for one in self._candidates:
            if self._now - one.time < days and self._lineage.at(name_of(one), one.digest) is None:
                yield one.digest, f"a candidate younger than {self._limits.candidate_days} days"

    def _reserved(self) -> Iterator[tuple[Digest, str]]:
        for record in self._records:
            if isinstance(record, Reservation):
                sealed = {one.version for one in self._lineage.releases(record.name)}
                if record.version not in sealed:
                    yield record.digest, f"v{record.version} is reserved for it"

    def _approved(self) -> Iterator[tuple[Digest, str]]:
        taken_back = {one.approval for one in self._records if isinstance(one, Withdrawal)}
        for record in self._records:
            if not isinstance(record, Approval) or record.expires <= self._now or record.id in taken_back:
                continue
            for one in record.decided:
                if self._lineage.at(one.name, one.digest) is None:
                    yield one.digest, "its approval is still valid"

    def _of_hosts(self, hosts: HostsKnown) -> Iterator[tuple[Digest, str]]:
        ways: dict[str, list[Deployment | Seal]] = {}
        for record in self._records:
            if isinstance(record, Deployment) or (isinstance(record, Seal) and CHANNEL in record.aliases):
                ways.setdefault(record.name, []).append(record)
        for name in sorted({*ways, *hosts.states}):
            yield from _of_image(ways.get(name, ()), name, hosts.states.get(name))

    def _keep_parents(self) -> None:
        below: dict[Digest, set[Digest]] = {}
        for one in self._images():
            if one.parent is not None:
                below.setdefault(one.digest, set()).add(one.parent.digest)
        todo = list(self._why)
        seen = set(todo)
        for digest in todo:
            for parent in sorted(below.get(digest, ())):
                self._note(parent, f"sha256:{digest.short}, which stays, is built on it")
                if parent not in seen:
                    seen.add(parent)
                    todo.append(parent)


def name_of(record: Candidate | Seal) -> str:
    """Return `line/image`."""
    return f"{record.line}/{record.image}"


def _of_image(
    way: Sequence[Deployment | Seal], name: str, state: HostState | None
) -> Iterator[tuple[Digest, str]]:
    """Yield what the hosts that take this image may run."""
    host_names = {one.host for one in way if isinstance(one, Deployment)} or {name.partition("/")[2]}
    if state is not None:
        yield from _told(name, state)
    for host in sorted(host_names):
        mine = [one for one in way if isinstance(one, Seal) or one.host == host]
        if state is not None and state.complete and host == name.partition("/")[2]:
            yield from _still_to_come(mine, host)
        else:
            yield from _may_run(mine, host)


def _told(name: str, state: HostState) -> Iterator[tuple[Digest, str]]:
    for role, entry in state.entries():
        if entry.digest is not None:
            yield entry.digest, f"the host {name} {_ROLES[role]}"
        if entry.pinned and role != "pinned" and entry.digest is not None:
            yield entry.digest, f"the host {name} {_ROLES['pinned']}"
    if state.next is not None and state.next.digest is not None:
        yield state.next.digest, f"the host {name} boots it next"


def _still_to_come(way: Sequence[Deployment | Seal], host: str) -> Iterator[tuple[Digest, str]]:
    moves = [one for one in way if isinstance(one, Seal) or one.step is Step.CHANNEL]
    orders = [one for one in way if isinstance(one, Deployment) and one.step is Step.WANTED]
    yield from ((one.digest, f"the channel of {host} names it") for one in moves[-1:])
    yield from ((one.digest, f"the host {host} {_STEPS[Step.WANTED]}") for one in orders[-1:])


def _may_run(way: Sequence[Deployment | Seal], host: str) -> Iterator[tuple[Digest, str]]:
    """Yield what a host may run, by the ledger: everything from the boot before its last one on."""
    boots = [
        number for number, one in enumerate(way) if isinstance(one, Deployment) and one.step is Step.BOOTED
    ]
    if not boots:
        for one in way:
            yield one.digest, f"nothing tells what {host} runs, and it may be this"
            if isinstance(one, Deployment) and one.before is not None:
                yield one.before.digest, f"nothing tells what {host} runs, and it may be this"
        return
    last = way[boots[-1]].digest
    yield last, f"the host {host} runs it, by its last report"
    earlier = [number for number in boots if way[number].digest != last]
    for one in way[earlier[-1] if earlier else 0 :]:
        if one.digest != last:
            yield one.digest, f"the host {host} {_STEPS[_step_of(one)]}"
        if isinstance(one, Deployment) and one.before is not None:
            yield one.before.digest, f"the host {host} may fall back to it"
    yield from _still_to_come(way, host)


def _step_of(one: Deployment | Seal) -> Step:
    return Step.CHANNEL if isinstance(one, Seal) else one.step
