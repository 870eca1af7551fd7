"""An image's files on this machine: links mean the image's own paths, and nothing outside is ever seen."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trees import Dir, Link, MemoryTree

from pipeline.adapters.tree import MountedTree
from pipeline.domain.tree import Entry, FileType
from pipeline.errors import NotFoundError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An image's root beside a secret of this machine."""
    (tmp_path / "secret").write_text("of this machine")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/shadow").write_text("of this machine")
    top = tmp_path / "image"
    (top / "etc").mkdir(parents=True)
    (top / "etc/shadow").write_text("of the image")
    return top


def read(root: Path, path: str) -> bytes | None:
    try:
        return MountedTree(root).read(path)
    except NotFoundError:
        return None


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/etc/shadow", b"of the image"),
        ("../../../../../../etc/shadow", b"of the image"),
        ("../secret", None),
        ("/../secret", None),
        ("etc/../../secret", None),
        ("/etc/../../../secret", None),
        ("/proc/self/environ", None),
        ("", None),
    ],
)
def test_links_mean_the_image_s_own_files(root: Path, target: str, expected: bytes | None) -> None:
    if target:
        (root / "link").symlink_to(target)
    assert read(root, "/link") == expected
    assert read(root, target) == expected


def test_an_absolute_link_to_this_machine_s_path_leads_nowhere(root: Path) -> None:
    (root / "link").symlink_to(root.parent / "secret")
    (root / "folder").symlink_to(root.parent)
    tree = MountedTree(root)
    assert read(root, "/link") is None
    assert read(root, "/folder/secret") is None
    assert tree.list("/folder") == ()
    assert list(tree.walk("/folder")) == []
    assert tree.entry("/folder/secret") is None


@pytest.mark.parametrize("path", ["/..", "/../..", "/../secret", "/etc/../../secret", "..", "../secret"])
def test_no_path_leaves_the_root(root: Path, path: str) -> None:
    tree = MountedTree(root)
    found = tree.entry(path)
    if path.endswith(".."):
        assert found is not None
        assert found.type is FileType.DIRECTORY
        assert tree.list(path) == ("etc",)
        inode = root.stat()
        assert (found.mode, found.uid) == (inode.st_mode & 0o7777, inode.st_uid)
    else:
        assert found is None
    assert read(root, path) is None


def test_dots_never_show_the_folder_above(root: Path) -> None:
    root.chmod(0o711)
    root.parent.chmod(0o755)
    found = MountedTree(root).entry("/etc/../..")
    assert found is not None
    assert found.mode == 0o711


def test_forty_links_are_followed_and_not_one_more(root: Path) -> None:
    (root / "l0").symlink_to("etc/shadow")
    for number in range(1, 41):
        (root / f"l{number}").symlink_to(f"l{number - 1}")
    assert read(root, "/l39") == b"of the image"
    assert read(root, "/l40") is None


def test_loops_end(root: Path) -> None:
    (root / "a").symlink_to("b")
    (root / "b").symlink_to("/a")
    (root / "self").symlink_to("self/x")
    (root / "up").symlink_to(".")
    tree = MountedTree(root)
    for path in ("/a", "/b", "/self", "/self/y", "/a/b/c"):
        assert read(root, path) is None
        assert tree.list(path) == ()
    assert [entry.path for entry in tree.walk("/up")] == [
        f"/up/{name}" for name in ("a", "b", "etc", "etc/shadow", "self", "up")
    ]


def test_a_final_link_is_shown_and_links_above_are_followed(root: Path) -> None:
    (root / "link").symlink_to("/etc/shadow")
    (root / "folder").symlink_to("etc")
    tree = MountedTree(root)
    found = tree.entry("/link")
    assert found is not None
    assert (found.type, found.target, found.size) == (FileType.SYMLINK, "/etc/shadow", 0)
    inside = tree.entry("/folder/shadow")
    assert inside is not None
    assert (inside.path, inside.type, inside.size) == ("/folder/shadow", FileType.FILE, 12)


def test_a_file_is_no_folder(root: Path) -> None:
    tree = MountedTree(root)
    assert tree.entry("/etc/shadow/x") is None
    assert tree.list("/etc/shadow") == ()
    assert list(tree.walk("/etc/shadow")) == []
    assert read(root, "/etc") is None
    assert read(root, "/") is None


