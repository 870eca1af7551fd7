"""The verb that releases."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from pipeline.commands.console import console, show
from pipeline.commands.deciding import knowing, named_candidates
from pipeline.errors import SignatureError, UsageError
from pipeline.wiring import Parts

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pipeline.adapters.gittags import GitTags
    from pipeline.domain.record import Candidate
    from pipeline.domain.sealing import Sealed
    from pipeline.verbs.seal_parts import Further, SealParts, SealPlan, Signing

_UNSIGNED_TAG = "UNSAFE: --unsafe-unsigned-tag is set: nobody can prove who wrote the git tag"


def seal(parts: Parts) -> int:
    """`seal CANDIDATE…`."""
    from pipeline.domain.sealing import Asked  # noqa: PLC0415
    from pipeline.render.seal import plan_json, sealed_json, show_plan, show_sealed  # noqa: PLC0415
    from pipeline.verbs.seal import carry_out, plan_to_seal  # noqa: PLC0415
    from pipeline.verbs.seal_plan import Words, plan_seal  # noqa: PLC0415

    options = parts.options
    asked = Asked(bump=options.bump, version=options.version)
    words = Words(asked=asked, what=options.what or "", why=options.why or "")
    with parts.stopping():
        given, wanted = _seal_parts(parts), named_candidates(parts)
        if asked.version is not None and len(wanted) != 1:
            raise UsageError(
                "--version is for one candidate", hint="leave it out: each gets the next version"
            )
        made: list[Sealed] = []
        warnings: dict[str, None] = {}
        # From the top: what the images of one tier are built on is a release when their turn comes.
        for mine, left in _tier_by_tier(wanted):
            plan: SealPlan = (plan_seal if options.dry_run else plan_to_seal)(mine, words, given)
            warnings |= dict.fromkeys(plan.warnings)
            if options.dry_run and (plan.sealings or not left):
                note = (f"{left} more images follow; they can be planned when these are released",)
                summary = replace(plan.summary, warnings=(*warnings, *(note if left else ())))
                show(parts, [], plan_json(summary)) if options.json else show_plan(summary, console=console())
                return 0
            show_plan(plan.summary, console=console(sys.stderr))
            made += carry_out(plan, given)
    if options.json:
        show(parts, [], sealed_json(made, tuple(warnings)))
    else:
        show_sealed(made, tuple(warnings), console=console())
    return 0


def _tier_by_tier(wanted: Sequence[Candidate]) -> Iterator[tuple[Sequence[Candidate], int]]:
    """Yield the candidates of each tier, upstream first, and how many are left after them."""
    from pipeline.domain.image import Tier  # noqa: PLC0415

    left = len(wanted)
    for tier in Tier:
        mine = [one for one in wanted if one.tier is tier]
        left -= len(mine)
        if mine:
            yield mine, left


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
        further=_further(parts),
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

    if parts.settings.signing.unsafe_none:
        return UnsafeUnsigned(setting="signing.unsafe_none = true")
    return parts.releasing.signer


def _further(parts: Parts) -> Further | None:
    """Return what signs with the CI job's identity, where the settings want that.

    Raises:
        SignatureError: It is required, and the job has no identity token.
    """
    from pipeline.adapters.signer import Keyless  # noqa: PLC0415
    from pipeline.verbs.seal_parts import Further  # noqa: PLC0415

    settings, token = parts.settings, parts.environment.get("SIGSTORE_ID_TOKEN")
    wanted = settings.signing.keyless
    if wanted == "off" or settings.signing.unsafe_none:
        return None
    if not token:
        if wanted == "required":
            raise SignatureError(
                "signing.keyless is required, and SIGSTORE_ID_TOKEN is not set",
                hint="give the job id_tokens with the audience sigstore, or set signing.keyless to try",
            )
        parts.reporter.note("signing.keyless: SIGSTORE_ID_TOKEN is not set, so the key alone signs")
        return None
    insecure = frozenset({parts.registry.host} if settings.registry.insecure else ())
    return Further(signer=Keyless(parts.processes, token, insecure=insecure), required=wanted == "required")


def _tags(parts: Parts) -> GitTags:
    from pipeline.adapters.gittags import GitTags, Tagging  # noqa: PLC0415
    from pipeline.wiring.recording import git_key  # noqa: PLC0415

    options = parts.options
    return GitTags(
        parts.images.resolve(),
        remote=parts.settings.ledger.remote,
        tagging=Tagging(
            key=git_key(options, parts.environment),
            unsigned=options.unsafe_unsigned_tag,
            identity=parts.author,
            clock=parts.clock,
        ),
        processes=parts.processes,
    )
