"""Reads the other documents of evidence into parts of the dossier: gates, boot test, SBOM, provenance, pin.

Rules: a document that is not understood is an error that names the field (`reading`), and the whole
part is then missing; nothing is half read. Sources: CycloneDX 1.6; SLSA provenance v1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from pipeline.domain.dossier.dossier import (
    GateLine,
    KernelPin,
    Maybe,
    PassedOverKernel,
    Provenance,
    Sbom,
    ScoreLine,
)
from pipeline.domain.dossier.reading import Fields, NotUnderstoodError
from pipeline.domain.gate import Verdict
from pipeline.domain.image import Digest
from pipeline.domain.pin import Pin
from pipeline.domain.provenance import PREDICATE
from pipeline.domain.record import Candidate
from pipeline.domain.sbom.score import Scorecard, hundredths

_DRIVER = "device-driver"


def read_gates(document: Any, image: Digest) -> tuple[GateLine, ...]:
    """Return what the gates' document says.

    Raises:
        NotUnderstoodError: It is not the document this program knows, or of another image.
    """
    fields = Fields(document, "gates")
    if fields.text("image") != str(image):
        raise NotUnderstoodError(f"it is of another image, {fields.text('image')}")
    return tuple(
        GateLine(
            gate=one.text("gate"),
            verdict=_verdict(one),
            summary=one.text("summary"),
            details=one.texts("details"),
        )
        for one in fields.objects("gates")
    )


def recorded_gates(candidate: Candidate) -> tuple[GateLine, ...]:
    """Return the gates as the ledger's record has them, without details."""
    return tuple(GateLine(gate=one.gate, verdict=one.verdict, summary=one.summary) for one in candidate.gates)


def _verdict(fields: Fields) -> Verdict:
    try:
        return Verdict(fields.text("verdict"))
    except ValueError as error:
        raise NotUnderstoodError(f"{fields.where}.verdict is no verdict") from error


def read_sbom(document: Any, image: Digest, scores: Maybe[tuple[ScoreLine, ...]]) -> Sbom:
    """Return what the SBOM holds.

    Raises:
        NotUnderstoodError: It is no CycloneDX document, or of another image.
    """
    fields = Fields(document, "sbom")
    if fields.text("bomFormat") != "CycloneDX":
        raise NotUnderstoodError("sbom.bomFormat is not CycloneDX")
    root = fields.object("metadata").object("component")
    digests = [one.text("content") for one in root.objects("hashes") if one.text("alg") == "SHA-256"]
    if digests != [image.hex]:
        raise NotUnderstoodError(f"it is of another image, {', '.join(digests) or 'none'}")
    components = fields.objects("components")
    kinds = Counter(one.text("type") for one in components)
    drivers = sorted(
        (one.text("name"), one.text("version", "")) for one in components if one.text("type") == _DRIVER
    )
    return Sbom(
        spec=fields.text("specVersion"),
        serial=fields.text("serialNumber", ""),
        components=tuple(sorted(kinds.items(), key=lambda one: (-one[1], one[0]))),
        drivers=tuple(drivers),
        scores=scores,
    )


def score_lines(card: Scorecard) -> tuple[ScoreLine, ...]:
    """Return a scorecard as lines, each with everything that falls short."""
    return tuple(
        ScoreLine(
            name=rating.title,
            version=rating.version,
            points=hundredths(rating.points),
            best=hundredths(rating.best),
            shortfalls=tuple(
                f"{item.asks} ({item.have} of {item.total}){': ' if item.reason else ''}{item.reason}"
                for item in rating.items
                if item.weight and not item.full
            ),
        )
        for rating in card.ratings
    )


def read_provenance(document: Any, image: Digest) -> Provenance:
    """Return what the provenance claims of an image.

    Raises:
        NotUnderstoodError: It is no SLSA v1 provenance, or of another image.
    """
    statement = Fields(document, "provenance")
    if statement.text("predicateType") != PREDICATE:
        raise NotUnderstoodError("provenance.predicateType is not SLSA provenance v1")
    subjects = [one.object("digest").text("sha256", "") for one in statement.objects("subject")]
    if subjects != [image.hex]:
        raise NotUnderstoodError(f"it is of another image, {', '.join(subjects) or 'none'}")
    predicate = statement.object("predicate")
    definition, details = predicate.object("buildDefinition"), predicate.object("runDetails")
    claim = definition.object("internalParameters").object("slsa")
    return Provenance(
        level=claim.whole("buildLevel"),
        why=claim.text("why"),
        conditions=claim.texts("conditions"),
        builder=details.object("builder").text("id"),
        build_type=definition.text("buildType"),
        dependencies=tuple(_dependencies(definition)),
    )


def _dependencies(definition: Fields) -> Iterator[tuple[str, str]]:
    for one in definition.objects("resolvedDependencies"):
        name, uri = one.text("name", ""), one.text("uri", "")
        yield name or uri, ", ".join(f"{kind}:{value}" for kind, value in one.pairs("digest")) or uri


def kernel_pin(pin: Pin) -> KernelPin:
    """Return a pin as the dossier shows it."""
    return KernelPin(
        kernel=pin.kernel,
        kernel_devel=" ".join(pin.kernel_devel),
        modules=dict(pin.modules),
        reason=pin.reason,
        chosen=pin.time,
        expires=pin.expires,
        passed_over=tuple(PassedOverKernel(kernel=one.kernel, reason=one.reason) for one in pin.passed_over),
    )
