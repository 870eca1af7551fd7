"""A review fetches every document by its hash, and uses none that is not what the ledger says."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence

import dossiers
import pytest
import records

from pipeline.domain.canonical import canonical_json
from pipeline.domain.dossier.dossier import Commit, Dossier, Held, History, Missing
from pipeline.domain.evidence import EvidenceKind
from pipeline.domain.oci import digest_of
from pipeline.domain.record import Candidate, SourceState
from pipeline.domain.sbom.score import scorecard
from pipeline.domain.vulnerabilities import parse_vulnerabilities
from pipeline.errors import NotFoundError, RegistryError
from pipeline.verbs.review import Review, review

CONSOLE = b"[    0.0] Linux\n[    1.0] \xff\xfe\n"


class Shelf:
    """Documents in memory; one that is None is lost, an error is raised."""

    def __init__(self, documents: Mapping[EvidenceKind, bytes | Exception]) -> None:
        self.documents = documents

    def fetch(self, candidate: Candidate, kind: EvidenceKind) -> bytes:
        found = self.documents.get(kind, NotFoundError(f"no {kind.value}", hint="build again"))
        if isinstance(found, Exception):
            raise found
        return found


class Log:
    """Remembers what it was asked; refuses a commit it does not have."""

    def __init__(self, *lacking: str) -> None:
        self.asked: list[tuple[str | None, str, tuple[str, ...]]] = []
        self.lacking = lacking

    def commits_since(self, since: str | None, until: str, paths: Sequence[str] = ()) -> tuple[Commit, ...]:
        self.asked.append((since, until, tuple(paths)))
        if since in self.lacking:
            raise NotFoundError(f"the repository does not have commit {since}", hint="fetch it")
        return (Commit(id=until, subject="why", author="Ada", time=records.NOON),)


def stored() -> dict[EvidenceKind, bytes | Exception]:
    found: dict[EvidenceKind, bytes | Exception] = {
        kind: canonical_json(document) for kind, document in dossiers.documents().items()
    }
    return {**found, EvidenceKind.CONSOLE: CONSOLE}


def recorded(documents: Mapping[EvidenceKind, bytes | Exception]) -> Candidate:
    digests = {kind.value: digest_of(data) for kind, data in documents.items() if isinstance(data, bytes)}
    return dossiers.candidate(evidence=digests)


def parts(
    documents: Mapping[EvidenceKind, bytes | Exception], log: Log | None = None, **changes: object
) -> Review:
    values: dict[str, object] = {
        "documents": Shelf(documents),
        "commits": log or Log(),
        "candidates": (
            dossiers.candidate(digest=records.digest(2), source=SourceState(commit="b" * 40, clean=True)),
        ),
        "paths": ("debian",),
        "pin": dossiers.pin(),
        "score": lambda document: scorecard(document, schema_valid=True),
        "trend": (),
        "today": dt.date(2026, 11, 21),
    }
    return Review(**{**values, **changes})  # type: ignore[arg-type]


def held(dossier: Dossier) -> dict[str, Held]:
    return {line.name: line.held for line in dossier.evidence}


def test_a_whole_candidate_is_verified_and_compared_with_the_predecessor_s_commit() -> None:
    documents, log = stored(), Log()
    dossier = review(recorded(documents), parts(documents, log))
    assert set(held(dossier).values()) == {Held.VERIFIED}
    assert log.asked == [("b" * 40, "a" * 40, ("debian",))]
    assert isinstance(dossier.history, History)
    assert dossier.judgement.ok
    assert not isinstance(dossier.boot, Missing)
    assert dossier.boot.console == ("[    0.0] Linux", "[    1.0] \udcff\udcfe")


def test_the_commands_call_the_program_as_it_was_called() -> None:
    documents = stored()
    program = ("pipeline", "--images", "os/images")
    dossier = review(recorded(documents), parts(documents, program=program))
    assert dossier.approve[:4] == (*program, "approve")
    assert dossier.reject[:4] == (*program, "reject")


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        (b"{}\n", Held.DIFFERS),
        (NotFoundError("gone", hint="x"), Held.LOST),
        (RegistryError("its bytes are not what the hash says", hint="x"), Held.DIFFERS),
    ],
)
def test_a_document_that_is_not_the_recorded_one_is_never_used(
    wrong: bytes | Exception, expected: Held
) -> None:
    documents = stored()
    candidate = recorded(documents)
    dossier = review(candidate, parts({**documents, EvidenceKind.SBOM: wrong}))
    assert held(dossier)["sbom"] is expected
    assert isinstance(dossier.sbom, Missing)
    sections = [point.section for point in dossier.judgement.blocks]
    assert sections == ["sbom", "evidence"]


def test_a_document_nobody_recorded_is_not_even_fetched() -> None:
    documents = stored()
    candidate = recorded(
        {kind: data for kind, data in documents.items() if kind is not EvidenceKind.PROVENANCE}
    )
    dossier = review(candidate, parts(documents))
    assert held(dossier)["provenance"] is Held.ABSENT
    assert isinstance(dossier.provenance, Missing)


@pytest.mark.parametrize("data", [b"not json", b"\xff\xfe", b"[" * 100_000])
def test_a_document_that_is_no_json_is_told(data: bytes) -> None:
    documents = {**stored(), EvidenceKind.DIFF: data}
    dossier = review(recorded(documents), parts(documents))
    assert isinstance(dossier.difference, Missing)
    assert "no JSON" in dossier.difference.why


def test_without_a_recorded_predecessor_the_latest_commits_are_told() -> None:
    documents, log = stored(), Log()
    review(recorded(documents), parts(documents, log, candidates=()))
    assert log.asked[0][0] is None


def test_a_clone_that_lacks_the_commits_says_so() -> None:
    documents = stored()
    dossier = review(recorded(documents), parts(documents, Log("b" * 40)))
    assert isinstance(dossier.history, Missing)
    assert "does not have commit" in dossier.history.why
    assert dossier.judgement.ok


def test_vulnerabilities_are_compared_where_both_reports_are_given() -> None:
    documents = stored()
    new = parse_vulnerabilities(dossiers.NEW_REPORT)
    old = parse_vulnerabilities(dossiers.OLD_REPORT)
    dossier = review(recorded(documents), parts(documents), vulnerabilities=new, before=old)
    assert not isinstance(dossier.vulnerabilities, Missing)
    assert [one.id for one in dossier.vulnerabilities.went] == ["CVE-2026-00002"]
    assert isinstance(review(recorded(documents), parts(documents)).vulnerabilities, Missing)
