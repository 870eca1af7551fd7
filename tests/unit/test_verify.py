"""What looking back at a seal finds: in the ledger alone, in documents, and how it is shown."""

from __future__ import annotations

import dataclasses
import datetime as dt
import io
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from approvalkit import approval, decided, rejection
from hypothesis import given
from hypothesis import strategies as st
from records import NOON, candidate, digest, records, reservation, seal, yank
from rich.console import Console

from pipeline.domain.decision import Release
from pipeline.domain.gate import Verdict
from pipeline.domain.image import Repository, Tier
from pipeline.domain.lookback import LookBack
from pipeline.domain.provenance import BuilderFacts, BuildFacts, statement
from pipeline.domain.record import Candidate, GateRecord, Parent, Record, SourceState
from pipeline.domain.release import Seal
from pipeline.domain.sealed_record import parent_problems, record_problems
from pipeline.domain.verification import Check, TierChecked, Verification, provenance_problems, sbom_problems
from pipeline.render.audit import show_verification
from pipeline.verbs.verify_parts import Once

HOUR = dt.timedelta(hours=1)
TOP = candidate(7, image="upstream", tier=Tier.UPSTREAM, parent=None)
ONE = candidate(1)
YES = approval("ben", decided(ONE), time=ONE.time + dt.timedelta(minutes=1))


def whole(**changes: object) -> tuple[Seal, list[Record]]:
    """A base release on a released upstream, and the ledger it stands in; `changes` are the seal's."""
    top = seal("3.0.0", of=TOP)
    above = Release(version="3.0.0", digest=TOP.digest)
    good = seal("1.0.0", of=ONE, approvals=(YES.id,), parent=above)
    mine = dataclasses.replace(good, **changes)  # type: ignore[arg-type]
    reserved = [reservation("3.0.0", 7, image="upstream"), reservation("1.0.0", 1)]
    return mine, [TOP, ONE, YES, *reserved, top, mine]


def told(**changes: object) -> str:
    mine, ledger = whole(**changes)
    look = LookBack(ledger)
    return "\n".join((*record_problems(mine, look), *parent_problems(mine, look)))


def test_a_seal_that_repeats_what_the_ledger_says_is_good() -> None:
    assert told() == ""


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"digest": digest(77)}, "another digest than its candidate"),
        ({"digest": digest(77)}, f"v1.0.0 was reserved for {ONE.digest}"),
        ({"repository": Repository(registry="127.0.0.1:5000", path="os/evil/base")}, "another repository"),
        ({"tier": Tier.INSTANCE}, "another tier"),
        ({"candidate": "f" * 64}, "no candidate record ffffffffffff before it"),
        ({"evidence": {"build.log": digest(66)}}, "its build.log is not its candidate's: got sha256:"),
        ({"evidence": {}}, "expected sha256:"),
        ({"approvals": ("f" * 64,)}, "no approval ffffffffffff before it"),
        ({"parent": None}, "it names the parent none, its candidate was built on"),
        ({"parent": None}, "it names no parent release"),
        ({"parent": Release(version="3.0.0", digest=digest(66))}, "is no release of a tier above"),
        ({"parent": Release(version="2.0.0", digest=TOP.digest)}, "the ledger says debian/upstream v3.0.0"),
        ({"predecessor": Release(version="0.9.0", digest=digest(66))}, "it says that it follows v0.9.0"),
        ({"version": "1.1.0"}, "v1.1.0 was not reserved before it was sealed"),
        ({"time": NOON - 5 * HOUR}, "it is dated 2026-11-21T07:00:00Z, but stands behind a record of"),
    ],
)
def test_each_contradiction_is_told_with_both_sides(changes: dict[str, object], why: str) -> None:
    assert why in told(**changes)


def test_an_approval_of_another_image_or_after_the_seal_is_none_of_it() -> None:
    other = approval("ben", decided(candidate(2, image="other")))
    mine, ledger = whole(approvals=(other.id,))
    assert "is not for debian/base" in "\n".join(record_problems(mine, LookBack([other, *ledger])))
    assert "has no approval" in "\n".join(record_problems(mine, LookBack([*ledger, other])))


def test_gates_that_did_not_pass_are_told() -> None:
    failed = (GateRecord(gate="one-kernel", verdict=Verdict.FAIL, summary="two kernels"),)
    bad = candidate(1, gates=failed)
    mine = seal("1.0.0", of=bad)
    assert "the gates of its candidate did not pass" in record_problems(mine, LookBack([bad, mine]))