def test_names_that_are_no_utf8_go_round(root: Path) -> None:
    raw = os.fsencode(root) + b"/caf\xe9"
    with open(raw, "wb") as file:  # noqa: PTH123 - the name is bytes
        file.write(b"data")
    (root / os.fsdecode(b"\xff")).symlink_to(os.fsdecode(b"caf\xe9"))
    tree = MountedTree(root)
    names = [name for name in tree.list("/") if name != "etc"]
    assert [os.fsencode(name) for name in names] == [b"caf\xe9", b"\xff"]
    assert [tree.read(f"/{name}") for name in names] == [b"data", b"data"]
    found = tree.entry(f"/{names[1]}")
    assert found is not None
    assert os.fsencode(found.target) == b"caf\xe9"
    assert [os.fsencode(entry.path) for entry in tree.walk()] == [
        b"/caf\xe9",
        b"/etc",
        b"/etc/shadow",
        b"/\xff",
    ]


def test_devices_pipes_and_sockets_are_named_and_never_opened(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(root / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        monkeypatch.chdir(root)  # a socket's path must be short
        server.bind("socket")
    expected = {"/pipe": FileType.FIFO, "/socket": FileType.SOCKET}
    if os.geteuid() == 0:
        os.mknod(root / "null", 0o600 | 0o020000, os.makedev(1, 3))
        os.mknod(root / "disk", 0o600 | 0o060000, os.makedev(7, 200))
        expected |= {"/null": FileType.CHARACTER, "/disk": FileType.BLOCK}
    tree = MountedTree(root)
    found = {entry.path: entry.type for entry in tree.walk() if not entry.path.startswith("/etc")}
    assert found == expected
    for path in expected:
        with pytest.raises(NotFoundError):
            tree.read(path)


def test_modes_and_owners_are_the_image_s(root: Path) -> None:
    (root / "tool").write_bytes(b"\x7fELF")
    (root / "tool").chmod(0o4755)
    assert MountedTree(root).entry("/tool") == Entry(
        path="/tool", type=FileType.FILE, mode=0o4755, uid=os.geteuid(), gid=os.getegid(), size=4
    )


def test_a_file_over_the_limit_is_refused_and_not_cut(root: Path) -> None:
    assert MountedTree(root).read("/etc/shadow", limit=12) == b"of the image"
    with pytest.raises(NotFoundError, match="larger than 11 bytes"):
        MountedTree(root).read("/etc/shadow", limit=11)


@pytest.mark.parametrize(
    "path", ["/etc//shadow", "etc/shadow", "/./etc/./shadow", "/etc/shadow/", "/etc/../etc/shadow"]
)
def test_a_path_may_be_spelled_in_any_way(root: Path, path: str) -> None:
    found = MountedTree(root).entry(path)
    assert found is not None
    assert found.type is FileType.FILE


def test_a_null_byte_in_a_path_is_no_file(root: Path) -> None:
    tree = MountedTree(root)
    assert tree.entry("/etc/\0") is None
    assert read(root, "/etc/\0") is None
    assert tree.list("/\0") == ()


parts = st.sampled_from(["a", "b", "c", "..", "."])
paths = st.lists(parts, min_size=1, max_size=5).map("/".join)
targets = st.tuples(st.sampled_from(["", "/"]), paths).map("".join)


@settings(derandomize=True, deadline=None, max_examples=120)
@given(
    st.dictionaries(st.sampled_from(["a", "b", "c", "a/b", "b/c", "c/a"]), targets | st.none(), max_size=6),
    st.lists(paths, min_size=1, max_size=4),
)
def test_it_agrees_with_the_tree_in_memory(
    tmp_path_factory: pytest.TempPathFactory, made: dict[str, str | None], asked: list[str]
) -> None:
    root = tmp_path_factory.mktemp("image")
    memory = MemoryTree({})
    for path, target in sorted(made.items()):
        parent = (root / path).parent
        if parent != root and (parent.is_symlink() or not parent.is_dir()):
            continue
        if target is None:
            (root / path).mkdir()
            memory.add(f"/{path}", Dir(mode=(root / path).stat().st_mode & 0o7777))
        else:
            (root / path).symlink_to(target)
            memory.add(f"/{path}", Link(target))
    mounted = MountedTree(root)
    for path in asked:
        assert mounted.list(path) == memory.list(path)
        one, other = mounted.entry(path), memory.entry(path)
        assert (one and one.type, one and one.target) == (other and other.type, other and other.target)
