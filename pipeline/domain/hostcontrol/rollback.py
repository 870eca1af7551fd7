"""What a rollback would do and did, of one host and of many, as values.

Rules: what is not known is None or said in words, never left out; warnings are facts, nothing here decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pipeline.domain.hostcontrol.plan import PlanStep
from pipeline.domain.hostcontrol.state import HostState, System
from pipeline.domain.hostcontrol.wayback import WayBack
from pipeline.domain.image import Digest, ImageRef
from pipeline.domain.release import Seal
from pipeline.errors import PipelineError


@dataclass(frozen=True, slots=True, kw_only=True)
class RollbackPlan:
    """What would be done to bring one host to a release, and what a person must know before it is.

    Attributes:
        seal: The release it shall go to.
        left: The release its channel names, or that an unfinished rollback left; None where there is none.
        why: The reason.
        problems: Why the release does not verify; nothing when it does.
        channel: What the channel names now, None without one.
        moves: Whether the channel has to be moved, or a move recorded.
        down: Why the registry cannot be asked, so that the channel stays for now; "" when it can.
        runs: What the release was compared with, None when nothing is known to run.
        changes: What differs, None when nothing does or that could not be had.
        unknown: Why it could not be had, or "".
        warnings: What may be lost, and what goes on although it should not.
        state: What the host said of itself, None without access to it.
        steps: What would be done on the host.
        by_hand: Without access, the commands on the host, by what manages it.
    """

    seal: Seal
    left: Seal | None
    why: str
    problems: tuple[str, ...] = ()
    channel: Digest | None = None
    moves: bool = True
    down: str = ""
    runs: ImageRef | None = None
    changes: WayBack | None = None
    unknown: str = ""
    warnings: tuple[str, ...] = ()
    state: HostState | None = None
    steps: tuple[PlanStep, ...] = ()
    by_hand: Mapping[System, tuple[str, ...]] = field(default_factory=dict)

    @property
    def host(self) -> str:
        """The host's name."""
        return self.seal.image


@dataclass(frozen=True, slots=True, kw_only=True)
class RollbackOutcome:
    """What was done to one host.

    Attributes:
        plan: What was to be done.
        state: What the host said of itself at the end, None without access to it.
        steps: What was done on the host.
    """

    plan: RollbackPlan
    state: HostState | None = None
    steps: tuple[PlanStep, ...] = ()

    @property
    def moved(self) -> bool:
        """Whether the channel was moved now."""
        return self.plan.moves


@dataclass(frozen=True, slots=True, kw_only=True)
class NotDone:
    """A host, `line/name`, that was not rolled back, and why."""

    name: str
    error: PipelineError


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetPlan:
    """What would be done to many hosts.

    Attributes:
        plans: Each host's plan, in the order of the waves.
        refused: Hosts that cannot be rolled back as things are.
        waves: How many hosts each wave has.
    """

    plans: tuple[RollbackPlan, ...]
    refused: tuple[NotDone, ...]
    waves: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetOutcome:
    """What became of many hosts.

    Attributes:
        outcomes: Hosts that are where they should be.
        failed: Hosts that failed, and those for which there is no release to go to.
        left: Hosts that were not begun, `line/name`.
    """

    outcomes: tuple[RollbackOutcome, ...]
    failed: tuple[NotDone, ...]
    left: tuple[str, ...]

    @property
    def done(self) -> bool:
        """Whether every host is where it should be."""
        return not self.failed and not self.left
