"""`pipeline rollback HOST VERSION --why`: a host's channel goes back to a release, and the host with it.

Rules:
1. The target is a release that was not yanked, that verifies, and of which the registry still has every
   piece. Only `Unsafe.unverified` goes on without the last two, and every problem is told all the same; with
   access to a host it goes on even where the registry is down, for the host may have the image: the channel
   is then left, and what updates the host is masked.
2. What a person should know is told before anything is done: what differs, what does not come back, which
   data an older version may not read. What cannot be had of that is told too, and stops nothing.
3. Order: record that it is wanted, move the channel by digest, record that, then the host. Killed anywhere,
   the same command again completes it; where the channel is already, nothing is moved and nothing recorded.
4. A release that is yanked meanwhile is refused in the same write that records the wish.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from pipeline.domain.decision import Release
from pipeline.domain.diff.difference import Difference
from pipeline.domain.events import Reporter, Stage
from pipeline.domain.hostcontrol.consequences import STAYS, by_hand
from pipeline.domain.hostcontrol.plan import PlanStep
from pipeline.domain.hostcontrol.rollback import RollbackOutcome, RollbackPlan
from pipeline.domain.hostcontrol.state import System
from pipeline.domain.hostcontrol.target import Target
from pipeline.domain.hostcontrol.wayback import WayBack, way_back, zfs_downgrade
from pipeline.domain.image import Digest, ImageRef, Repository
from pipeline.domain.lineage import CHANNEL
from pipeline.domain.record import require_text
from pipeline.domain.release import Seal, Step
from pipeline.errors import GateRefusedError, PipelineError, RegistryError
from pipeline.verbs.channel import ChannelStore, channel_of, move_channel, require_channel
from pipeline.verbs.host_journal import HostJournal, HostOrder
from pipeline.verbs.hosts import HostDriver, HostOutcome, HostPlan, Waiting, plan_host, switch_host
from pipeline.verbs.rollback_ledger import OpenLedger
from pipeline.verbs.rollback_target import Way
from pipeline.verbs.seal_back import put_back_and_tell
from pipeline.verbs.whole import Whole, look_at

Verifier = Callable[[Seal], tuple[str, ...]]
"""Tells what is wrong with a release; nothing when it verifies."""

Comparer = Callable[[ImageRef, ImageRef], Difference]
"""Compares what runs with what is wanted, both by digest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsafe:
    """What goes on although it should not; each is told loudly.

    Attributes:
        pools: Although a ZFS pool could not be imported.
        unverified: Although the release does not verify, or pieces of it are gone.
        offline: With this clone's copy of the ledger, where its remote cannot be reached.
    """

    pools: bool = False
    unverified: bool = False
    offline: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Rolling:
    """What rolls back.

    Attributes:
        ledger: What was recorded, and where the next steps are.
        store: Returns the registry that a repository is in.
        verifier: Verifies a release.
        comparer: Compares two images; None to go without.
        reach: Returns the driver of a host by its name; None when hosts are not to be switched from here.
        waiting: How to wait for a reboot.
        clock: The time, UTC.
        author: Who does it.
        reporter: Shows progress.
        unsafe: What goes on although it should not.
        on_step: Called after each step, with its name; `host …` before each one on a host.
    """

    ledger: OpenLedger
    store: Callable[[Repository], ChannelStore]
    verifier: Verifier
    comparer: Comparer | None
    reach: Callable[[str], HostDriver] | None
    waiting: Waiting
    clock: Callable[[], dt.datetime]
    author: str
    reporter: Reporter
    unsafe: Unsafe = field(default=Unsafe())
    on_step: Callable[[str], None] = field(default=lambda _: None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A plan with what carries it out: the host's order, and the bytes of the release's manifest."""

    plan: RollbackPlan
    order: HostOrder
    data: bytes


def plan_rollback(way: Way, parts: Rolling, *, why: str, stage: Stage | None = None) -> Prepared:
    """Return what would be done to bring a host to a release; changes and records nothing.

    Args:
        way: Which host, which release.
        parts: What it is done with.
        why: The reason, one line.
        stage: Told what is being looked at.

    Raises:
        UsageError: The reason is no line of text.
        NotFoundError, RegistryError: The registry does not have the release, or fails.
        HostError, ToolFailedError: The host cannot be reached, cannot be switched now, or would lose a pool.
    """
    say = stage.line if stage is not None else _nothing
    require_text("the reason", why)
    seal = way.seal
    ref = seal.repository.at(seal.digest)
    say(f"looking at {ref}")
    found = _found(ref, parts)
    order = order_of(way, why, found.whole.platforms, down=bool(found.down))
    problems = (*found.whole.missing, *_verified(seal, parts))
    recorded = parts.ledger.lineage.channel(way.name)
    host = _host_plan(order, parts, say)
    say("comparing it with what runs")
    runs = _running(way, host)
    changes, unknown = _compared(runs, ref, parts)
    plan = RollbackPlan(
        seal=seal,
        left=way.left,
        why=why,
        problems=problems,
        channel=found.channel,
        moves=not found.down
        and (found.channel != seal.digest or recorded is None or recorded.digest != seal.digest),
        down=found.down,
        runs=runs,
        changes=changes,
        unknown=unknown,
        warnings=tuple(_warnings(way, host, changes, parts)),
        state=None if host is None else host.state,
        steps=() if host is None else host.steps,
        by_hand={} if parts.reach is not None else {one: by_hand(one, order.target) for one in System},
    )
    return Prepared(plan=plan, order=order, data=found.whole.data)


def carry_out(prepared: Prepared, parts: Rolling, *, stage: Stage | None = None) -> RollbackOutcome:
    """Move the channel, record it, and switch the host where it can be reached; goes on where it was cut off.

    Raises:
        GateRefusedError: The release does not verify, or was yanked meanwhile; nothing was moved.
        RegistryError: The registry refuses or fails, or somebody else moved the channel at the same time.
        HostError, ToolFailedError: The host could not be switched, or came back with something else.
        LedgerError, LedgerRaceError, LedgerRemoteError: A step could not be recorded.
    """
    say = stage.line if stage is not None else _nothing
    _require_verified(prepared.plan, unsafe=parts.unsafe.unverified)
    journal = HostJournal(parts.ledger, parts.ledger.records, clock=parts.clock, author=parts.author)
    if prepared.plan.moves:
        _move(prepared, parts, journal, say)
    if not prepared.plan.down:
        _tidy(prepared.plan.seal, parts)
    if parts.reach is None:
        return RollbackOutcome(plan=prepared.plan)
    done = _switch(prepared.order, parts.reach(prepared.order.host), parts, journal, say)
    return RollbackOutcome(plan=prepared.plan, state=done.after, steps=done.steps)


def rollback(
    way: Way, parts: Rolling, *, why: str, show: Callable[[RollbackPlan], None] = lambda _: None
) -> RollbackOutcome:
    """Bring a host's channel, and the host where it can be reached, to a release.

    Args:
        way: Which host, which release.
        parts: What it is done with.
        why: The reason, one line, for the record.
        show: Shows the plan before anything is done.

    Raises:
        PipelineError: As `plan_rollback` and `carry_out` say.
    """
    with parts.reporter.stage(f"rollback {way.host} v{way.seal.version}") as stage:
        prepared = plan_rollback(way, parts, why=why, stage=stage)
        show(prepared.plan)
        return carry_out(prepared, parts, stage=stage)


def require_moved(outcome: RollbackOutcome) -> None:
    """Let a rollback pass whose channel names the release.

    Raises:
        RegistryError: The registry could not be asked, and only the host was switched.
    """
    if outcome.plan.down:
        raise RegistryError(
            f"{outcome.plan.host} was switched, but its channel was not moved: {outcome.plan.down}",
            hint="run the same command again when the registry answers",
        )


def _move(prepared: Prepared, parts: Rolling, journal: HostJournal, say: Callable[[str], None]) -> None:
    seal, order = prepared.plan.seal, prepared.order
    ref, store = seal.repository.at(seal.digest), parts.store(seal.repository)
    journal.begin(order)
    parts.on_step("wanted")
    say(f"{ref.repository.tagged(CHANNEL)} goes to v{seal.version}")
    move_channel(store, ref, prepared.data)
    parts.on_step("moved")
    journal.note(order, Step.CHANNEL)
    parts.on_step("recorded")
    # A seal that ran at the same time may have moved it between writing and recording.
    require_channel(ref, channel_of(store, seal.repository))


def _tidy(seal: Seal, parts: Rolling) -> None:
    """Let the aliases that a seal moved and did not finish name releases again."""
    put_back_and_tell(
        {seal.name}, lambda: parts.ledger.records, parts.store, parts.reporter, now=parts.clock()
    )


def _switch(
    order: HostOrder, driver: HostDriver, parts: Rolling, journal: HostJournal, say: Callable[[str], None]
) -> HostOutcome:
    def before(step: PlanStep) -> None:
        say(f"{order.host}: {step}")
        parts.on_step(f"host {step.action}")

    return switch_host(
        driver,
        order,
        journal=journal,
        waiting=parts.waiting,
        unsafe_pools=parts.unsafe.pools,
        on_step=before,
    )


def _require_verified(plan: RollbackPlan, *, unsafe: bool) -> None:
    if plan.problems and not unsafe:
        seal = plan.seal
        raise GateRefusedError(
            f"{seal.name} v{seal.version} does not verify; nothing was moved:\n"
            + "\n".join(f"  {one}" for one in plan.problems),
            hint="choose another release, or go on all the same with --unsafe-unverified",
        )


def _verified(seal: Seal, parts: Rolling) -> tuple[str, ...]:
    try:
        return parts.verifier(seal)
    except PipelineError as error:
        return (f"it could not be verified: {error.message}",)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """What the registry has: the release, what the channel names, and why it could not be asked."""

    whole: Whole
    channel: Digest | None = None
    down: str = ""


def _found(ref: ImageRef, parts: Rolling) -> _Found:
    store = parts.store(ref.repository)
    try:
        return _Found(whole=look_at(store, ref), channel=channel_of(store, ref.repository))
    except RegistryError as error:
        if not parts.unsafe.unverified or parts.reach is None:
            raise
        lost = (f"the registry cannot be asked: {error.message}",)
        return _Found(whole=Whole(data=b"", platforms=frozenset(), missing=lost), down=error.message)


def order_of(
    way: Way, why: str, platforms: frozenset[Digest] = frozenset(), *, down: bool = False
) -> HostOrder:
    """Return where a host shall go, as its driver and the record take it.

    Args:
        way: Which host, which release.
        why: The reason.
        platforms: Digests of the manifests that an index lists.
        down: Whether the registry cannot be asked, so that nobody knows what its channel names.

    Raises:
        UsageError: A name does not do.
    """
    seal, left = way.seal, way.left
    target = Target(
        line=seal.line,
        image=seal.image,
        repository=seal.repository,
        digest=seal.digest,
        version=seal.version,
        platforms=platforms,
        channel=None if down else seal.repository.tagged(CHANNEL),
        zfs=way.zfs,
    )
    before = None if left is None else Release(version=left.version, digest=left.digest)
    return HostOrder(host=way.host, target=target, why=why, before=before)


def _host_plan(order: HostOrder, parts: Rolling, say: Callable[[str], None]) -> HostPlan | None:
    if parts.reach is None:
        return None
    say(f"asking {order.host}")
    return plan_host(parts.reach(order.host), order, unsafe_pools=parts.unsafe.pools)


def _running(way: Way, host: HostPlan | None) -> ImageRef | None:
    """Return what runs as far as anybody knows: what the host said, else what its channel named."""
    if host is not None:
        booted = host.state.booted
        return None if booted is None or booted.digest is None else way.seal.repository.at(booted.digest)
    return None if way.left is None else way.left.repository.at(way.left.digest)


def _compared(runs: ImageRef | None, wanted: ImageRef, parts: Rolling) -> tuple[WayBack | None, str]:
    if runs is None:
        return None, "what runs is not known"
    if runs.digest == wanted.digest:
        return None, ""
    if parts.comparer is None:
        return None, "it was not looked at (--no-diff)"
    try:
        return way_back(parts.comparer(runs, wanted)), ""
    except PipelineError as error:
        return None, error.message


def _warnings(way: Way, host: HostPlan | None, changes: WayBack | None, parts: Rolling) -> Iterator[str]:
    if way.unsound:
        yield f"it is built on {way.unsound}, which was yanked"
    if parts.ledger.cut_off:
        yield (
            f"the ledger's remote was not asked ({parts.ledger.cut_off}): a yank since then is not known, "
            "and what is recorded waits in this clone"
        )
    yield from host.facts if host is not None else STAYS
    if changes is not None:
        yield from changes.warnings
    # Of a host that was asked the pools themselves were looked at.
    if host is None and (pools := zfs_downgrade(way.left_zfs, way.zfs)):
        yield pools
    if parts.unsafe.pools:
        yield "ZFS pools are not looked at: a pool that cannot be imported stays away after the boot"


def _nothing(_: str) -> None:
    """Say nothing."""
