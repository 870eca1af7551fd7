from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from layertars import Part, image_parts, layer_tar, snapshot_of

from pipeline.domain.diff.files import change_of, file_changes
from pipeline.domain.diff.noise import noise_of
from pipeline.domain.diff.snapshot import Aspect, ChangeKind, FileChange, FileFacts, LayerSize, Snapshot
from pipeline.domain.tree import Entry, FileType

FILE = FileFacts(
    path="/usr/bin/x", type=FileType.FILE, mode=0o755, uid=0, gid=0, size=1, mtime=5, sha256="a" * 64
)
CAPABILITY = (("security.capability", "0100"),)


class OneByOne:
    """A snapshot that offers no table of contents, so that it is compared path by path."""

    layers: tuple[LayerSize, ...] = ()
    config: Mapping[str, Any] = {}

    def __init__(self, inner: Snapshot) -> None:
        self._inner = inner

    def facts(self, path: str) -> FileFacts | None:
        return self._inner.facts(path)

    def all(self) -> Iterator[FileFacts]:
        return self._inner.all()

    def entry(self, path: str) -> Entry | None:
        return self._inner.entry(path)

    def read(self, path: str, *, limit: int = 1 << 30) -> bytes:
        return self._inner.read(path, limit=limit)

    def list(self, path: str) -> tuple[str, ...]:
        return self._inner.list(path)

    def walk(self, top: str = "/") -> Iterator[Entry]:
        return self._inner.walk(top)


