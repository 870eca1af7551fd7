"""What a ledger adds up to: the newest candidates, what hosts run, what a release is still needed for.

Rules: read once, asked often: every question costs a look-up or a walk over one image's records. What hosts
run is known from deployments alone; a host without one is unknown, never taken to run what its channel names.
A release is sound when neither it nor anything it is built on was yanked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

from pipeline.domain.decision import Release
from pipeline.domain.image import Digest, Repository, Tier
from pipeline.domain.lineage import CHANNEL, Lineage
from pipeline.domain.nearest import nearest
from pipeline.domain.record import Candidate, Record
from pipeline.domain.release import Deployment, Retention, Seal, Step
from pipeline.domain.text import plain
from pipeline.errors import NotFoundError, UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class HostView:
    """What the ledger tells of one host.

    Attributes:
        name: Its image, `line/host`.
        host: Its name.
        runs: The newest boot that was seen; None when none ever was.
        fallback: What it ran before that; None when unknown.
        wanted: Where it is to go and was not seen yet; None when it is nowhere on the way.
        staged: What was prepared for its next boot; None when nothing is known to be.
        failed: Why it did not get where it was to go; None when the last attempt did not fail.
    """

    name: str
    host: str
    runs: Deployment | None = None
    fallback: Release | None = None
    wanted: Deployment | None = None
    staged: Deployment | None = None
    failed: Deployment | None = None


Use: TypeAlias = tuple[str, HostView]
"""How a host uses a release (`runs`, `staged`, `wanted`, `may fall back to`), and the host."""


class Overview:
    """The state that a ledger adds up to.

    Args:
        records: The ledger, oldest first.
    """

    def __init__(self, records: Iterable[Record]) -> None:
        there = tuple(records)
        self.lineage = Lineage(there)
        self._built: dict[tuple[str, Digest], list[Candidate]] = {}
        self._newest: dict[str, Candidate] = {}
        self._removed: dict[tuple[Repository, Digest], str] = {}
        self._hosts: dict[tuple[str, str], HostView] = {}
        for record in there:
            self._take(record)
        self._children: dict[Release, list[Seal]] = {}
        for name in self.lineage.names:
            for seal in self.lineage.releases(name):
                if seal.parent is not None:
                    self._children.setdefault(seal.parent, []).append(seal)
        self._sound: dict[tuple[str, str], bool] = {}
        self._users = self._used()

    def _take(self, record: Record) -> None:
        if isinstance(record, Candidate):
            name = f"{record.line}/{record.image}"
            self._built.setdefault((name, record.digest), []).append(record)
            self._newest[name] = record
        elif isinstance(record, Retention):
            self._removed |= {(one.repository, one.digest): one.reason for one in record.removed}
        elif isinstance(record, Seal):
            view = self._hosts.get((record.name, record.image))
            if view is not None and CHANNEL in record.aliases:
                self._hosts[record.name, record.image] = _overtaken(view)
        elif isinstance(record, Deployment):
            key = (record.name, record.host)
            seen = self._hosts.get(key) or HostView(name=record.name, host=record.host)
            self._hosts[key] = _STEPS[record.step](seen, record)

    def _used(self) -> Mapping[tuple[str, Digest], list[Use]]:
        found: dict[tuple[str, Digest], list[Use]] = {}
        for view in self._hosts.values():
            for use, one in _uses(view):
                found.setdefault((view.name, one.digest), []).append((use, view))
        return found

    @property
    def names(self) -> tuple[str, ...]:
        """Every image (`line/image`) that has a candidate, a release or a host, sorted."""
        return tuple(sorted({*self._newest, *self.lineage.names, *(name for name, _ in self._hosts)}))

    @property
    def hosts(self) -> tuple[HostView, ...]:
        """Every host: those that were deployed to, and those that have a release; sorted by image."""
        there = {name for name, _ in self._hosts}
        fresh = (
            HostView(name=name, host=releases[-1].image)
            for name in self.lineage.names
            if name not in there and (releases := self.lineage.releases(name))[-1].tier is Tier.INSTANCE
        )
        return tuple(sorted((*self._hosts.values(), *fresh), key=lambda one: (one.name, one.host)))

    def host(self, name: str) -> HostView:
        """Return the host that an image (`line/host`) is made for."""
        host = name.partition("/")[2]
        return self._hosts.get((name, host)) or HostView(name=name, host=host)

    def candidate(self, name: str) -> Candidate | None:
        """Return the newest candidate of an image, unless it was deleted since."""
        one = self._newest.get(name)
        return None if one is None or (one.repository, one.digest) in self._removed else one

    def candidate_of(self, seal: Seal) -> Candidate | None:
        """Return the candidate that became a release; None where the ledger does not have it."""
        built = self._built.get((seal.name, seal.digest), [])
        if len(built) <= 1:
            return built[0] if built else None
        # Only where a digest was recorded twice is the id, which costs a hash, worth asking for.
        return next((one for one in built if one.id == seal.candidate), built[-1])

    def removed(self, seal: Seal) -> str | None:
        """Return why a release was deleted from its registry; None where it was not."""
        return self._removed.get((seal.repository, seal.digest))

    def sound(self, seal: Seal) -> bool:
        """Tell whether neither a release nor anything it is built on was yanked."""
        chain: list[Seal] = []
        one: Seal | None = seal
        while one is not None and one not in chain and (one.name, one.version) not in self._sound:
            chain.append(one)
            one = self.parent_of(one)
        answer = one is None or self._sound.get((one.name, one.version), True)
        for below in reversed(chain):
            answer = answer and self.lineage.yank_of(below) is None
            self._sound[below.name, below.version] = answer
        return answer

    def parent_of(self, seal: Seal) -> Seal | None:
        """Return the release that a release is built on."""
        return None if seal.parent is None else self.lineage.by_digest(seal.parent.digest)

    def way_out(self, name: str) -> Seal | None:
        """Return the highest release of an image that is sound and was not deleted."""
        releases = reversed(self.lineage.good(name))
        return next((one for one in releases if self.sound(one) and self.removed(one) is None), None)

    def built_on(self, seal: Seal) -> tuple[Seal, ...]:
        """Return every release that is built on one, directly or not, sorted by image and version."""
        found: dict[tuple[str, str], Seal] = {}
        todo = [seal]
        while todo:
            one = todo.pop()
            for child in self._children.get(Release(version=one.version, digest=one.digest), ()):
                if (child.name, child.version) not in found:
                    found[child.name, child.version] = child
                    todo.append(child)
        order = {name: place for place, name in enumerate(self.lineage.names)}
        return tuple(sorted(found.values(), key=lambda one: (order[one.name], _number(one))))

    def used_by(self, seal: Seal) -> tuple[Use, ...]:
        """Return the hosts that run a release, are on the way to it, or may fall back to it."""
        return tuple(sorted(self._users.get((seal.name, seal.digest), ()), key=lambda use: use[1].host))


def image_named(text: str, known: Iterable[str], line: str | None) -> str:
    """Return the image that a person means, as `line/image`.

    Args:
        text: `LINE/NAME`, or `NAME` where it is one line's alone or the wanted line's.
        known: Every image there is, `line/image`.
        line: The line that is asked for, or the default one; None for neither.

    Raises:
        NotFoundError: There is no such image.
        UsageError: Several lines have it, and none of them was named.
    """
    names = tuple(known)
    if "/" in text:
        fits = [one for one in names if one == text]
    else:
        fits = [one for one in names if one.partition("/")[2] == text]
        mine = [one for one in fits if one.partition("/")[0] == line]
        fits = mine or fits
    if not fits:
        raise NotFoundError(f"there is no image {plain(text, 80)!r}", hint=nearest(text, names))
    if len(fits) > 1:
        raise UsageError(
            f"several lines have an image {plain(text, 80)!r}", hint=f"name one: {', '.join(sorted(fits))}"
        )
    return fits[0]


def _uses(view: HostView) -> Iterator[tuple[str, Deployment | Release]]:
    """Yield how a host uses releases, each digest once, the closest use first."""
    seen: set[Digest] = set()
    uses = (
        ("runs", view.runs),
        ("staged", view.staged),
        ("wanted", view.wanted),
        ("may fall back to", view.fallback),
    )
    for use, one in uses:
        if one is not None and one.digest not in seen:
            seen.add(one.digest)
            yield use, one


def _wanted(view: HostView, record: Deployment) -> HostView:
    return replace(view, wanted=record, failed=None)


def _channel(view: HostView, record: Deployment) -> HostView:
    """A moved channel is a way of its own only where nothing else says that the host is on it."""
    goal = view.wanted or view.runs
    there = goal is not None and goal.digest == record.digest
    return view if there else _wanted(view, record)


def _overtaken(view: HostView) -> HostView:
    """A host that was sent to a release follows its channel again when the next seal moves that."""
    return replace(view, wanted=None)


def _staged(view: HostView, record: Deployment) -> HostView:
    return replace(view, staged=record)


def _booted(view: HostView, record: Deployment) -> HostView:
    before = view.runs
    if before is not None and before.digest == record.digest:
        fallback = view.fallback
    elif before is not None:
        fallback = Release(version=before.version, digest=before.digest)
    else:
        fallback = record.before
    arrived = view.wanted is None or view.wanted.digest == record.digest
    return replace(
        view,
        runs=record,
        fallback=fallback,
        wanted=None if arrived else view.wanted,
        staged=None,
        failed=None,
    )


def _failed(view: HostView, record: Deployment) -> HostView:
    return replace(view, failed=record, wanted=None)


_STEPS: Mapping[Step, Callable[[HostView, Deployment], HostView]] = {
    Step.WANTED: _wanted,
    Step.CHANNEL: _channel,
    Step.STAGED: _staged,
    Step.BOOTED: _booted,
    Step.FAILED: _failed,
}


def _number(seal: Seal) -> tuple[int, ...]:
    return tuple(int(part) for part in seal.version.split("."))