def test_a_seal_that_is_not_in_the_ledger_is_told() -> None:
    mine, ledger = whole()
    assert "the ledger does not have this seal" in record_problems(
        dataclasses.replace(mine, why="other words"), LookBack(ledger)
    )


def test_the_first_seal_of_a_version_counts() -> None:
    mine, ledger = whole()
    again = dataclasses.replace(mine, author="Mallory", digest=digest(66))
    look = LookBack([*ledger, again])
    assert look.repeated() == (again,)
    assert record_problems(mine, look) == ()
    assert f"v1.0.0 was released before, as {mine.digest}" in "\n".join(record_problems(again, look))


def test_what_came_after_a_seal_is_not_held_against_it() -> None:
    mine, ledger = whole()
    no = rejection("cleo", decided(ONE))
    look = LookBack([*ledger, no, yank(look_top(ledger))])
    assert look.decisions(mine) == (YES,)
    assert record_problems(mine, look) == parent_problems(mine, look) == ()


def look_top(ledger: list[Record]) -> Seal:
    return next(one for one in ledger if isinstance(one, Seal) and one.image == "upstream")


def test_a_parent_that_was_yanked_before_is_told() -> None:
    mine, ledger = whole()
    ledger.insert(-1, yank(look_top(ledger), why="it does not boot", time=mine.time))
    expected = "its parent debian/upstream v3.0.0 had been yanked before: it does not boot"
    assert parent_problems(mine, LookBack(ledger)) == (expected,)


def test_a_parent_released_only_later_is_told() -> None:
    mine, ledger = whole()
    top = dataclasses.replace(look_top(ledger), time=mine.time + HOUR)
    late = [one for one in ledger if one is not look_top(ledger)]
    look = LookBack([*late, top])
    assert "its parent debian/upstream v3.0.0 was released after it" in parent_problems(mine, look)


def test_no_chain_of_parents_is_endless() -> None:
    """Two forged releases that name each other as parents."""
    a = candidate(1, image="a", parent=Parent(image="debian/b", digest=digest(2)))
    b = candidate(2, image="b", parent=Parent(image="debian/a", digest=digest(1)))
    seals = [
        seal("1.0.0", of=one, parent=Release(version="1.0.0", digest=other.digest))
        for one, other in ((a, b), (b, a))
    ]
    look = LookBack([a, b, *seals])
    assert [look.parent(one) for one in seals] == [None, None]
    assert "is no release of a tier above" in "\n".join(parent_problems(seals[0], look))


@given(st.lists(records, max_size=12))
def test_any_ledger_can_be_looked_back_at(ledger: list[Record]) -> None:
    look = LookBack(ledger)
    for one in (one for one in ledger if isinstance(one, Seal)):
        assert all(
            isinstance(text, str) for text in (*record_problems(one, look), *parent_problems(one, look))
        )
        assert len(look.decisions(one)) <= len(ledger)
        seen, above = 0, look.parent(one)
        while above is not None:
            seen, above = seen + 1, look.parent(above)
        assert seen < len(Tier)


def sbom(**changes: object) -> dict[str, Any]:
    hashes = [{"alg": "SHA-256", "content": ONE.digest.hex}]
    ancestors = [{"hashes": [{"alg": "SHA-256", "content": digest(7).hex}]}]
    component = {"name": "base", "hashes": hashes, "pedigree": {"ancestors": ancestors}, **changes}
    return {"bomFormat": "CycloneDX", "metadata": {"component": component}}


def bytes_of(value: object) -> bytes:
    return json.dumps(value).encode()


def test_an_sbom_covers_the_image_it_names() -> None:
    assert sbom_problems(bytes_of(sbom()), ONE) == ()
    assert sbom_problems(bytes_of(sbom(pedigree=None)), ONE) == ()
    other = sbom(hashes=[{"alg": "SHA-256", "content": digest(66).hex}])
    assert "it covers" in sbom_problems(bytes_of(other), ONE)[0]
    assert "it covers none" in sbom_problems(bytes_of(sbom(hashes=[])), ONE)[0]
    above = sbom(pedigree={"ancestors": [{"hashes": [{"alg": "SHA-256", "content": digest(66).hex}]}]})
    assert "it names the parent" in sbom_problems(bytes_of(above), ONE)[0]


def provenance(one: Candidate = ONE) -> bytes:
    return statement(one, BuildFacts(definition="d.toml", timestamp=0), BuilderFacts(versions={}), {})