@settings(
    derandomize=True,
    deadline=None,
    max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(image_parts, image_parts, image_parts)
def test_comparing_layers_gives_what_comparing_every_path_gives(
    tmp_path: Path, shared: list[list[Part]], mine: list[list[Part]], theirs: list[list[Part]]
) -> None:
    old = snapshot_of([layer_tar(parts) for parts in (*shared, *mine)], tmp_path)
    new = snapshot_of([layer_tar(parts) for parts in (*shared, *theirs)], tmp_path)
    found, expected = file_changes(old, new), file_changes(OneByOne(old), OneByOne(new))
    assert found.changes == expected.changes
    assert sorted(found.touched) == sorted(expected.touched)
    back = file_changes(new, old)
    assert [change.path for change in back.changes] == [change.path for change in found.changes]
    assert file_changes(old, old) == file_changes(new, new)
    assert file_changes(old, old).changes == ()


@pytest.mark.parametrize(
    ("new", "what"),
    [
        (FILE, set()),
        (replace(FILE, sha256="b" * 64), {Aspect.CONTENT}),
        (replace(FILE, mode=0o750), {Aspect.MODE}),
        (replace(FILE, mode=0o4755), {Aspect.MODE, Aspect.SETUID}),
        (replace(FILE, mode=0o2755), {Aspect.MODE, Aspect.SETGID}),
        (replace(FILE, mode=0o1755), {Aspect.MODE}),
        (replace(FILE, uid=7), {Aspect.OWNER}),
        (replace(FILE, gid=7), {Aspect.OWNER}),
        (replace(FILE, mtime=6), {Aspect.MTIME}),
        (replace(FILE, xattrs=(("user.x", "00"),)), {Aspect.XATTRS}),
        (replace(FILE, xattrs=CAPABILITY), {Aspect.XATTRS, Aspect.CAPABILITY}),
        (replace(FILE, type=FileType.FIFO, sha256="", size=0), {Aspect.TYPE}),
    ],
)
def test_every_aspect_is_told_by_its_name(new: FileFacts, what: set[Aspect]) -> None:
    for one, other in ((FILE, new), (new, FILE)):
        change = change_of(one, other)
        assert (set(change.what) if change else set()) == what


def test_links_and_devices_are_told_apart() -> None:
    link = FileFacts(path="/l", type=FileType.SYMLINK, mode=0o777, uid=0, gid=0, target="a")
    node = FileFacts(path="/n", type=FileType.CHARACTER, mode=0o600, uid=0, gid=0, device=(1, 3))
    moved, other = change_of(link, replace(link, target="b")), change_of(node, replace(node, device=(1, 5)))
    assert moved is not None
    assert other is not None
    assert [set(moved.what), set(other.what)] == [{Aspect.TARGET}, {Aspect.TYPE}]


def test_what_comes_with_a_privilege_is_told_at_once() -> None:
    for facts, what in (
        (FILE, set()),
        (replace(FILE, mode=0o6755), {Aspect.SETUID, Aspect.SETGID}),
        (replace(FILE, xattrs=CAPABILITY), {Aspect.CAPABILITY}),
        (replace(FILE, type=FileType.DIRECTORY, mode=0o2755, sha256=""), set()),
    ):
        came, went = change_of(None, facts), change_of(facts, None)
        assert came is not None
        assert went is not None
        assert (came.kind, went.kind) == (ChangeKind.ADDED, ChangeKind.REMOVED)
        assert came.what == went.what == what


def test_one_of_each_kind_shows_exactly_these(tmp_path: Path) -> None:
    def image(*, new: bool) -> list[Part]:
        mode = 0o4755 if new else 0o755
        common = [member("usr/lib/same", "same")]
        if new:
            return [
                *common,
                member("etc/line", "two"),
                member("usr/bin/tool", "t", mode),
                member("etc/came", "c"),
            ]
        return [
            *common,
            member("etc/line", "one"),
            member("usr/bin/tool", "t", mode),
            member("etc/went", "w"),
        ]

    old = snapshot_of([layer_tar(image(new=False))], tmp_path)
    new = snapshot_of([layer_tar(image(new=True))], tmp_path)
    assert [(change.path, change.kind, set(change.what)) for change in file_changes(old, new).changes] == [
        ("/etc/came", ChangeKind.ADDED, set()),
        ("/etc/line", ChangeKind.CHANGED, {Aspect.CONTENT}),
        ("/etc/went", ChangeKind.REMOVED, set()),
        ("/usr/bin/tool", ChangeKind.CHANGED, {Aspect.MODE, Aspect.SETUID}),
    ]
    assert (old.read("/etc/line"), new.read("/etc/line")) == (b"one", b"two")


def test_a_rebuild_that_changed_nothing_but_times_touches(tmp_path: Path) -> None:
    old = snapshot_of([layer_tar([member("etc/a", "a"), member("etc/b", "b")])], tmp_path)
    new = snapshot_of([layer_tar([member("etc/a", "a", mtime=9), member("etc/b", "c", mtime=9)])], tmp_path)
    found = file_changes(old, new)
    assert found.touched == ("/etc/a",)
    assert [(change.path, set(change.what)) for change in found.changes] == [
        ("/etc/b", {Aspect.CONTENT, Aspect.MTIME})
    ]


def member(path: str, content: str, mode: int = 0o755, mtime: int = 5) -> Part:
    return Part(path=path, kind="file", mode=mode, owner=0, mtime=mtime, other=content, xattr="")


def change(path: str, *, before: FileFacts | None = FILE, after: FileFacts | None = FILE) -> FileChange:
    old = replace(before, path=path) if before else None
    new = replace(after, path=path, sha256="b" * 64) if after else None
    found = change_of(old, new)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/var/log/dpkg.log", "log"),
        ("/var/cache/debconf/config.dat", "cache"),
        ("/etc/ld.so.cache", "rebuilt index"),
        ("/usr/lib/sysimage/dpkg/status", "package database"),
        ("/usr/share/rpm/rpmdb.sqlite", "package database"),
        ("/usr/lib/modules/6.12.94+deb13-amd64/initramfs.img", "rebuilt initramfs"),
        ("/usr/lib/python3/dist-packages/__pycache__/a.cpython-313.pyc", "compiled Python file"),
        ("/etc/passwd", None),
        ("/etc/ld.so.cache.d", None),
        ("/usr/bin/log", None),
        ("/usr/lib/modules/6.12.94+deb13-amd64/vmlinuz", None),
        ("/usr/lib/modules/6.12.94+deb13-amd64/kernel/fs/ext4.ko.xz", None),
    ],
)
def test_noise_has_a_reason_and_is_only_content(path: str, why: str | None) -> None:
    assert noise_of(change(path)) == why
    for worse in (
        replace(FILE, mode=0o4755),
        replace(FILE, uid=7),
        replace(FILE, xattrs=CAPABILITY),
        replace(FILE, type=FileType.SYMLINK, target="/etc/shadow"),
    ):
        assert noise_of(change(path, after=worse)) is None


def test_files_come_and_go_unremarked_only_in_caches_and_logs() -> None:
    for path, why in (("/var/log/new.log", "log"), ("/etc/ld.so.cache", None), ("/etc/new", None)):
        assert noise_of(change(path, before=None)) == why
        assert noise_of(change(path, after=None)) == why
    assert noise_of(change("/var/cache/x", before=None, after=replace(FILE, mode=0o4755))) is None
    link = replace(FILE, type=FileType.SYMLINK, target="/etc/shadow")
    assert noise_of(change("/var/cache/x", before=None, after=link)) is None


def test_time_alone_is_noise_anywhere() -> None:
    found = change_of(FILE, replace(FILE, mtime=9))
    assert found is not None
    assert noise_of(found) == "time"
