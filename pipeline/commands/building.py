"""The verbs that plan, pin and build."""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.commands.console import show
from pipeline.domain.catalogue import Base, Upstream
from pipeline.domain.image import Tier
from pipeline.domain.offer import Offer
from pipeline.domain.record import Candidate
from pipeline.errors import UsageError
from pipeline.verbs.reproduce import build_again, require_same
from pipeline.wiring import Parts
from pipeline.wiring.typed import day_of, tier_of

if TYPE_CHECKING:
    from rich.console import RenderableType

    from pipeline.domain.catalogue import Instance
    from pipeline.domain.reproducible import Comparison
    from pipeline.verbs.build import Again
    from pipeline.verbs.build_instances import Fleet
    from pipeline.verbs.built import Built
    from pipeline.verbs.pin import ByHand
    from pipeline.verbs.ports import Run
    from pipeline.verbs.reproduce import Make


def plan(parts: Parts) -> int:
    """`plan`."""
    from pipeline.adapters.pins import Pins  # noqa: PLC0415
    from pipeline.render import plan as shown  # noqa: PLC0415
    from pipeline.verbs.plan import plan as verb  # noqa: PLC0415

    options = parts.options
    one = options.line or options.image or options.verb == "build"
    lines = [parts.line] if one else list(parts.catalogue.lines.values())
    plans = [
        verb(
            parts.catalogue,
            line,
            ledger=parts.ledger,
            pins=Pins(line.pins),
            tier=tier_of(parts.options.tier),
            names=parts.options.image,
            hosts=getattr(options, "host", ()),
        )
        for line in lines
    ]
    show(parts, [shown.to_tree(one) for one in plans], {"plans": [shown.to_json(one) for one in plans]})
    return 0


def _bases(parts: Parts) -> tuple[Base, ...]:
    from pipeline.domain.plan import select  # noqa: PLC0415

    found = select(parts.line, tier=Tier.BASE, names=parts.options.image)
    return tuple(image for image in found if isinstance(image, Base))


def pin(parts: Parts) -> int:
    """`pin`, `pin --check`, `pin --kernel`, `pin --dry-run`."""
    from pipeline.adapters.pins import Pins  # noqa: PLC0415
    from pipeline.render import pins as render  # noqa: PLC0415
    from pipeline.verbs import check_pins  # noqa: PLC0415
    from pipeline.verbs import pin as verbs  # noqa: PLC0415
    from pipeline.verbs.candidates import require_parent  # noqa: PLC0415

    options = parts.options
    bases = _bases(parts)
    store = Pins(parts.line.pins)
    source = parts.kernel_source(parts.line)
    wish = _by_hand(options)
    if wish is not None and len(bases) != 1:
        raise UsageError("--kernel pins one base", hint="name it with --image")
    offers: list[tuple[str, Offer]] = []
    with parts.run() as run:

        def ask(base: Base, parent: Candidate) -> Offer:
            return verbs.ask(run, base, parent, source, arch=platform.machine())

        if options.check:
            verdicts = check_pins.check_pins(run, bases, store, ask)
            show(parts, [render.verdict_table(verdicts)], {"pins": render.verdict_json(verdicts)})
            check_pins.require(verdicts)
            return 0
        made = []
        for base in bases:
            offer = ask(base, require_parent(run, base))
            if options.dry_run:
                offers.append((base.name, offer))
            elif wish is not None:
                made.append((base.name, verbs.pin_by_hand(run, base, offer, store, wish)))
            else:
                made.append((base.name, verbs.pin(run, base, offer, store, reprove=options.reprove)))
    if options.dry_run:
        tables = [render.offer_table(name, one) for name, one in offers]
        show(parts, tables, {"offers": [render.offer_json(name, one) for name, one in offers]})
    else:
        shown = [render.pin_table(name, one) for name, one in made]
        show(parts, shown, {"pins": [render.pin_json(name, one) for name, one in made]})
    return 0


def _by_hand(options: argparse.Namespace) -> ByHand | None:
    """Return the pin a person asks for, judged before any repository is asked."""
    from pipeline.verbs.pin import ByHand  # noqa: PLC0415

    if options.kernel is None:
        return None
    if not (options.why or "").strip():
        raise UsageError("a pin by hand needs a reason", hint="add --why TEXT")
    return ByHand(kernel=options.kernel, reason=options.why, expires=day_of(options.expires, "--expires"))


def build(parts: Parts) -> int:
    """`build --tier …`."""
    tier = Tier(parts.options.tier)
    _require_fitting(parts, tier)
    if parts.options.dry_run:
        return plan(parts)
    if tier is Tier.INSTANCE:
        return _build_instances(parts)
    with parts.run() as run:
        twice = _Twice(parts, run)
        built = _BUILDERS[tier](parts, run, twice if parts.options.verify_reproducible else None)
    from pipeline.render import candidates as render  # noqa: PLC0415

    shown, document = _compared(twice.found)
    data = {"candidates": render.candidates_json(built), **document}
    show(parts, [render.candidate_table(built), *shown], data)
    require_same(twice.found)
    return 0


class _Twice:
    """Builds each image a second time and keeps what differs."""

    def __init__(self, parts: Parts, run: Run) -> None:
        self._parts = parts
        self._run = run
        self.found: list[Comparison] = []

    def __call__(self, first: Built, candidate: Candidate, make: Make) -> None:
        """Build it again."""
        from pipeline.verbs.candidates import push  # noqa: PLC0415
        from pipeline.wiring.opening import Opening  # noqa: PLC0415

        images = Opening(self._parts).local
        with self._parts.run_again(self._run) as again:
            found = build_again(again, first, candidate.digest, make=make, push=push, images=images)
        self.found.append(found)