@pytest.mark.parametrize(
    ("built", "why"),
    [
        (candidate(2), "it is of "),
        (dataclasses.replace(ONE, source=SourceState(commit="b" * 40)), "it names the commit bbbbbbbb"),
        (dataclasses.replace(ONE, source=SourceState()), "it names the commit none"),
        (dataclasses.replace(ONE, parent=None), "it does not name the parent sha256:"),
        (dataclasses.replace(ONE, run="run-2"), "it is of the run run-2"),
    ],
)
def test_a_provenance_of_another_build_is_told(built: Candidate, why: str) -> None:
    assert provenance_problems(provenance(), ONE) == ()
    assert why in "\n".join(provenance_problems(provenance(built), ONE))


@pytest.mark.parametrize(
    "data",
    [b"", b"\xff", b"[" * 100_000, b"null", b"[]", b"{}", b'{"predicateType": 7}', b'{"metadata": []}'],
)
def test_hostile_documents_are_told_and_nothing_breaks(data: bytes) -> None:
    for judge in (sbom_problems, provenance_problems):
        assert any("not understood" in problem or "no CycloneDX" in problem for problem in judge(data, ONE))


KEYS = [
    "subject",
    "digest",
    "sha256",
    "predicate",
    "predicateType",
    "buildDefinition",
    "metadata",
    "component",
    "hashes",
    "alg",
    "content",
    "pedigree",
    "ancestors",
    "resolvedDependencies",
    "internalParameters",
    "run",
    "bomFormat",
]
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=20,
)


@given(json_values)
def test_no_document_of_another_form_is_good(value: object) -> None:
    assert sbom_problems(bytes_of(value), ONE)
    assert provenance_problems(bytes_of(value), ONE)


def tier(*checks: Check, name: str = "debian/web-1", version: str = "1.0.0") -> TierChecked:
    repository = Repository(registry="127.0.0.1:5000", path=f"os/{name}")
    return TierChecked(
        name=name, version=version, tier=Tier.INSTANCE, repository=repository, digest=digest(1), checks=checks
    )


def shown(found: Verification, *, as_json: bool = False) -> str:
    screen = io.StringIO()
    console = Console(file=screen, width=160, highlight=False, markup=False)
    show_verification(found, console=console, as_json=as_json)
    return screen.getvalue()


def test_every_problem_of_every_tier_is_shown_and_texts_stay_texts() -> None:
    bad = Check(name="tag", problems=("v1 names \x1b[31m[red]x[/red]", "and another"))
    good = Check(name="record", said="sealed by [bold]Cleo", notes=("yanked since",))
    found = Verification(tiers=(tier(good, bad), tier(bad, name="debian/base")))
    text = shown(found)
    for expected in (
        "✗ debian/web-1 v1.0.0: tag: v1 names \\x1b[31m[red]x[/red]",
        "✗ debian/base v1.0.0: tag: and another",
        "! debian/web-1 v1.0.0: record: yanked since",
        "sealed by [bold]Cleo",
        "debian/web-1 v1.0.0 does not verify: 4 problems",
    ):
        assert expected in text
    assert "\x1b" not in text


def test_the_json_of_a_verification_is_a_contract() -> None:
    found = Verification(tiers=(tier(Check(name="tag", said="v1.0.0 names it")),))
    assert json.loads(shown(found, as_json=True)) == {
        "ok": True,
        "tiers": [
            {
                "image": "debian/web-1",
                "version": "1.0.0",
                "tier": "instance",
                "reference": f"127.0.0.1:5000/os/debian/web-1@{digest(1)}",
                "checks": [
                    {"name": "tag", "ok": True, "seen": "v1.0.0 names it", "problems": [], "notes": []}
                ],
            }
        ],
        "problems": [],
    }
    assert "debian/web-1 v1.0.0 verify" in shown(found)
    below = Verification(tiers=(tier(), tier(name="debian/base")))
    assert "debian/web-1 v1.0.0 and the 1 it is built on verify" in shown(below)
    assert not Verification(tiers=()).ok


def test_what_several_releases_share_is_made_once() -> None:
    made: list[int] = []
    together, shared = threading.Barrier(8), Once[int]()

    def make() -> int:
        made.append(1)
        return len(made)

    def ask(_: int) -> int:
        together.wait(10)
        return shared.once("base", make)

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(ask, range(8))) == {1}
    assert len(made) == 1


def test_a_failure_is_everybodys_who_shares_it() -> None:
    shared = Once[int]()

    def fail() -> int:
        raise KeyError("no answer")

    for _ in range(2):
        with pytest.raises(KeyError, match="no answer"):
            shared.once("base", fail)
