"""The verbs that look at one image and say what is true of it."""

from __future__ import annotations

from pipeline.commands.console import console, show, write_out
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


def boot_test(parts: Parts) -> int:
    """`boot-test REF`."""
    from pipeline.render import boot as render  # noqa: PLC0415
    from pipeline.verbs.boot_test import boot_test as verb  # noqa: PLC0415
    from pipeline.verbs.boot_test import require  # noqa: PLC0415

    options = parts.options
    ref = parts.candidate_ref(options.ref)
    with parts.run() as run:
        digest = run.store.resolve(ref).digest
        name = str(ref.repository)
        with run.reporter.stage(f"pull {name}"):
            local = run.engine.pull(ref.repository.at(digest))
        result = verb(parts.proofs.boot, local, name=ref.repository.path, full=options.full)
    if options.console:
        write_out(result.console, options.console)
    show(parts, render.to_tables(result), result.to_json(digest))
    require(result, options.ref)
    return 0


def diff(parts: Parts) -> int:
    """`diff OLD NEW`."""
    from pipeline.domain.diff.document import document  # noqa: PLC0415
    from pipeline.render.diff import show_diff  # noqa: PLC0415
    from pipeline.verbs.diff import diff as verb  # noqa: PLC0415
    from pipeline.wiring.opening import Opening  # noqa: PLC0415

    options = parts.options
    with parts.stopping(), parts.reporter.stage(f"compare {options.old} and {options.new}"):
        found = verb(options.old, options.new, Opening(parts))
    if options.output:
        write_out(document(found), options.output)
    else:
        show_diff(found, console=console(), as_json=options.json)
    return 0


def evidence(parts: Parts) -> int:
    """`evidence CANDIDATE [--get NAME]`."""
    from pipeline.render.evidence import show_evidence  # noqa: PLC0415
    from pipeline.verbs.evidence import fetch_evidence, list_evidence  # noqa: PLC0415

    options = parts.options
    record = parts.candidate_record(options.candidate)
    store = parts.proofs.referrers
    if options.get:
        write_out(fetch_evidence(store, record, options.get), options.output)
        return 0
    if options.output:
        raise UsageError("-o needs --get", hint="name the document to write, such as --get sbom")
    report = list_evidence(store, record)
    show_evidence(report, console=console(), as_json=options.json)
    return 0 if report.ok else 1
