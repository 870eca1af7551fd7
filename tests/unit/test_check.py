from __future__ import annotations

import datetime as dt
import io
import json
from collections.abc import Iterator

import pytest
from rich.console import Console
from subjects import subject
from trees import Content, Link, MemoryTree

from pipeline.domain.gate import Finding, Gate, Subject, Verdict, Waiver
from pipeline.domain.gates.registry import all_gates
from pipeline.domain.image import NAME, Tier
from pipeline.domain.tree import Entry
from pipeline.domain.walked import WalkedTree
from pipeline.errors import GateRefusedError
from pipeline.render.gates import list_to_json, show, show_list, to_json
from pipeline.verbs.check import check, require

HOSTILE = "/etc/\x1b[2J\x1b]0;gone\x07[red]x\u202e\udcff"
ALL = frozenset(Tier)


def _passes(_: Subject) -> Finding:
    return Finding(verdict=Verdict.PASS, summary="fine")


def _fails(_: Subject) -> Finding:
    return Finding(verdict=Verdict.FAIL, summary="not fine", details=(HOSTILE,))


def _breaks(_: Subject) -> Finding:
    raise RuntimeError(HOSTILE)


GOOD = Gate(name="good", asks="Is it good?", tiers=ALL, rule=_passes)
BAD = Gate(name="bad", asks="Is it bad?", tiers=ALL, rule=_fails)
BROKEN = Gate(name="broken", asks="Is it broken?", tiers=frozenset({Tier.BASE}), rule=_breaks)


def _text(report_or_gates: object) -> str:
    out = io.StringIO()
    console = Console(file=out, width=200, force_terminal=False)
    if isinstance(report_or_gates, tuple):
        show_list(report_or_gates, console)
    else:
        show(report_or_gates, console)  # type: ignore[arg-type]
    return out.getvalue()


def test_names_of_gates_are_unique_and_can_be_waived_by_name() -> None:
    names = [gate.name for gate in all_gates()]

    assert len(set(names)) == len(names)
    assert all(NAME.fullmatch(name) for name in names)
    assert all(gate.asks.endswith("?") and gate.tiers for gate in all_gates())
    assert {"one-kernel", "no-build-tools", "no-secrets", "policy", "persistence-layout"} <= set(names)


def test_every_gate_answers_on_an_empty_image_and_none_breaks() -> None:
    report = check(subject())

    assert not report.ok
    assert not [it for it in report.results if "could not be checked: " in it.finding.summary]


def test_a_gate_that_breaks_is_unchecked_and_the_others_still_speak() -> None:
    report = check(subject(), (BROKEN, BAD, GOOD))

    assert [it.finding.verdict for it in report.results] == [Verdict.UNCHECKED, Verdict.FAIL, Verdict.PASS]
    with pytest.raises(GateRefusedError) as caught:
        require(report)
    assert "2 of 3 gates said no" in caught.value.message
    assert "broken: unchecked" in caught.value.message
    assert "bad: fail: not fine" in caught.value.message
    assert "\x1b" not in caught.value.message
    assert "\u202e" not in caught.value.message


def test_a_pass_is_let_through_and_no_answer_is_no_pass() -> None:
    require(check(subject(), (GOOD,)))
    with pytest.raises(GateRefusedError):
        require(check(subject(tier=Tier.UPSTREAM), (BROKEN,)))


@pytest.mark.parametrize(("day", "ok"), [(20, False), (21, True), (22, True)])
def test_a_waiver_counts_until_its_last_day(day: int, ok: bool) -> None:  # noqa: FBT001
    waivers = {"bad": Waiver(reason="vendor's file", expires=dt.date(2026, 11, day))}
    report = check(subject(waivers=waivers), (BAD, GOOD))

    assert report.ok is ok
    assert report.results[0].finding.verdict is (Verdict.WAIVED if ok else Verdict.FAIL)
    assert "vendor's file" in json.dumps(to_json(report))


def test_the_table_shows_hostile_text_and_lets_it_do_nothing() -> None:
    text = _text(check(subject(), (BAD, GOOD)))

    assert "[red]x" in text
    assert not {"\x1b", "\x07", "\u202e", "\udcff"} & set(text)
    assert "1 of 2 gates said no" in text
    assert "all 1 gates let the image pass" in _text(check(subject(), (GOOD,)))


def test_the_document_keeps_its_shape() -> None:
    document = to_json(check(subject(), (BAD,)))

    assert document["ok"] is False
    assert document["tier"] == "base"
    assert set(document["gates"][0]) == {"gate", "verdict", "summary", "details"}
    json.dumps(document, ensure_ascii=False).encode()


def test_the_list_names_every_gate() -> None:
    text = _text(all_gates())

    assert all(gate.name in text for gate in all_gates())
    assert list_to_json((BROKEN,)) == [{"gate": "broken", "asks": "Is it broken?", "tiers": ["base"]}]


class Counting(MemoryTree):
    """A tree that counts how often it is walked from the root."""

    walks = 0

    def walk(self, top: str = "/") -> Iterator[Entry]:
        self.walks += top == "/"
        return super().walk(top)


def test_the_tree_is_walked_once_and_every_part_reads_the_same() -> None:
    contents: dict[str, Content] = {
        "/a/b/c": b"1",
        "/a/b-": b"2",
        "/a/b.d/x": b"3",
        "/l": Link("a/b"),
        "/z": b"4",
    }
    tree, plain = Counting(contents), MemoryTree(contents)
    walked = WalkedTree(tree)

    for top in ("/", "/a", "/a/b", "/a/b.d", "/l", "/z", "/none", "/"):
        assert list(walked.walk(top)) == list(plain.walk(top))
    assert tree.walks == 1
    assert walked.entry("/l") == plain.entry("/l")
    assert walked.list("/l") == ("c",)
    assert walked.read("/l/c") == b"1"
