"""The verbs that look at one image and say what is true of it."""

from __future__ import annotations

from pipeline.commands.console import console, show
from pipeline.errors import UsageError
from pipeline.wiring import Parts


def check(parts: Parts) -> int:
    """`check REF` and `check --list`."""
    from pipeline.domain.gates.registry import all_gates  # noqa: PLC0415
    from pipeline.render import gates as render  # noqa: PLC0415

    if parts.options.list:
        gates = all_gates()
        if parts.options.json:
            show(parts, [], {"gates": render.list_to_json(gates)})
        else:
            render.show_list(gates, console())
        return 0
    if parts.options.ref is None:
        raise UsageError("check needs a REF", hint="name an image, or use --list")
    from pipeline.adapters.pins import Pins  # noqa: PLC0415
    from pipeline.verbs.check import require  # noqa: PLC0415
    from pipeline.verbs.check_ref import check_ref  # noqa: PLC0415

    ref = parts.candidate_ref(parts.options.ref)
    with parts.run() as run:
        report = check_ref(
            run,
            ref,
            line=parts.options.line,
            image=parts.options.image,
            pins=lambda line: Pins(line.pins),
        )
    if parts.options.json:
        show(parts, [], render.to_json(report))
    else:
        render.show(report, console())
    require(report)
    return 0
