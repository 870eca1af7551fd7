"""The verbs that hold releases against what proves them: verify, audit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.commands.console import console
from pipeline.wiring import Parts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline.adapters.protected_history import ProtectedHistory
    from pipeline.adapters.referrers import Referrers
    from pipeline.adapters.registries import Registries
    from pipeline.adapters.registry import Registry
    from pipeline.domain.image import Repository
    from pipeline.domain.lookback import LookBack
    from pipeline.domain.record import Record
    from pipeline.verbs.audit import DeepCheck
    from pipeline.verbs.verify_checks import VerifyParts


def verify(parts: Parts) -> int:
    """`verify REF`."""
    from pipeline.render.audit import show_verification  # noqa: PLC0415
    from pipeline.verbs.verify import verify as verb  # noqa: PLC0415

    ref = parts.options.ref
    with parts.stopping(), parts.reporter.stage(f"verify {ref}"):
        found = verb(ref, verify_parts(parts, parts.ledger.read()))
    show_verification(found, console=console(), as_json=parts.options.json)
    return 0 if found.ok else 1


def audit(parts: Parts) -> int:
    """`audit [IMAGE…]`."""
    from pipeline.render.audit import show_audit  # noqa: PLC0415
    from pipeline.verbs.audit import AuditParts  # noqa: PLC0415
    from pipeline.verbs.audit import audit as verb  # noqa: PLC0415
    from pipeline.verbs.audit_keys import KeyParts  # noqa: PLC0415

    options, settings = parts.options, parts.catalogue.settings
    work = AuditParts(
        ledger=parts.ledger,
        store=_registries(parts),
        defined=_defined(parts),
        keys=parts.releasing.keys,
        people=KeyParts(rules=parts.releasing.branch, signatures=parts.releasing.signatures),
        reporter=parts.reporter,
        unsigned=settings.signing.unsafe_none,
        jobs=options.jobs,
    )
    names = [name if "/" in name else f"{parts.line.name}/{name}" for name in options.images]
    with parts.stopping():
        report = verb(work, images=names, deep=_deep(parts) if options.deep else None)
    show_audit(report, console=console(), as_json=options.json)
    return 0 if report.ok else 1


def verify_parts(parts: Parts, records: Sequence[Record] | LookBack) -> VerifyParts:
    """Return what releases are verified with, by a ledger that was read."""
    from pipeline.adapters.authors import GitAuthors  # noqa: PLC0415
    from pipeline.domain.lookback import LookBack  # noqa: PLC0415
    from pipeline.verbs.verify_checks import VerifyParts  # noqa: PLC0415

    history, store = _history(parts), _registries(parts)
    return VerifyParts(
        look=records if isinstance(records, LookBack) else LookBack(records),
        registry=store,
        evidence=store,
        signed=store,
        keys=parts.releasing.keys,
        rules=history,
        signatures=parts.releasing.signatures,
        authors=GitAuthors(parts.images),
        newcomers=history,
        unsigned=parts.catalogue.settings.signing.unsafe_none,
    )


def _deep(parts: Parts) -> DeepCheck:
    """Return what makes the verification of releases by a ledger."""
    from functools import partial  # noqa: PLC0415

    from pipeline.verbs.verify import verify_release  # noqa: PLC0415

    return lambda look: partial(verify_release, parts=verify_parts(parts, look))


def _registries(parts: Parts) -> Registries:
    """Return the project's registry, and those that the ledger's releases lie in beside it."""
    import random  # noqa: PLC0415
    import time  # noqa: PLC0415

    from pipeline.adapters.referrers import Referrers  # noqa: PLC0415
    from pipeline.adapters.registries import Registries  # noqa: PLC0415

    def opened(host: str) -> tuple[Registry, Referrers]:
        if host == parts.registry.host:
            return parts.registry, parts.proofs.referrers
        other = parts.registry_at(host, insecure=False)
        return other, Referrers(other, jitter=random.random, pause=time.sleep)

    return Registries(opened)


def _history(parts: Parts) -> ProtectedHistory:
    """Return the protected branch, now and before."""
    from pipeline.adapters.protected_history import ProtectedHistory  # noqa: PLC0415

    settings = parts.catalogue.settings
    return ProtectedHistory(
        parts.images,
        remote=settings.ledger.remote,
        branch=parts.environment.get("PIPELINE_PROTECTED_BRANCH") or None,
        local=settings.approval.branch,
    )


def _defined(parts: Parts) -> dict[str, Repository]:
    """Return where the definitions put each image."""
    catalogue = parts.catalogue
    return {
        f"{line.name}/{image.name}": catalogue.repository(image)
        for line in catalogue.lines.values()
        for image in line.images.values()
    }
