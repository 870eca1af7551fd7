"""The verbs that look at one image and say what is true of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.commands.console import console, show, write_out
from pipeline.errors import PipelineError, SbomError, UsageError
from pipeline.wiring import Parts

if TYPE_CHECKING:
    from pipeline.domain.dossier.dossier import Dossier, Missing
    from pipeline.domain.evidence import EvidenceKind
    from pipeline.domain.pin import Pin
    from pipeline.domain.record import Candidate
    from pipeline.domain.sbom.score import Scorecard
    from pipeline.domain.vulnerabilities import VulnerabilityReport
    from pipeline.verbs.review import Review

IMAGES = "images"
"""Where definitions are when nothing else is said."""


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


def sbom(parts: Parts) -> int:
    """`sbom REF [-o FILE] [--score]`."""
    from pipeline.domain.sbom.score import as_json, scorecard  # noqa: PLC0415
    from pipeline.render.score import show as show_score  # noqa: PLC0415
    from pipeline.verbs.sbom_ref import plain_scan, sbom_of_ref  # noqa: PLC0415

    options = parts.options
    named = parts.candidate_ref(options.ref)
    workshop = parts.proofs.workshop(frozenset())
    with parts.run() as run:
        ref = named.repository.at(named.digest or parts.registry_at_ref(named).resolve(named).digest)
        document = sbom_of_ref(run, workshop, ref, parts.known_candidate(ref))
        beside = plain_scan(run, workshop, ref) if options.score else {}
    if options.output or not options.score:
        write_out(document.data, options.output)
    if not options.score:
        return 0
    ours = scorecard(json.loads(document.data), schema_valid=_fits_schema(document.data))
    plain = scorecard(beside, schema_valid=_fits_schema(json.dumps(beside).encode()))
    if options.json:
        show(parts, [], as_json(ours, plain))
    else:
        show_score(ours, console(), beside=plain, other="plain syft")
    return 0


def review(parts: Parts) -> int:
    """`review CANDIDATE [--html FILE]`."""
    from pipeline import __version__  # noqa: PLC0415
    from pipeline.render import dossier as render  # noqa: PLC0415
    from pipeline.render.html import dossier_html  # noqa: PLC0415

    options = parts.options
    reports = [_vulnerabilities(path) for path in (options.vulnerabilities, options.before)]
    record = parts.candidate_record(options.candidate)
    dossier = dossier_of(parts, record, *reports)
    if options.html:
        write_out(dossier_html(dossier, version=__version__).encode(), options.html)
    if options.json:
        show(parts, [], render.dossier_json(dossier))
    elif not options.html:
        render.show_dossier(dossier, console())
    return 0


def dossier_of(
    parts: Parts,
    record: Candidate,
    vulnerabilities: VulnerabilityReport | None = None,
    before: VulnerabilityReport | None = None,
    *,
    whole: bool = True,
) -> Dossier:
    """Return the dossier of a candidate.

    Args:
        parts: The parts of the run.
        record: The candidate.
        vulnerabilities: A scanner's report on it.
        before: The same scanner's report on its predecessor.
        whole: With what a decision does not hang on: the sizes of earlier releases, and the SBOM held against
            its schema again, which takes most of the time; the build did so with these bytes, whose hash is
            in the ledger.
    """
    from pipeline.verbs.review import review as verb  # noqa: PLC0415

    work = _review_parts(parts, record, whole=whole)
    with parts.reporter.stage(f"review {record.line}/{record.image}"):
        return verb(record, work, vulnerabilities=vulnerabilities, before=before)


def _review_parts(parts: Parts, record: Candidate, *, whole: bool) -> Review:
    from pipeline.adapters.commits import GitCommits  # noqa: PLC0415
    from pipeline.domain.record import candidates  # noqa: PLC0415
    from pipeline.domain.sbom.score import scorecard  # noqa: PLC0415
    from pipeline.verbs.evidence import fetch_evidence  # noqa: PLC0415
    from pipeline.verbs.knowing import paths_of  # noqa: PLC0415
    from pipeline.verbs.review import Review  # noqa: PLC0415
    from pipeline.verbs.trend import trend_of  # noqa: PLC0415

    store = parts.proofs.referrers
    records = parts.ledger.read()

    class Fetched:
        """Evidence by the hashes in the ledger."""

        def fetch(self, candidate: Candidate, kind: EvidenceKind) -> bytes:
            """Return one document."""
            return fetch_evidence(store, candidate, kind.value)

    def score(document: Mapping[str, Any]) -> Scorecard:
        valid = not whole or _fits_schema(json.dumps(document).encode())
        return scorecard(document, schema_valid=valid)

    return Review(
        documents=Fetched(),
        commits=GitCommits(parts.images),
        candidates=candidates(records),
        paths=paths_of(record),
        pin=_pin_of(parts, record),
        score=score,
        trend=trend_of(record, records, Fetched()) if whole else (),
        today=parts.clock().date(),
        program=_program(parts),
    )


def _program(parts: Parts) -> tuple[str, ...]:
    """Return the words that lead to the same definitions from the same folder."""
    from pipeline.domain.dossier.assembly import PROGRAM  # noqa: PLC0415

    images: str = parts.options.images
    return PROGRAM if images == IMAGES else (*PROGRAM, "--images", images)


def _pin_of(parts: Parts, record: Candidate) -> Pin | Missing:
    from pipeline.adapters.pins import Pins  # noqa: PLC0415
    from pipeline.domain.dossier.dossier import Missing  # noqa: PLC0415

    try:
        line = parts.catalogue.line(record.line)
        image = line.image(record.image)
        known = Pins(line.pins).read().pins
    except PipelineError as error:
        return Missing(why=error.message)
    found = [known[one.name] for one in (image, *line.parents(image)) if one.name in known]
    return found[0] if found else Missing(why="no kernel is pinned for this image or what it is built on")


def _vulnerabilities(path: str | None) -> VulnerabilityReport | None:
    from pipeline.domain.vulnerabilities import parse_vulnerabilities  # noqa: PLC0415

    if path is None:
        return None
    try:
        document = json.loads(Path(path).read_bytes())
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{path} cannot be read as JSON: {error}", hint="give a report of grype, trivy or in CycloneDX"
        ) from error
    return parse_vulnerabilities(document, name=path)


def _fits_schema(data: bytes) -> bool:
    from pipeline.domain.sbom.validation import check_schema  # noqa: PLC0415

    try:
        check_schema(data)
    except SbomError:
        return False
    return True
