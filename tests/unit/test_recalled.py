"""An answer is only ever remembered where asking again would give the same."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from subjects import Answers, subject
from trees import Content, Dir, Link, MemoryTree

from pipeline.domain.gate import Finding, Gate, Subject, Verdict, Waiver
from pipeline.domain.image import Tier
from pipeline.domain.overlaid import OverlaidTree
from pipeline.domain.placement import TreeEntry, place
from pipeline.domain.recalled import Recall
from pipeline.domain.tree import FileType, Tree
from pipeline.errors import AssemblyError, NotFoundError

BASE: dict[str, Content] = {
    "/lib": Link("usr/lib"),
    "/usr/lib/modules/1/zfs.ko": "module",
    "/usr/lib/modules/link": Link("../../share/a"),
    "/usr/share/a": "a",
    "/etc/hosts": "hosts",
    "/tmp": Dir(mode=0o1777),
}
BOTH = frozenset({Tier.BASE, Tier.INSTANCE})


class Counting:
    """A gate that looks at paths, tells all it saw, and counts how often it was asked."""

    def __init__(self, looks: Sequence[tuple[str, str]], *, run: bool = False) -> None:
        self.asked = 0
        self._looks = looks
        self._run = run

    def __call__(self, subject: Subject) -> Finding:
        self.asked += 1
        if self._run:
            subject.inside(["/bin/true"])
        seen = tuple(look(subject.tree, how, path) for how, path in self._looks)
        return Finding(verdict=Verdict.PASS, summary="seen", details=seen)

    def gate(self, tiers: frozenset[Tier] = BOTH) -> Gate:
        return Gate(name="counting", asks="?", tiers=tiers, rule=self)


def look(tree: Tree, how: str, path: str) -> str:
    if how == "entry":
        return repr(tree.entry(path))
    if how == "list":
        return repr(tree.list(path))
    if how == "walk":
        return repr(list(tree.walk(path)))
    try:
        return repr(tree.read(path))
    except NotFoundError:
        return "no file"


def over(*entries: TreeEntry) -> OverlaidTree:
    base = MemoryTree(BASE)
    return OverlaidTree(base, place(entries, base).entries)


def file(path: str, text: str = "new") -> TreeEntry:
    return TreeEntry(path=path, type=FileType.FILE, content=text.encode())


def ask(recall: Recall, gate: Gate, tree: OverlaidTree, **changes: object) -> Finding:
    made = dataclasses.replace(subject(tier=Tier.INSTANCE), tree=tree, **changes)  # type: ignore[arg-type]
    return recall.gates([gate], tree)[0].rule(made)


def test_what_no_host_touches_is_asked_once() -> None:
    rule, recall = Counting([("walk", "/lib/modules"), ("read", "/usr/lib/modules/1/zfs.ko")]), Recall()
    first = ask(recall, rule.gate(), over(file("/etc/one")))
    assert ask(recall, rule.gate(), over(file("/etc/two"), file("/usr/lib/other"))) == first
    assert rule.asked == 1


@pytest.mark.parametrize(
    "entry",
    [
        file("/usr/lib/modules/1/new.ko"),
        file("/usr/lib/modules/1/zfs.ko"),
        TreeEntry(path="/usr/lib/modules/link", type=FileType.SYMLINK, target="../../share/b"),
        file("/usr/share/a"),
        file("/usr/missing"),
    ],
)
def test_what_a_host_touches_is_asked_of_it(entry: TreeEntry) -> None:
    looks = [("walk", "/lib/modules"), ("read", "/usr/lib/modules/link"), ("entry", "/usr/missing")]
    rule, recall = Counting(looks), Recall()
    plain = ask(recall, rule.gate(), over())
    assert ask(recall, rule.gate(), over(entry)) != plain
    assert ask(recall, rule.gate(), over()) == plain
    assert rule.asked == 2


def test_an_answer_of_a_touched_host_is_not_kept() -> None:
    rule, recall = Counting([("read", "/etc/hosts")]), Recall()
    ask(recall, rule.gate(), over(file("/etc/hosts", "mine")))
    assert ask(recall, rule.gate(), over()).details == ("b'hosts'",)
    assert rule.asked == 2


@pytest.mark.parametrize(
    ("rule", "tiers"),
    [
        (Counting([("read", "/etc/hosts")], run=True), BOTH),
        (Counting([("read", "/etc/hosts")]), frozenset({Tier.INSTANCE})),
    ],
)
def test_what_ran_a_program_or_is_about_the_host_is_always_asked(
    rule: Counting, tiers: frozenset[Tier]
) -> None:
    recall = Recall()
    for _ in range(2):
        ask(recall, rule.gate(tiers), over(), inside=Answers(0))
    assert rule.asked == 2


def test_other_packages_or_expectations_are_asked_again_but_waivers_are_not() -> None:
    rule, recall = Counting([("read", "/etc/hosts")]), Recall()
    waiver = Waiver(reason="x", expires=dt.date(2030, 1, 1))
    expected = subject(waivers={"counting": waiver}).expected
    ask(recall, rule.gate(), over())
    ask(recall, rule.gate(), over(), expected=expected)
    assert rule.asked == 1
    ask(recall, rule.gate(), over(), packages=None)
    ask(recall, rule.gate(), over(), expected=subject(kernel="6").expected)
    assert rule.asked == 3


PATHS = (
    "/lib", "/lib/modules", "/usr/lib", "/usr/lib/modules/1/zfs.ko", "/usr/lib/modules/link", "/usr/share/a",
    "/usr/share", "/etc", "/etc/hosts", "/etc/a/b", "/new", "/tmp/x", "/",
)  # fmt: skip
looks = st.lists(
    st.tuples(st.sampled_from(["entry", "read", "list", "walk"]), st.sampled_from(PATHS)),
    min_size=1,
    max_size=3,
)
entries = st.one_of(
    st.builds(file, st.sampled_from(PATHS[:-1])),
    st.builds(
        lambda path, target: TreeEntry(path=path, type=FileType.SYMLINK, target=target),
        st.sampled_from(PATHS[:-1]),
        st.sampled_from(["/usr/share/a", "../etc", "modules"]),
    ),
    st.builds(
        lambda path, mode: TreeEntry(path=path, type=FileType.DIRECTORY, mode=mode),
        st.sampled_from(PATHS[:-1]),
        st.sampled_from([0o755, 0o700]),
    ),
)


@given(looks, st.lists(st.lists(entries, max_size=3), min_size=2, max_size=4))
def test_a_remembered_answer_is_the_one_that_asking_gives(
    seen: list[tuple[str, str]], hosts: list[list[TreeEntry]]
) -> None:
    recall = Recall()
    for tree in hosts:
        try:
            laid = over(*tree)
        except AssemblyError:
            continue
        fresh = Counting(seen)(dataclasses.replace(subject(tier=Tier.INSTANCE), tree=laid))
        assert ask(recall, Counting(seen).gate(), laid) == fresh
