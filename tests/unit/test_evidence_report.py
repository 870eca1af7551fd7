from __future__ import annotations

import json
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st
from records import digest

from pipeline.domain.artifact import Entry
from pipeline.domain.evidence_report import KINDS, EvidenceReport, Piece, Standing, pieces_of, standing_of
from pipeline.domain.image import Digest, Repository
from pipeline.render.evidence import evidence_json, evidence_table, verdict

hashes = st.integers(1, 3).map(digest)
kinds = st.sampled_from(sorted(KINDS))
records = st.dictionaries(kinds | st.just("layer"), hashes, max_size=4)
documents = st.lists(st.tuples(kinds, hashes, st.booleans()), max_size=6)


def report_of(recorded: dict[str, Digest], found: Sequence[tuple[str, Digest, bool]]) -> EvidenceReport:
    pieces = [
        Piece(
            name=name,
            digest=one,
            artifact=digest(50 + number),
            standing=standing_of(recorded.get(name), one) if intact else Standing.DAMAGED,
            problem="" if intact else "broken \x1b[2J",
        )
        for number, (name, one, intact) in enumerate(found)
    ]
    return EvidenceReport(
        repository=Repository(registry="localhost", path="os/base"),
        candidate=digest(9),
        pieces=pieces_of(recorded, pieces),
        foreign=(Entry(digest=digest(8), size=3, artifact_type="[bold]x", kind=""),),
    )


@given(records, documents)
def test_a_report_is_good_when_every_recorded_document_was_found_intact(
    recorded: dict[str, Digest], found: list[tuple[str, Digest, bool]]
) -> None:
    report = report_of(recorded, found)
    wanted = {(name, one) for name, one in recorded.items() if name in KINDS}
    intact = {(name, one) for name, one, good in found if good}
    assert report.ok == (bool(wanted) and wanted <= intact)
    assert set(report.failed) == {name for name, _ in wanted - intact}
    assert set(recorded) <= {piece.name for piece in report.pieces}


@given(records, documents)
def test_every_report_can_be_shown(
    recorded: dict[str, Digest], found: list[tuple[str, Digest, bool]]
) -> None:
    report = report_of(recorded, found)
    assert evidence_table(report).row_count == len(report.pieces) + 1
    assert json.loads(json.dumps(evidence_json(report)))["ok"] is report.ok
    assert all(name in verdict(report) for name in report.failed)


def test_a_document_of_a_kind_the_ledger_does_not_name_proves_nothing() -> None:
    report = report_of({}, [("sbom", digest(1), True)])
    assert [piece.standing for piece in report.pieces] == [Standing.NOT_RECORDED]
    assert not report.ok
    assert verdict(report) == "the ledger names no evidence of this candidate"
