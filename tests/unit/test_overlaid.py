"""A base with entries laid over it answers as the tree that both together are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trees import Content, Dir, File, Link, MemoryTree

from pipeline.domain.overlaid import OverlaidTree
from pipeline.domain.placement import TreeEntry, place
from pipeline.domain.tree import FileType
from pipeline.domain.walked import WalkedTree
from pipeline.errors import AssemblyError, NotFoundError

BASE: dict[str, Content] = {
    "/bin": Link("usr/bin"),
    "/usr/bin/sh": File(b"shell", mode=0o755),
    "/usr/lib/os-release": "ID=debian\n",
    "/etc/hosts": "old\n",
    "/etc/localtime": Link("../usr/share/zoneinfo/UTC"),
    "/usr/share/zoneinfo/UTC": "utc",
    "/usr/share/zoneinfo/CET": "cet",
    "/tmp": Dir(mode=0o1777),
    "/loop": Link("loop"),
    "/home": Link("var/home"),
}
NAMES = ("etc", "hosts", "bin", "usr", "lib", "a", "é", "..", "localtime", "tmp", "sh")


def laid(*entries: TreeEntry) -> OverlaidTree:
    base = MemoryTree(BASE)
    return OverlaidTree(WalkedTree(base), place(entries, base).entries)


def file(path: str, text: str = "new", mode: int = 0o644) -> TreeEntry:
    return TreeEntry(path=path, type=FileType.FILE, mode=mode, content=text.encode())


def test_a_file_of_the_host_replaces_the_base_s() -> None:
    tree = laid(file("/etc/hosts", "new\n", 0o600))
    entry = tree.entry("/etc/hosts")
    assert entry is not None
    assert (entry.mode, entry.size) == (0o600, 4)
    assert tree.read("/etc/hosts") == b"new\n"


def test_links_lead_from_the_one_tree_into_the_other() -> None:
    link = TreeEntry(path="/etc/localtime", type=FileType.SYMLINK, target="../usr/share/zoneinfo/CET")
    tree = laid(link, file("/bin/tool", "tool"))
    assert tree.read("/etc/localtime") == b"cet"
    assert tree.read("/bin/tool") == b"tool"
    assert tree.read("/usr/bin/tool") == b"tool"
    assert tree.list("/bin") == ("sh", "tool")
    assert [entry.path for entry in tree.walk("/bin")] == ["/bin/sh", "/bin/tool"]


def test_new_folders_are_listed_and_walked_in_order() -> None:
    tree = laid(file("/etc/app/b"), file("/etc/app/a"), file("/etc/zz"))
    assert tree.list("/etc") == ("app", "hosts", "localtime", "zz")
    assert [entry.path for entry in tree.walk("/etc")] == [
        "/etc/app",
        "/etc/app/a",
        "/etc/app/b",
        "/etc/hosts",
        "/etc/localtime",
        "/etc/zz",
    ]


@pytest.mark.parametrize("path", ["/nowhere", "/loop", "/etc", "/etc/hosts/below", "/home/x"])
def test_what_is_no_file_cannot_be_read(path: str) -> None:
    with pytest.raises(NotFoundError):
        laid(file("/etc/new")).read(path)


def test_a_file_larger_than_the_limit_is_not_read() -> None:
    with pytest.raises(NotFoundError, match="larger than 2"):
        laid(file("/etc/new", "abc")).read("/etc/new", limit=2)


paths = st.lists(st.sampled_from(NAMES), min_size=1, max_size=4).map(lambda parts: "/" + "/".join(parts))
entries = st.one_of(
    st.builds(file, paths, st.text(max_size=5), st.sampled_from([0o600, 0o644, 0o4755])),
    st.builds(
        lambda path, target: TreeEntry(path=path, type=FileType.SYMLINK, target=target),
        paths,
        st.sampled_from(["hosts", "../usr", "/etc", "/bin", "a", "/a/é", ".."]),
    ),
    st.builds(lambda path: TreeEntry(path=path, type=FileType.DIRECTORY, mode=0o755), paths),
)


@given(st.lists(entries, max_size=5), st.lists(paths, min_size=1, max_size=4))
def test_it_is_the_tree_that_both_are(tree: list[TreeEntry], asked: list[str]) -> None:
    base = MemoryTree(BASE)
    placed: tuple[TreeEntry, ...] = ()
    try:
        placed = place(tree, base).entries
    except AssemblyError:  # trees that do not fit are never laid over
        placed = place(tree[:0], base).entries
    both = MemoryTree(BASE)
    for one in placed:
        both.add(one.path, content(one))
    over = OverlaidTree(WalkedTree(base), placed)
    assert list(over.walk()) == sorted(both.walk(), key=lambda entry: entry.path.split("/"))
    for path in [*asked, "/", *(entry.path for entry in both.walk())]:
        assert (over.entry(path) is None) == (both.entry(path) is None), path
        assert over.list(path) == both.list(path), path
        assert facts(over, path) == facts(both, path), path


def content(one: TreeEntry) -> Content:
    if one.type is FileType.FILE:
        return File(one.content, mode=one.mode)
    return Link(one.target) if one.type is FileType.SYMLINK else Dir(mode=one.mode)


def facts(tree: OverlaidTree | MemoryTree, path: str) -> object:
    entry = tree.entry(path)
    try:
        data: bytes | None = tree.read(path)
    except NotFoundError:
        data = None
    return data, None if entry is None else (entry.type, entry.mode, entry.uid, entry.size, entry.target)
