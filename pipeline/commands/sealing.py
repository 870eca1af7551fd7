"""The verb that releases."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.commands.console import console, show
from pipeline.commands.deciding import knowing, named_candidates
from pipeline.wiring import Parts

if TYPE_CHECKING:
    from pipeline.adapters.gittags import GitTags
    from pipeline.verbs.seal_parts import SealParts, SealPlan, Signing

_UNSIGNED_TAG = "UNSAFE: --unsafe-unsigned-tag is set: nobody can prove who wrote the git tag"


def seal(parts: Parts) -> int:
    """`seal CANDIDATE…`."""
    from pipeline.domain.sealing import Asked  # noqa: PLC0415
    from pipeline.render.seal import plan_json, sealed_json, show_plan, show_sealed  # noqa: PLC0415
    from pipeline.verbs.seal import carry_out  # noqa: PLC0415
    from pipeline.verbs.seal_plan import Words, plan_seal  # noqa: PLC0415

    options = parts.options
    asked = Asked(bump=options.bump, version=options.version)
    words = Words(asked=asked, what=options.what or "", why=options.why or "")
    with parts.stopping():
        given = _seal_parts(parts)
        plan: SealPlan = plan_seal(named_candidates(parts), words, given)
        summary = plan.summary
        if options.dry_run:
            if not options.json:
                show_plan(summary, console=console())
            else:
                show(parts, [], plan_json(summary))
            return 0
        show_plan(summary, console=console(sys.stderr))
        made = carry_out(plan, given)
    if options.json:
        show(parts, [], sealed_json(made, plan.warnings))
    else:
        show_sealed(made, plan.warnings, console=console())
    return 0


def _seal_parts(parts: Parts) -> SealParts:
    from pipeline.verbs.seal_parts import SealParts  # noqa: PLC0415

    options, releasing = parts.options, parts.releasing
    return SealParts(
        ledger=parts.ledger,
        rules=releasing.branch,
        signatures=releasing.signatures,
        knowing=knowing(parts, releasing.branch, jobs=options.jobs),
        registry=parts.registry,
        keys=releasing.keys,
        signer=_signing(parts),
        signed=releasing.signed_store,
        host_pull=releasing.host_pull,
        tags=_tags(parts),
        author=parts.author[0],
        clock=parts.clock,
        reporter=parts.reporter,
        warnings=(_UNSIGNED_TAG,) if options.unsafe_unsigned_tag else (),
        jobs=options.jobs,
    )


def _signing(parts: Parts) -> Signing:
    from pipeline.verbs.signing import UnsafeUnsigned  # noqa: PLC0415

    if parts.catalogue.settings.signing.unsafe_none:
        return UnsafeUnsigned(setting="signing.unsafe_none = true")
    return parts.releasing.signer


def _tags(parts: Parts) -> GitTags:
    from pipeline.adapters.gittags import GitTags, Tagging  # noqa: PLC0415

    options = parts.options
    key = options.git_key or parts.environment.get("PIPELINE_GIT_KEY")
    return GitTags(
        parts.images.resolve(),
        remote=parts.catalogue.settings.ledger.remote,
        tagging=Tagging(
            key=Path(os.path.expanduser(key)) if key else None,  # noqa: PTH111 - a path a user typed
            unsigned=options.unsafe_unsigned_tag,
            identity=parts.author,
            clock=parts.clock,
        ),
        processes=parts.processes,
    )
