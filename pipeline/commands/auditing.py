"""The verbs that hold releases against what proves them: verify, audit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.commands.console import console
from pipeline.wiring import Parts

if TYPE_CHECKING:
    from pipeline.domain.image import Repository
    from pipeline.verbs.audit import DeepCheck


def verify(parts: Parts) -> int:
    """`verify REF`."""
    from pipeline.commands.verifying import look_back, verify_parts  # noqa: PLC0415
    from pipeline.render.audit import show_verification  # noqa: PLC0415
    from pipeline.verbs.verify import verify as verb  # noqa: PLC0415

    ref = parts.options.ref
    with parts.stopping(), parts.reporter.stage(f"verify {ref}"):
        found = verb(ref, verify_parts(parts, look_back(parts)))
    show_verification(found, console=console(), as_json=parts.options.json)
    return 0 if found.ok else 1


def audit(parts: Parts) -> int:
    """`audit [IMAGE…]`."""
    from pipeline.render.audit import show_audit  # noqa: PLC0415
    from pipeline.verbs.audit import AuditParts  # noqa: PLC0415
    from pipeline.verbs.audit import audit as verb  # noqa: PLC0415
    from pipeline.verbs.audit_keys import KeyParts  # noqa: PLC0415
    from pipeline.verbs.sifted import SiftedLedger  # noqa: PLC0415

    options, settings = parts.options, parts.settings
    ledger = SiftedLedger(parts.ledger)
    work = AuditParts(
        ledger=ledger,
        store=parts.releasing.registries,
        defined=_defined(parts),
        keys=parts.releasing.keys,
        people=KeyParts(rules=parts.releasing.branch, signatures=parts.releasing.signatures),
        reporter=parts.reporter,
        unsigned=settings.signing.unsafe_none,
        jobs=options.jobs,
        breaches=lambda: ledger.breaches,
    )
    names = [name if "/" in name else f"{parts.line.name}/{name}" for name in options.names]
    with parts.stopping():
        report = verb(work, images=names, deep=_deep(parts) if options.deep else None)
    show_audit(report, console=console(), as_json=options.json)
    return 0 if report.ok else 1


def _deep(parts: Parts) -> DeepCheck:
    """Return what makes the verification of releases by a ledger."""
    from functools import partial  # noqa: PLC0415

    from pipeline.verbs.verify import verify_release  # noqa: PLC0415

    return lambda look: partial(verify_release, parts=parts.releasing.verify_parts(look))


def _defined(parts: Parts) -> dict[str, Repository]:
    """Return where the definitions put each image."""
    catalogue = parts.catalogue
    return {
        f"{line.name}/{image.name}": catalogue.repository(image)
        for line in catalogue.lines.values()
        for image in line.images.values()
    }
