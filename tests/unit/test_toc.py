from __future__ import annotations

import gzip
import io
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from imagefiles import laid_down
from layertars import Part, as_facts, image_parts, layer_parts, layer_tar, of_reference, snapshot_of, toc_of
from tarballs import rich_base

from pipeline.adapters.layers import unpacked
from pipeline.adapters.tarstream import TarStream
from pipeline.adapters.toc import TocStore, read_layer
from pipeline.domain.diff.kept import keeps
from pipeline.domain.image import Digest
from pipeline.domain.oci import OCI_LAYER, OCI_LAYER_GZIP, OCI_LAYER_ZSTD, Descriptor, digest_of
from pipeline.domain.toc import LayerBuilder, decoded, encoded, stacked
from pipeline.domain.tree import FileType
from pipeline.errors import NotFoundError, RegistryError, StateError

a_folder = settings(
    derandomize=True,
    deadline=None,
    max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def part(path: str, kind: str = "file", other: str = "x", *, mtime: int = 5) -> Part:
    return Part(path=path, kind=kind, mode=0o644, owner=0, mtime=mtime, other=other, xattr="")


def archive(*members: tuple[tarfile.TarInfo, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", format=form, errors="surrogateescape") as tar:
        for info, content in members:
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return sink.getvalue()


def info(name: str, kind: bytes = tarfile.REGTYPE, **fields: object) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type = kind
    for field, value in fields.items():
        setattr(made, field, value)
    return made


def in_pieces(data: bytes, size: int) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


@a_folder
@given(image_parts)
def test_the_merged_files_are_what_the_layers_lay_down(tmp_path: Path, image: list[list[Part]]) -> None:
    layers = [layer_tar(members) for members in image]
    snapshot = snapshot_of(layers, tmp_path)
    assert as_facts(snapshot.all()) == of_reference(laid_down(layers))
    found = [facts.path for facts in snapshot.all()]
    assert found == sorted(found, key=lambda path: path.encode("utf-8", "surrogateescape"))


@a_folder
@given(image_parts)
def test_a_folder_lists_the_names_in_it_and_no_others(tmp_path: Path, image: list[list[Part]]) -> None:
    snapshot = snapshot_of([layer_tar(members) for members in image], tmp_path)
    paths = [facts.path for facts in snapshot.all()]
    folders = ["/", *(facts.path for facts in snapshot.all() if facts.type is FileType.DIRECTORY)]
    for folder in folders:
        start = folder.rstrip("/") + "/"
        names = {path[len(start) :] for path in paths if path.startswith(start)}
        assert set(snapshot.list(folder)) == {name for name in names if "/" not in name}


def test_names_that_sort_between_a_folder_and_its_files_are_listed(tmp_path: Path) -> None:
    layer = layer_tar([part("a", "dir"), part("a-b"), part("a/x"), part("a0")])
    assert snapshot_of([layer], tmp_path).list("/") == ("a", "a-b", "a0")


@a_folder
@given(layer_parts)
def test_a_table_is_read_back_as_it_was_written(tmp_path: Path, members: list[Part]) -> None:
    toc = toc_of(layer_tar(members), tmp_path)
    assert decoded(encoded(toc)) == toc
    assert TocStore(tmp_path).table(digest_of(layer_tar(members))) == toc


def test_a_base_with_everything_that_makes_one_hard(tmp_path: Path) -> None:
    layers = [gzip.decompress(layer) for layer in rich_base()]
    snapshot = snapshot_of(layers, tmp_path)
    assert as_facts(snapshot.all()) == of_reference(laid_down(layers))
    shell, linked = snapshot.facts("/usr/bin/sh"), snapshot.facts("/usr/bin/bash")
    assert shell is not None
    assert linked is not None
    assert linked.sha256 == shell.sha256


def test_a_snapshot_is_a_tree_whose_links_stay_inside(tmp_path: Path) -> None:
    layers = [gzip.decompress(layer) for layer in rich_base()]
    snapshot = snapshot_of(layers, tmp_path)
    assert snapshot.read("/lib/os-release") == b"NAME=base\n"
    assert snapshot.read("/etc/hostname") == b"base"
    assert snapshot.list("/bin") == ("bash", "sh", "tool")
    assert [entry.path for entry in snapshot.walk("/etc/emptied")] == ["/etc/emptied/new"]
    assert snapshot.list("/etc/hostname") == ()
    entry = snapshot.entry("/sbin")
    assert entry is not None
    assert (entry.type, entry.target) == (FileType.SYMLINK, "usr/sbin")
    for missing in ("/etc/gone", "/etc/emptied/x", "/etc", "/nowhere"):
        with pytest.raises(NotFoundError):
            snapshot.read(missing)
    with pytest.raises(NotFoundError, match="larger"):
        snapshot.read("/etc/hostname", limit=3)


def test_layers_on_a_shared_bottom_leave_it_as_it_was(tmp_path: Path) -> None:
    bottom = stacked([toc_of(layer_tar([part("a/b"), part("c")]), tmp_path)])
    before = dict(bottom.lines)
    top = stacked([toc_of(layer_tar([part("a", "whiteout"), part("c", "file", "y")]), tmp_path)], bottom)
    assert sorted(top.lines) == [b"/c"]
    assert bottom.lines == before


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
@pytest.mark.parametrize("size", [1, 511, 512, 513, 1 << 20])
def test_names_numbers_and_times_of_every_dialect(form: int, size: int) -> None:
    long = "long/" * 60 + "näme"
    data = archive(
        (info(long, mode=0o640, uid=3_000_000, gid=4_000_000, mtime=1_700_000_000), b"content"),
        (info("link", tarfile.SYMTYPE, linkname=long), b""),
        (info("early", mtime=-1), b""),
        (info("node", tarfile.CHRTYPE, devmajor=10, devminor=229), b""),
        form=form,
    )
    members = list(TarStream(in_pieces(data, size), "it"))
    assert [member.name.decode() for member in members] == [long, "link", "early", "node"]
    assert (members[0].uid, members[0].gid, members[0].mode, members[0].size) == (
        3_000_000,
        4_000_000,
        0o640,
        7,
    )
    assert members[1].target.decode() == long
    assert [member.mtime for member in members] == [1_700_000_000, 0, -1, 0]
    assert members[3].device == (10, 229)


def test_contents_are_given_whole_or_left_out() -> None:
    data = archive((info("a"), b"A" * 1000), (info("b"), b"B" * 700), (info("c"), b""))
    stream = TarStream(in_pieces(data, 300), "it")
    seen = {member.name: b"".join(stream.content()) for member in stream if member.name != b"a"}
    assert seen == {b"b": b"B" * 700, b"c": b""}


def test_fractions_of_a_second_are_cut_off_downwards() -> None:
    early, late = info("early"), info("late")
    early.pax_headers, late.pax_headers = {"mtime": "-1.5"}, {"mtime": "7.999"}
    assert [member.mtime for member in TarStream(iter([archive((early, b""), (late, b""))]), "it")] == [-2, 7]


def test_attributes_are_kept_with_every_byte(tmp_path: Path) -> None:
    made = info("ping", mode=0o755)
    made.pax_headers = {"SCHILY.xattr.security.capability": "\x01\0=\n", "SCHILY.xattr.user.,=": "v"}
    snapshot = snapshot_of([archive((made, b"x"))], tmp_path)
    facts = snapshot.facts("/ping")
    assert facts is not None
    assert facts.xattrs == (("security.capability", "01003d0a"), ("user.,", "3d76"))
    assert facts.capability == "01003d0a"


def pax(**records: str) -> bytes:
    made = info("file")
    made.pax_headers = {key.replace("__", "."): value for key, value in records.items()}
    return archive((made, b"x"))


def damaged(data: bytes, at: int, value: bytes) -> bytes:
    return data[:at] + value + data[at + len(value) :]


def summed(data: bytes) -> bytes:
    """Return an archive whose first header has the checksum that its bytes give."""
    total = sum(data[:148]) + 8 * 0x20 + sum(data[156:512])
    return damaged(data, 148, b"%06o\0 " % total)


PLAIN = archive((info("file"), b"content"))
OVERLAY = "SCHILY.xattr.trusted.overlay.opaque"


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (archive((info("../../etc/passwd"), b"x")), "climbs"),
        (archive((info("a", tarfile.LNKTYPE, linkname="../../etc/shadow"), b"")), "climbs"),
        (
            archive((info("d", tarfile.DIRTYPE), b""), (info("l", tarfile.LNKTYPE, linkname="d"), b"")),
            "no file",
        ),
        (archive((info("hidden", tarfile.CHRTYPE), b"")), "deletes unseen"),
        (archive((info("strange", b"Z"), b"")), "unknown type"),
        (archive((info("etc/.wh."), b"")), "no name"),
        (archive((info("etc/.wh..."), b"")), "no name"),
        (pax(**{OVERLAY.replace(".", "__"): "y"}), "overlayfs"),
        (pax(GNU__sparse__major="1"), "sparse"),
        (pax(SCHILY__xattr__user__giant="v" * 70_000), "attribute of 70000"),
        (pax(path="p" * 5000), "a name of more than"),
        (pax(path="a\0b"), "NUL"),
        (pax(size="9" * 15), "bytes"),
        (pax(size="-1"), "none"),
        (pax(comment="c" * (5 << 20)), "header of"),
        (damaged(PLAIN, 0, b"X"), "checksum"),
        (summed(damaged(PLAIN, 124, b"not a number")), "none"),
        (summed(damaged(PLAIN, 108, b"-0000001")), "none"),
        (summed(damaged(PLAIN, 108, b"\xff" * 8)), "below zero"),
        (summed(damaged(PLAIN, 108, b"0000008")), "none"),
        (PLAIN[:515], "end in the middle"),
        (PLAIN[:100], "end in the middle"),
        (b"", "end in the middle"),
        (b"\x1f\x8bjunk" * 200, "header"),
    ],
)
def test_a_hostile_layer_is_one_clear_error(data: bytes, says: str, tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match=says):
        TocStore(tmp_path).make(digest_of(data), lambda: iter([data]), blob=digest_of(b""))
    assert list(tmp_path.iterdir()) == []


def test_a_layer_that_says_too_much_is_refused_before_memory_ends() -> None:
    def take(count: int) -> None:
        builder = LayerBuilder(most_bytes=1000)
        for number in range(count):
            builder.take(b"etc/.wh.%d" % number, b"", 0)

    def descend(depth: int) -> None:
        LayerBuilder(most_bytes=10_000).take(b"d/" * depth + b"f", b"f\t644\t0\t0\t0\t\t", 0)

    take(50)
    descend(50)
    with pytest.raises(RegistryError, match="more than a table can hold"):
        descend(500)
    with pytest.raises(RegistryError, match="more than a table can hold"):
        take(1000)


def test_headers_do_not_pile_up() -> None:
    record = b"1000020 comment=" + b"c" * 1_000_003 + b"\n"
    assert len(record) == 1_000_020
    many = archive(*((info("h", b"x"), record) for _ in range(5)), (info("file"), b""))
    with pytest.raises(RegistryError, match="header of 5000100"):
        list(TarStream(iter([many]), "it"))
    apart = archive(
        *((info(name, kind), data) for name, kind, data in [("h", b"x", record), ("f", b"0", b"")] * 5)
    )
    assert len(list(TarStream(iter([apart]), "it"))) == 5


def test_absolute_names_mean_paths_inside_the_image(tmp_path: Path) -> None:
    data = archive(
        (info("/etc/passwd"), b"x"),
        (info("./usr//./bin"), b"y"),
        (info("l", tarfile.SYMTYPE, linkname="/etc"), b""),
    )
    assert [facts.path for facts in snapshot_of([data], tmp_path).all()] == [
        "/etc",
        "/etc/passwd",
        "/l",
        "/usr",
        "/usr/bin",
    ]


def test_a_member_twice_is_the_later_one(tmp_path: Path) -> None:
    snapshot = snapshot_of([layer_tar([part("etc/a", other="old"), part("etc/a", other="new")])], tmp_path)
    assert snapshot.read("/etc/a") == b"new"


def test_a_hard_link_to_a_lower_layer_is_its_file(tmp_path: Path) -> None:
    upper = archive(
        (info("b", tarfile.LNKTYPE, linkname="etc/a"), b""), (info("c", tarfile.LNKTYPE, linkname="b"), b"")
    )
    snapshot = snapshot_of([layer_tar([part("etc/a", other="lower")]), upper], tmp_path)
    assert snapshot.read("/b") == snapshot.read("/c") == b"lower"
    with pytest.raises(RegistryError, match="no file"):
        list(snapshot_of([upper], tmp_path).all())


@pytest.mark.parametrize("media_type", [OCI_LAYER, OCI_LAYER_GZIP, OCI_LAYER_ZSTD])
def test_layers_packed_in_every_way_are_the_same(media_type: str) -> None:
    data = layer_tar([part(f"etc/{number}", other="x" * number) for number in range(200)])
    half = len(data) // 2
    packed = {
        OCI_LAYER: data,
        OCI_LAYER_GZIP: gzip.compress(data[:half]) + gzip.compress(data[half:]),
        OCI_LAYER_ZSTD: zstandard.compress(data[:half]) + zstandard.compress(data[half:]),
    }[media_type]
    layer = Descriptor(media_type=media_type, digest=digest_of(packed), size=len(packed))
    for size in (7, 1 << 20):
        assert b"".join(unpacked(layer, in_pieces(packed, size))) == data
    if media_type != OCI_LAYER:
        with pytest.raises(RegistryError):
            read_layer(unpacked(layer, iter([packed[: len(packed) // 3]])), "it")


@pytest.mark.parametrize("media_type", [OCI_LAYER_GZIP, OCI_LAYER_ZSTD])
def test_a_bomb_is_never_held_whole(media_type: str) -> None:
    bomb = bytes(64 << 20)
    packed = gzip.compress(bomb) if media_type == OCI_LAYER_GZIP else zstandard.compress(bomb)
    assert len(packed) < 100_000
    layer = Descriptor(media_type=media_type, digest=digest_of(packed), size=len(packed))
    assert max(map(len, unpacked(layer, iter([packed])))) <= 1 << 20


def test_a_layer_of_an_unknown_packing_is_refused() -> None:
    layer = Descriptor(media_type="application/x-lzma", digest=digest_of(b""), size=0)
    with pytest.raises(RegistryError, match="not supported"):
        list(unpacked(layer, iter([b""])))


def test_a_layer_that_is_not_its_diff_id_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    told = Digest("sha256:" + "0" * 64)
    with pytest.raises(RegistryError, match="told to unpack to"):
        TocStore(tmp_path).make(told, lambda: iter([PLAIN]), blob=None)
    assert list(tmp_path.iterdir()) == []


def test_damage_is_noticed_wherever_it_is(tmp_path: Path) -> None:
    data, blob = layer_tar([part("etc/a", other="kept")]), digest_of(b"blob")
    store = TocStore(tmp_path)
    toc = store.make(digest_of(data), lambda: iter([data]), blob=blob)
    sha256 = next(iter(toc.kept)).decode()
    assert store.content(digest_of(data), toc, sha256) == b"kept"
    assert store.diff_id_of(blob) == digest_of(data)
    for file in tmp_path.iterdir():
        whole = file.read_bytes()
        for at in range(len(whole)):
            file.write_bytes(damaged(whole, at, bytes((whole[at] ^ 0x40,))))
            seen = (
                store.table(digest_of(data)) == toc,
                store.content(digest_of(data), toc, sha256) == b"kept",
                store.diff_id_of(blob) == digest_of(data),
            )
            assert not all(seen), (file.name, at)
        file.unlink()
        assert store.content(digest_of(data), toc, sha256) is None or file.suffix != ".contents"
        file.write_bytes(whole)
    assert store.table(digest_of(data)) == toc


def test_what_is_kept_is_for_its_owner_alone(tmp_path: Path) -> None:
    toc_of(layer_tar([part("etc/shadow")]), tmp_path / "cache")
    assert stat.S_IMODE((tmp_path / "cache").stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / "cache").iterdir()} == {0o600}


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StateError, match="cannot be kept"):
        toc_of(PLAIN, tmp_path / "file" / "cache")


@pytest.mark.parametrize(
    ("path", "size", "kept"),
    [
        ("/etc/passwd", 1000, True),
        ("/etc/large", 5 << 20, False),
        ("/usr/lib/sysimage/dpkg/status", 3 << 20, True),
        ("/var/lib/dpkg/info/zfs.list", 1000, True),
        ("/var/lib/dpkg/info/zfs.md5sums", 1000, False),
        ("/usr/lib/modules/6.12.94/updates/dkms/zfs.ko.xz", 9 << 20, True),
        ("/usr/lib/modules/6.12.94/kernel/fs/ext4.ko.xz", 1000, False),
        ("/usr/lib/modules/6.12.94/updates/notes.txt", 1000, False),
        ("/usr/lib/systemd/system/a.service", 300, True),
        ("/usr/lib/systemd/system/a.service.d/b.conf", 300, True),
        ("/usr/lib/systemd/systemd", 90_000, False),
        ("/usr/lib/systemd/user/dbus.socket", 300, True),
        ("/usr/lib/systemd/libsystemd-shared-257.so", 90_000, False),
        ("/usr/lib/systemd/libsystemd-core.so.1.2", 90_000, False),
        ("/usr/share/doc/zfs/copyright", 9000, True),
        ("/usr/share/doc/zfs/README", 9000, False),
        ("/usr/lib/pipeline/modules/zfs.json", 9000, True),
        ("/usr/lib/os-release", 300, True),
        ("/usr/share/pki/containers/release.pub", 300, True),
        ("/usr/bin/bash", 300, False),
        ("/etc/empty", 0, False),
    ],
)
def test_what_is_kept_says_how_a_machine_behaves(path: str, size: int, kept: bool) -> None:  # noqa: FBT001
    assert keeps(path, size) is kept
