"""The verb that leads back: rollback."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING

from pipeline.commands.console import console
from pipeline.commands.reaching import reaching, require_template
from pipeline.errors import InterruptedRunError, UsageError
from pipeline.wiring import Parts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pipeline.adapters.registry import Registry
    from pipeline.domain.diff.difference import Difference
    from pipeline.domain.hostcontrol.rollback import RollbackPlan
    from pipeline.domain.image import ImageRef, Repository
    from pipeline.verbs.channel import ChannelStore
    from pipeline.verbs.rollback import Rolling, Verifier
    from pipeline.verbs.rollback_ledger import OpenLedger
    from pipeline.verbs.rollback_target import Ways


def rollback(parts: Parts) -> int:
    """`rollback HOST VERSION` and `rollback --all-hosts-on VERSION [VERSION]`."""
    words, fleet = parts.options.words, parts.options.all_hosts_on is not None
    if len(words) != 2 and not fleet:  # noqa: PLR2004 - a host and a version
        raise UsageError(
            "rollback needs a HOST and a VERSION",
            hint="name both, or every host on a bad release with --all-hosts-on VERSION",
        )
    if fleet and len(words) > 1:
        raise UsageError(
            "with --all-hosts-on, the only further word is the VERSION to go to", hint="leave the host out"
        )
    with parts.stopping():
        return _fleet(parts) if fleet else _one(parts)


def _one(parts: Parts) -> int:
    from pipeline.render import rollback as render  # noqa: PLC0415
    from pipeline.verbs import rollback as verb  # noqa: PLC0415

    options = parts.options
    rolling = _rolling(parts)
    way = _ways(parts, rolling.ledger).to(*options.words)
    if options.plan:
        with parts.reporter.stage(f"plan for {way.host}") as stage:
            plan = verb.plan_rollback(way, rolling, why=options.why, stage=stage).plan
        render.show_plan(plan, console=console(), as_json=options.json)
        return 0
    done = verb.rollback(way, rolling, why=options.why, show=_shower())
    render.show_outcome(done, console=console(), as_json=options.json)
    verb.require_moved(done)
    return 0


def _fleet(parts: Parts) -> int:
    from pipeline.render import rollback as render  # noqa: PLC0415
    from pipeline.verbs import rollback_fleet as verb  # noqa: PLC0415
    from pipeline.verbs.rollout import Waves  # noqa: PLC0415

    options = parts.options
    require_template(options.host_access, "many")
    waves = Waves(first=options.wave_first, size=options.wave_size, failures=options.max_failures)
    rolling = _rolling(parts)
    ways, left_out = _ways(parts, rolling.ledger).from_release(
        options.all_hosts_on, options.words[0] if options.words else None
    )
    if options.plan:
        planned = verb.plan_fleet(ways, left_out, rolling, why=options.why, waves=waves)
        render.show_fleet_plan(planned, console=console(), as_json=options.json)
        return 0

    def stop() -> None:
        parts.stop.set()
        parts.processes.stop_running()

    done = verb.rollback_fleet(
        ways, left_out, rolling, why=options.why, waves=waves, show=_shower(), stop=stop
    )
    render.show_fleet_outcome(done, console=console(), as_json=options.json)
    verb.require_done(done)
    return 0


def _rolling(parts: Parts) -> Rolling:
    from pipeline.verbs.hosts import Waiting  # noqa: PLC0415
    from pipeline.verbs.rollback import Rolling, Unsafe  # noqa: PLC0415
    from pipeline.verbs.rollback_ledger import OpenLedger  # noqa: PLC0415

    options = parts.options
    unsafe = Unsafe(
        pools=options.unsafe_pools, unverified=options.unsafe_unverified, offline=options.unsafe_offline
    )

    def pause(seconds: float) -> None:
        if parts.stop.wait(seconds):
            raise InterruptedRunError("interrupted", hint="run the same command again; it goes on from there")

    ledger = OpenLedger(parts.ledger, offline=unsafe.offline)
    return Rolling(
        ledger=ledger,
        store=_stores(parts),
        verifier=_verifier(parts, ledger),
        comparer=None if options.no_diff else _comparer(parts),
        reach=reaching(parts),
        waiting=Waiting(reboot_seconds=options.reboot_timeout, sleep=pause),
        clock=parts.clock,
        author=parts.author[0],
        reporter=parts.reporter,
        unsafe=unsafe,
    )


def _ways(parts: Parts, ledger: OpenLedger) -> Ways:
    from pipeline.verbs.rollback_target import Ways  # noqa: PLC0415

    default = parts.settings.default_line
    return Ways(ledger.records, line=parts.options.line, default=default, defined=_hosts(parts))


def _hosts(parts: Parts) -> Iterable[str]:
    from pipeline.domain.image import Tier  # noqa: PLC0415

    return [name for name, tier in parts.defined.items() if tier is Tier.INSTANCE]


def _stores(parts: Parts) -> Callable[[Repository], ChannelStore]:
    """Return what opens the registry of a release, which need not be the one of the settings any more."""
    known: dict[str, Registry] = {parts.registry.host: parts.registry}
    lock = threading.Lock()

    def store(repository: Repository) -> Registry:
        with lock:
            if repository.registry not in known:
                known[repository.registry] = parts.registry_at(repository.registry, insecure=False)
            return known[repository.registry]

    return store


def _verifier(parts: Parts, ledger: OpenLedger) -> Verifier:
    """Return what verifies releases by the ledger that was read; what they share is verified once."""
    from pipeline.domain.lookback import LookBack  # noqa: PLC0415
    from pipeline.verbs.verify import verify_release  # noqa: PLC0415

    work = parts.releasing.verify_parts(LookBack(ledger.records))
    return lambda seal: verify_release(seal, work).problems


def _comparer(parts: Parts) -> Callable[[ImageRef, ImageRef], Difference]:
    from pipeline.verbs.diff import diff  # noqa: PLC0415
    from pipeline.wiring.opening import Opening  # noqa: PLC0415

    opening, lock = Opening(parts), threading.Lock()

    def compare(runs: ImageRef, wanted: ImageRef) -> Difference:
        # One at a time: what they share of their layers is then read once.
        with lock:
            return diff(str(runs), str(wanted), opening, because="what runs, against what it goes back to")

    return compare


def _shower() -> Callable[[RollbackPlan], None]:
    from pipeline.render.rollback import show_plan  # noqa: PLC0415

    lock = threading.Lock()

    def show(plan: RollbackPlan) -> None:
        with lock:
            show_plan(plan, console=console(sys.stderr), as_json=False)

    return show
