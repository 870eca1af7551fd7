"""Sizes of earlier releases come from the diffs they were approved with, and from nothing else."""

from __future__ import annotations

import json

import records

from pipeline.domain.canonical import canonical_json
from pipeline.domain.evidence import EvidenceKind
from pipeline.domain.oci import digest_of
from pipeline.domain.record import Candidate, Record
from pipeline.errors import NotFoundError
from pipeline.verbs.trend import LAST, trend_of

DIFF = EvidenceKind.DIFF


class Shelf:
    """Documents by the digest of their image."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    def fetch(self, candidate: Candidate, kind: EvidenceKind) -> bytes:
        try:
            return self.kept[f"{candidate.digest} {kind.value}"]
        except KeyError:
            raise NotFoundError("no such document", hint="build again") from None

    def released(self, number: int, size: object, *, of: int | None = None) -> tuple[Candidate, Record]:
        """Keep a release's diff; it speaks of the image `of` where that is another."""
        speaks = records.digest(of or number)
        data = canonical_json({"new": {"digest": str(speaks)}, "size": {"new_files": json.loads(str(size))}})
        made = records.candidate(number, evidence={DIFF.value: digest_of(data)})
        self.kept[f"{made.digest} {DIFF.value}"] = data
        return made, records.seal(f"1.{number}.0", number, of=made)


def shown(
    shelf: Shelf, number: int, *pairs: tuple[Candidate, Record], more: tuple[Record, ...] = ()
) -> object:
    ledger = [record for pair in pairs for record in pair]
    candidate = records.candidate(number)
    return [(one.name, one.total) for one in trend_of(candidate, [*ledger, *more], shelf)]


def test_the_last_releases_are_told_oldest_first() -> None:
    shelf = Shelf()
    pairs = [shelf.released(number, number * 100) for number in range(1, LAST + 3)]
    assert shown(shelf, 99, *pairs) == [(f"v1.{number}.0", number * 100) for number in range(3, LAST + 3)]


def test_the_candidate_itself_a_yanked_release_and_other_images_are_left_out() -> None:
    shelf = Shelf()
    first, second, third = (shelf.released(number, number) for number in (1, 2, 3))
    seal = second[1]
    assert shown(shelf, 3, first, second, third, more=(records.yank(seal),)) == [("v1.1.0", 1)]  # type: ignore[arg-type]
    other = records.candidate(9, image="other")
    assert trend_of(other, [*first, *second], shelf) == ()


def test_a_document_that_is_lost_wrong_or_of_another_image_is_left_out() -> None:
    shelf = Shelf()
    good, lost, changed, foreign, odd = (
        shelf.released(1, 7),
        shelf.released(2, 7),
        shelf.released(3, 7),
        shelf.released(4, 7, of=1),
        shelf.released(5, '"x"'),
    )
    del shelf.kept[f"{lost[0].digest} {DIFF.value}"]
    shelf.kept[f"{changed[0].digest} {DIFF.value}"] += b" "
    assert shown(shelf, 99, good, lost, changed, foreign, odd) == [("v1.1.0", 7)]
