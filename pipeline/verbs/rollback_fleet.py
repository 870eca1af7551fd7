"""`pipeline rollback --all-hosts-on VERSION`: every host that is on a release goes back, in waves.

Rules: each host is rolled back as one alone would be, with every check of its own; the first wave is small,
and what fails beyond the limit ends the rest; a host for which there is no way is told and holds nobody up;
run again, hosts that are done are left alone and the others go on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pipeline.domain.hostcontrol.rollback import (
    FleetOutcome,
    FleetPlan,
    NotDone,
    RollbackOutcome,
    RollbackPlan,
)
from pipeline.errors import HostError, PipelineError, UsageError
from pipeline.verbs.host_journal import HostOrder
from pipeline.verbs.rollback import Rolling, order_of, plan_rollback, require_moved, rollback
from pipeline.verbs.rollback_target import Way
from pipeline.verbs.rollout import HostReport, Waves, roll_out


def plan_fleet(
    ways: Sequence[Way], left_out: Sequence[NotDone], parts: Rolling, *, why: str, waves: Waves
) -> FleetPlan:
    """Return what would be done to each host; changes and records nothing.

    Raises:
        UsageError: The reason is no line of text, or two hosts have one name.
    """
    orders = _orders(ways, why)
    plans: list[RollbackPlan] = []
    refused = list(left_out)
    with parts.reporter.stage(f"plan for {len(ways)} hosts") as stage:
        for way in ways:
            try:
                plans.append(plan_rollback(way, parts, why=why, stage=stage).plan)
            except UsageError:
                raise
            except PipelineError as error:
                refused.append(NotDone(name=way.name, error=error))
    return FleetPlan(
        plans=tuple(plans),
        refused=tuple(refused),
        waves=tuple(len(wave) for wave in waves.split(orders)),
    )


def rollback_fleet(
    ways: Sequence[Way],
    left_out: Sequence[NotDone],
    parts: Rolling,
    *,
    why: str,
    waves: Waves,
    show: Callable[[RollbackPlan], None] = lambda _: None,
    stop: Callable[[], None] = lambda: None,
) -> FleetOutcome:
    """Roll hosts back in waves until all are done or too many failed.

    Args:
        ways: The hosts and their releases.
        left_out: Hosts for which there is none.
        parts: What it is done with; used from several threads.
        why: The reason, one line, for each record.
        waves: How many at once, and how many may fail.
        show: Shows each host's plan before anything is done to it; called from several threads.
        stop: Ends what is under way when the run is interrupted.

    Raises:
        UsageError: The reason is no line of text, or two hosts have one name.
        InterruptedRunError: The run was ended.
    """
    by_host = {way.host: way for way in ways}

    def one(order: HostOrder) -> RollbackOutcome:
        return rollback(by_host[order.host], parts, why=why, show=show)

    def told(report: HostReport[RollbackOutcome]) -> None:
        if report.error is not None:
            parts.reporter.note(f"{report.order.host}: {report.error.message}")

    found = roll_out(_orders(ways, why), one, waves=waves, on_host=told, stop=stop)
    names = {way.host: way.name for way in ways}
    failed = [NotDone(name=names[one.order.host], error=one.error) for one in found.failed if one.error]
    return FleetOutcome(
        outcomes=tuple(one.outcome for one in found.hosts if one.outcome is not None),
        failed=(*left_out, *failed),
        left=tuple(names[one.order.host] for one in found.left),
    )


def require_done(outcome: FleetOutcome) -> None:
    """Let a fleet pass of which every host is where it should be.

    Raises:
        HostError: Some are not; each is named.
        RegistryError: All are, but a channel could not be moved.
    """
    if outcome.done:
        for one in outcome.outcomes:
            require_moved(one)
        return
    failed = [f"{one.name}: {one.error.message}" for one in outcome.failed]
    left = [f"{name}: not begun" for name in outcome.left]
    raise HostError(
        "not every host was rolled back:\n" + "\n".join(f"  {line}" for line in (*failed, *left)),
        hint="mend the causes and run the same command again; hosts that are done are left alone",
    )


def _orders(ways: Sequence[Way], why: str) -> tuple[HostOrder, ...]:
    return tuple(order_of(way, why) for way in ways)