def _compared(found: Sequence[Comparison]) -> tuple[list[RenderableType], dict[str, Any]]:
    from pipeline.render.reproducible import to_json, to_text  # noqa: PLC0415

    if not found:
        return [], {}
    return [to_text(one) for one in found], {"reproducible": [to_json(one) for one in found]}


def _require_fitting(parts: Parts, tier: Tier) -> None:
    """Refuse words that do not go together.

    Raises:
        UsageError: They do not.
    """
    options = parts.options
    named = [*options.image, *options.host]
    if options.all and named:
        raise UsageError(
            f"--all and {named[0]} contradict each other", hint="give --all, or name what is to be built"
        )
    if tier is not Tier.INSTANCE and (options.host or options.jobs is not None):
        raise UsageError(f"--host and --jobs are not for the tier {tier}", hint="use --tier instance")
    if tier is Tier.INSTANCE and not named and not options.all:
        raise UsageError("no host is named", hint="name hosts with --host, or give --all")


def _build_instances(parts: Parts) -> int:
    from pipeline.domain.catalogue import Instance  # noqa: PLC0415
    from pipeline.domain.plan import select  # noqa: PLC0415
    from pipeline.render import instances as render  # noqa: PLC0415
    from pipeline.verbs.build_instances import build_instances, require_hosts  # noqa: PLC0415

    options = parts.options
    found = select(parts.line, tier=Tier.INSTANCE, names=options.image, hosts=options.host)
    hosts = tuple(image for image in found if isinstance(image, Instance))
    boots = frozenset({Tier.BASE, Tier.INSTANCE}) if options.boot_test else frozenset({Tier.BASE})
    with parts.run(boots=boots) as run:
        fleet = parts.fleet(options.jobs or os.cpu_count() or 1, boot=options.boot_test)
        result = build_instances(run, hosts, fleet)
        twice = _verified(parts, run, hosts, fleet) if options.verify_reproducible else ()
    shown, document = _compared(twice)
    show(parts, [render.instance_table(result), *shown], {**render.instances_json(result), **document})
    require_hosts(result)
    require_same(twice)
    return 0


def _verified(parts: Parts, run: Run, hosts: Sequence[Instance], fleet: Fleet) -> tuple[Comparison, ...]:
    """Read the definitions anew and assemble the hosts again."""
    from pipeline.adapters.definitions import load  # noqa: PLC0415
    from pipeline.verbs.build_instances import verify_hosts  # noqa: PLC0415

    for host in hosts:
        if host.containerfile is not None:
            run.reporter.note(f"{host.line}/{host.name} has a Containerfile: it is not built twice")
    anew = load(parts.images, registry=parts.environment.get("PIPELINE_REGISTRY")).line(parts.line.name)
    named = {host.name for host in hosts}
    again = [one for one in anew.instances if one.name in named]
    return verify_hosts(run, again, fleet)


def _build_upstreams(parts: Parts, run: Run, again: Again | None) -> tuple[Candidate, ...]:
    from pipeline.adapters.bootstrap import Bootstrapper  # noqa: PLC0415
    from pipeline.domain.plan import select  # noqa: PLC0415
    from pipeline.verbs.build import build_upstreams  # noqa: PLC0415

    found = select(parts.line, tier=Tier.UPSTREAM, names=parts.options.image)
    return build_upstreams(
        run,
        tuple(image for image in found if isinstance(image, Upstream)),
        bootstrapper=Bootstrapper(parts.processes),
        mirroring=parts.mirroring,
        again=again,
    )


def _build_bases(parts: Parts, run: Run, again: Again | None) -> tuple[Candidate, ...]:
    from pipeline.adapters.machine import Qemu  # noqa: PLC0415
    from pipeline.adapters.pins import Pins  # noqa: PLC0415
    from pipeline.verbs import pin as pins  # noqa: PLC0415
    from pipeline.verbs.build import build_bases  # noqa: PLC0415
    from pipeline.verbs.check_pins import holds  # noqa: PLC0415

    Qemu(parts.processes, monotonic=time.monotonic).require()  # bases are booted, after all was compiled
    source = parts.kernel_source(parts.line)

    def ask(base: Base, parent: Candidate) -> Offer:
        return pins.ask(run, base, parent, source, arch=platform.machine())

    return build_bases(
        run, _bases(parts), Pins(parts.line.pins), images=parts.images, holds=holds(ask), again=again
    )


_BUILDERS: dict[Tier, Callable[[Parts, Run, Again | None], tuple[Candidate, ...]]] = {
    Tier.UPSTREAM: _build_upstreams,
    Tier.BASE: _build_bases,
}


def render(parts: Parts) -> int:
    """`render HOST [DIR]`."""
    from pipeline.adapters.tree_writer import FolderWriter  # noqa: PLC0415
    from pipeline.render import host as shown  # noqa: PLC0415
    from pipeline.verbs.render import render_host  # noqa: PLC0415
    from pipeline.verbs.trust import read_trust  # noqa: PLC0415

    options = parts.options
    rendered = render_host(
        parts.catalogue,
        parts.line,
        options.host,
        trust=read_trust(parts.settings, parts.images),
        target=Path(options.folder) if options.folder else None,
        write=FolderWriter(owners=os.geteuid() == 0),
    )
    table = shown.explain_table(rendered) if options.explain else shown.files_table(rendered)
    show(parts, [shown.warnings(rendered), table] if rendered.warnings else [table], rendered.document())
    return 0
