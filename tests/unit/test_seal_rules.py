"""The rules of a seal that need nothing but the ledger: versions, reservations, what is written."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st
from records import NOON, candidate, digest, seal
from semver import Version

from pipeline.domain.image import Digest
from pipeline.domain.lineage import Lineage
from pipeline.domain.record import Record
from pipeline.domain.release import Reservation
from pipeline.domain.sealing import (
    LEASE,
    Asked,
    choose_version,
    git_tag,
    refuse_second_seal,
    refuse_taken,
    under_way,
)
from pipeline.errors import GateRefusedError, SealConflictError, UsageError

NAME = "debian/base"
MINE = digest(50)


def reserved(version: str, of: Digest = MINE, time: dt.datetime = NOON) -> Reservation:
    one = candidate(1)
    return Reservation(
        time=time, author="Ada", line="debian", image="base", repository=one.repository, digest=of,
        version=version, approvals=(),
    )  # fmt: skip


def chosen(
    records: tuple[Record, ...],
    asked: dict[str, str],
    proposed: str = "minor",
    approved: tuple[str, ...] = (),
) -> str:
    wish = Asked(bump=asked.get("bump"), version=asked.get("version"))
    lineage = Lineage(records)
    return choose_version(lineage, NAME, MINE, proposed=proposed, approved=approved, asked=wish).version


@pytest.mark.parametrize(
    ("records", "proposed", "approved", "asked", "expected"),
    [
        ((), "patch", (), {}, "1.0.0"),
        ((), "major", ("3.1.4",), {}, "3.1.4"),
        ((seal("1.2.3"),), "patch", (), {}, "1.2.4"),
        ((seal("1.2.3"),), "minor", ("1.3.0",), {}, "1.3.0"),
        ((seal("1.2.3"),), "minor", ("1.3.0", "1.5.0"), {}, "1.5.0"),
        ((seal("1.2.3"),), "minor", (), {"bump": "major"}, "2.0.0"),
        ((seal("1.2.3"),), "minor", (), {"version": "1.9.0"}, "1.9.0"),
        ((seal("1.2.3"), reserved("1.3.0", digest(9))), "minor", ("1.3.0",), {}, "1.4.0"),
        ((seal("1.2.3"), reserved("1.3.0")), "patch", (), {}, "1.3.0"),
        ((seal("1.2.3"), reserved("2.0.0")), "minor", (), {"bump": "major"}, "2.0.0"),
        ((seal("1.2.3"), reserved("1.3.0")), "minor", ("1.6.0",), {}, "1.6.0"),
        ((seal("1.2.3"), reserved("1.3.0"), seal("1.4.0", 2)), "minor", (), {}, "1.5.0"),
    ],
)
def test_the_version(
    records: tuple[Record, ...],
    proposed: str,
    approved: tuple[str, ...],
    asked: dict[str, str],
    expected: str,
) -> None:
    assert chosen(records, asked, proposed, approved) == expected


@pytest.mark.parametrize(
    ("records", "asked", "error", "why"),
    [
        ((seal("1.2.3"),), {"bump": "patch"}, GateRefusedError, r"lower than v1\.3\.0"),
        ((seal("1.2.3"),), {"version": "1.2.9"}, GateRefusedError, r"lower than v1\.3\.0"),
        ((), {"version": "0.9.0"}, GateRefusedError, r"lower than v1\.0\.0"),
        ((seal("1.2.3"),), {"version": "1.2.3"}, SealConflictError, r"v1\.2\.3 belongs to sha256:"),
        ((seal("1.2.3"),), {"version": "1.0.0"}, SealConflictError, r"is not above v1\.2\.3"),
        ((reserved("1.0.0", digest(9)),), {"version": "1.0.0"}, SealConflictError, "belongs to"),
        ((seal("1.2.3"), reserved("1.3.0")), {"bump": "major"}, SealConflictError, r"v1\.3\.0 is reserved"),
    ],
)
def test_a_version_that_cannot_be(
    records: tuple[Record, ...], asked: dict[str, str], error: type[Exception], why: str
) -> None:
    with pytest.raises(error, match=why):
        chosen(records, asked)


bumps = st.sampled_from(["major", "minor", "patch"])


@given(st.lists(st.tuples(bumps, st.booleans()), max_size=12), bumps, st.none() | bumps)
def test_versions_only_grow(history: list[tuple[str, bool]], proposed: str, bump: str | None) -> None:
    records: list[Record] = []
    for number, (part, finished) in enumerate(history):
        version = Lineage(records).next_version(NAME, part, digest=digest(number))
        records.append(seal(version, number) if finished else reserved(version, digest(number)))
    lineage = Lineage(records)
    highest = lineage.highest(NAME)
    try:
        found = choose_version(lineage, NAME, MINE, proposed=proposed, approved=(), asked=Asked(bump=bump))
    except GateRefusedError:
        assert bump is not None
        assert bump != "major"
        return
    assert highest is None or Version.parse(found.version) > Version.parse(highest)
    again = choose_version(
        Lineage([*records, reserved(found.version)]),
        NAME,
        MINE,
        proposed=proposed,
        approved=(),
        asked=Asked(),
    )
    assert (again.version, again.reserved) == (found.version, True)


def test_both_a_bump_and_a_version() -> None:
    with pytest.raises(UsageError, match="both a bump and a version"):
        Asked(bump="major", version="1.0.0")


@pytest.mark.parametrize("version", ["1", "1.0", "v1.0.0", "1.0.0-rc.1", "1.0.0+b", "", "1.0.0\n"])
def test_what_is_no_version(version: str) -> None:
    with pytest.raises(UsageError, match="is no release version"):
        Asked(version=version)


def test_a_reservation_keeps_others_away_until_it_is_sealed_or_old() -> None:
    records = (reserved("1.0.0", digest(9)),)
    live = under_way(records, Lineage(records), NOON + LEASE - dt.timedelta(seconds=1))
    with pytest.raises(
        SealConflictError, match=r"v1\.0\.0 is being sealed from .* since 2026-11-21T12:00:00Z"
    ):
        refuse_second_seal(NAME, MINE, live)
    refuse_second_seal(NAME, digest(9), live)
    refuse_second_seal("debian/other", MINE, live)
    assert under_way(records, Lineage(records), NOON + LEASE) == {}
    done = (*records, seal("1.0.0", 9))
    assert under_way(done, Lineage(done), NOON) == {}


def test_the_author_of_a_reservation_is_shown_harmless() -> None:
    records = (reserved("1.0.0", digest(9)),)
    live = under_way(records, Lineage(records), NOON)
    with pytest.raises(SealConflictError) as error:
        refuse_second_seal(NAME, MINE, live)
    assert error.value.hint.endswith("given up at 2026-11-21T12:30:00Z")
    assert error.value.exit_code == 21


def test_what_is_taken() -> None:
    lineage = Lineage((seal("1.0.0", 1), reserved("1.1.0", digest(2))))
    refuse_taken(lineage, NAME, "1.1.0", digest(2))
    refuse_taken(lineage, NAME, "1.2.0", MINE)
    with pytest.raises(SealConflictError, match="belongs to"):
        refuse_taken(lineage, NAME, "1.1.0", MINE)
    with pytest.raises(SealConflictError, match="is not above"):
        refuse_taken(lineage, NAME, "1.0.5", MINE)


def test_a_git_tag_is_named_after_the_image() -> None:
    assert git_tag("debian/web-1", "1.2.3") == "debian/web-1/v1.2.3"
