from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from imagefiles import Fact, laid_down

from images import tiny_image
from pipeline.domain.append import BaseImage, append
from pipeline.domain.basepaths import LayerStack, PathTable, table_of
from pipeline.domain.image import ImageRef
from pipeline.domain.layer import layer_of, stored_gzip
from pipeline.domain.oci import DOCKER_MANIFEST, Manifest, load, parse, parse_config
from pipeline.domain.placement import TreeEntry, place
from pipeline.domain.tree import Entry, FileType
from pipeline.errors import AssemblyError, RegistryError

FILE, DIR, LINK = FileType.FILE, FileType.DIRECTORY, FileType.SYMLINK


def base(*rows: tuple[str, str] | tuple[str, str, int]) -> PathTable:
    """Return a table: path and `d`, `f`, `c` or `-> target`, and a mode where it matters."""
    entries = [Entry(path="/", type=DIR, mode=0o755, uid=0, gid=0)]
    for path, kind, *mode in rows:
        type_ = {"d": DIR, "f": FILE, "c": FileType.CHARACTER}.get(kind, LINK)
        target = kind.removeprefix("-> ") if type_ is LINK else ""
        usual = 0o755 if type_ is DIR else 0o644
        entries.append(
            Entry(path=path, type=type_, mode=mode[0] if mode else usual, uid=0, gid=0, target=target)
        )
    return PathTable(table_of(entries))


MERGED = base(
    ("/usr", "d"),
    ("/usr/lib", "d"),
    ("/usr/bin", "d"),
    ("/usr/bin/sh", "f"),
    ("/usr/lib/systemd", "d"),
    ("/usr/sbin", "-> bin"),
    ("/lib", "-> usr/lib"),
    ("/bin", "-> usr/bin"),
    ("/sbin", "-> usr/sbin"),
    ("/lib64", "-> usr/lib64"),
    ("/home", "-> var/home"),
    ("/opt", "-> var/opt"),
    ("/var", "d"),
    ("/var/opt", "d"),
    ("/tmp", "d", 0o1777),
    ("/dev", "d"),
    ("/dev/null", "c"),
    ("/etc", "d"),
    ("/etc/hostname", "f"),
    ("/etc/localtime", "-> ../usr/share/zoneinfo/UTC"),
    ("/etc/loop", "-> loop"),
    ("/etc/alternatives", "-> ../usr/lib"),
)


def file(path: str, content: bytes = b"x", mode: int = 0o644) -> TreeEntry:
    return TreeEntry(path=path, type=FILE, mode=mode, content=content)


def folder(path: str, mode: int = 0o755) -> TreeEntry:
    return TreeEntry(path=path, type=DIR, mode=mode)


def link(path: str, target: str) -> TreeEntry:
    return TreeEntry(path=path, type=LINK, mode=0o777, target=target)


def paths(*entries: TreeEntry) -> list[str]:
    """Return the placed paths without those that only restate what the base has."""
    placed = place(entries, MERGED).entries
    return [entry.path for entry in placed if not (entry.type is DIR and MERGED.entry(entry.path))]


def test_directories_of_the_base_are_left_out() -> None:
    assert paths(folder("/etc"), folder("/etc/app"), file("/etc/app/x")) == ["/etc/app", "/etc/app/x"]


def test_a_mode_of_the_base_is_never_reset_and_that_is_told() -> None:
    placed = place([folder("/tmp"), folder("/etc"), file("/tmp/x")], MERGED)
    assert [(entry.path, entry.mode) for entry in placed.entries] == [("/tmp", 0o1777), ("/tmp/x", 0o644)]
    assert placed.kept == ("/tmp",)
    assert place([folder("/tmp")], MERGED).entries == ()


def test_merged_usr_is_written_through() -> None:
    assert paths(folder("/lib"), folder("/lib/systemd"), file("/lib/systemd/a"), file("/sbin/b")) == [
        "/usr/bin/b",
        "/usr/lib/systemd/a",
    ]


def test_missing_parents_are_made() -> None:
    placed = place([file("/srv/www/index")], MERGED)
    assert [(entry.path, entry.type, entry.mode) for entry in placed.entries] == [
        ("/srv", DIR, 0o755),
        ("/srv/www", DIR, 0o755),
        ("/srv/www/index", FILE, 0o644),
    ]


def test_files_and_links_take_the_place_of_files_and_links() -> None:
    assert paths(
        file("/etc/hostname"), link("/etc/localtime", "../usr/share/zoneinfo/CET"), link("/bin", "usr/bin")
    ) == ["/bin", "/etc/hostname", "/etc/localtime"]


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        (
            [file("/home/me/x")],
            "lies below /home, which the base links to var/home; write it to /var/home/me",
        ),
        ([file("/opt/x")], "write it to /var/opt/x"),
        ([file("/lib64/x")], "links to usr/lib64"),
        ([file("/etc/alternatives/x")], "links to ../usr/lib"),
        ([file("/etc/loop/x")], "links to loop"),
        ([folder("/home")], "is a directory, but the base has /home, which the base links to var/home"),
        ([folder("/etc/localtime")], "is a directory"),
        ([folder("/etc/hostname")], "is a directory, but the base has a file"),
        ([file("/lib")], "the link to usr/lib"),
        ([link("/home", "var/elsewhere")], "the link to var/home"),
        ([file("/etc")], "the base has a directory"),
        ([link("/etc", "usr/etc")], "the base has a directory"),
        ([file("/dev/null")], "the base has a character"),
        ([file("/etc/hostname/x")], "lies below /etc/hostname, which is a file in the base"),
        ([file("/a"), file("/a/b")], "lies below /a, which is a file in the tree"),
        ([link("/a", "etc"), file("/a/b")], "lies below /a, which is a symlink in the tree"),
        ([file("/a"), file("/a")], "twice"),
        ([file("/lib/x"), file("/usr/lib/x")], "twice"),
        ([folder("/lib/x"), folder("/usr/lib/x", 0o700)], "twice"),
        ([file("a")], "no absolute path"),
        ([file("/")], "no absolute path"),
        ([file("/a/")], "no absolute path"),
        ([file("/a//b")], "no absolute path"),
        ([file("/a/../b")], "no absolute path"),
        ([file("/./b")], "no absolute path"),
        ([file("/a/.wh.b")], "deletes files"),
        ([file("/.wh..wh..opq")], "deletes files"),
        ([file("/a\0b")], "NUL"),
        ([link("/a", "b\0")], "NUL"),
        ([file("/" + "a" * 256)], "too long"),
        ([file("/aaaa" * 1000)], "too long"),
        ([file("/\ud800")], "no text"),
        ([file("/a", mode=0o17777)], "mode"),
        ([replace(file("/a"), uid=-1)], "owner"),
        ([replace(file("/a"), gid=1 << 32)], "owner"),
        ([TreeEntry(path="/a", type=FileType.CHARACTER)], "files, directories and symlinks only"),
        ([TreeEntry(path="/a", type=LINK)], "wrong kind"),
        ([TreeEntry(path="/a", type=FILE, target="b")], "wrong kind"),
        ([TreeEntry(path="/a", type=DIR, content=b"b")], "wrong kind"),
    ],
)
def test_what_does_not_fit_is_refused(entries: list[TreeEntry], says: str) -> None:
    with pytest.raises(AssemblyError) as caught:
        place(entries, MERGED)
    assert says in caught.value.message


def test_the_same_directory_by_both_names_is_one() -> None:
    assert paths(folder("/lib/x"), folder("/usr/lib/x")) == ["/usr/lib/x"]


GOLDEN = (
    folder("/etc/app", 0o2750),
    TreeEntry(path="/etc/app/päth", type=FILE, mode=0o4711, uid=3_000_000, gid=7, content=b"content\n"),
    file("/etc/app/" + "long/" * 30 + "name", b""),
    file("/etc/app/not\udcffutf8"),
    link("/etc/app/link", "../" * 50 + "target"),
)


def test_the_bytes_are_these_on_every_machine() -> None:
    layer = layer_of(place(GOLDEN, MERGED).entries, timestamp=1_700_000_000)
    assert layer.diff_id.value == "sha256:51fea38bf52a8643c79f2c5a20db148a493f674887136553a0f2d602c556b777"
    assert layer.digest.value == "sha256:27a08e4af5004c28930d3a0feda818c2c5b2843ee2f065885c5a6d26e6d90473"


def test_order_of_the_input_plays_no_part() -> None:
    one = layer_of(place(GOLDEN, MERGED).entries, timestamp=1)
    assert layer_of(place(GOLDEN[::-1], MERGED).entries, timestamp=1) == one
    assert layer_of(place(GOLDEN, MERGED).entries, timestamp=2) != one


@pytest.mark.parametrize("size", [0, 1, 65534, 65535, 65536, 131070, 200_000])
def test_stored_gzip_unpacks_to_what_went_in(size: int) -> None:
    data = bytes(number % 251 for number in range(size))
    assert gzip.decompress(stored_gzip(data)) == data


def base_image(manifest: bytes | None = None, config: bytes | None = None) -> BaseImage:
    image = tiny_image()
    ref = ImageRef.parse(f"registry.example/base@{image.digest}")
    return BaseImage(ref=ref, manifest=manifest or image.manifest, config=config or image.blobs[0])


def test_the_base_stays_and_one_layer_is_appended() -> None:
    layer = layer_of([], timestamp=5)
    known = base_image()
    made = append(known, layer, timestamp=5, created_by="test", labels={"host": "web-1"})
    manifest, config = parse(made.manifest), load(made.config, "config")
    assert isinstance(manifest, Manifest)
    assert manifest.layers[:-1] == known.parsed.layers
    assert manifest.layers[-1].digest == layer.digest
    assert parse_config(made.config).diff_ids == (*parse_config(known.config).diff_ids, layer.diff_id)
    assert config["config"]["Labels"] == {"text": "hello", "host": "web-1"}
    assert config["history"][-1] == {"created": "1970-01-01T00:00:05Z", "created_by": "test"}
    assert dict(manifest.annotations)["org.opencontainers.image.base.digest"] == known.ref.pinned.value
    again = append(known, layer, timestamp=5, created_by="test", labels={"host": "web-1"})
    assert again == made


def test_dockers_manifests_stay_dockers() -> None:
    image = tiny_image()
    manifest = image.manifest.replace(b"application/vnd.oci.image.manifest.v1+json", DOCKER_MANIFEST.encode())
    made = append(base_image(manifest), layer_of([], timestamp=5), timestamp=5, created_by="", labels={})
    parsed = parse(made.manifest)
    assert isinstance(parsed, Manifest)
    assert parsed.media_type == DOCKER_MANIFEST
    assert parsed.layers[-1].media_type == "application/vnd.docker.image.rootfs.diff.tar.gzip"


@pytest.mark.parametrize(
    "config",
    [
        b'{"os":"linux","rootfs":{"diff_ids":[]}}',
        b"{}",
        tiny_image().blobs[0].replace(b'"config": {', b'"config": 7, "other": {'),
        tiny_image().blobs[0].replace(b'"history": [', b'"history": 7, "other": ['),
    ],
)
def test_a_damaged_base_is_refused(config: bytes) -> None:
    with pytest.raises(RegistryError):
        append(base_image(config=config), layer_of([], timestamp=5), timestamp=5, created_by="", labels={})


# Random trees on random bases. Few names, so that paths meet; some that are hard to write.

names = st.sampled_from(["a", "a", "b", "b", "c", "ä", "n" * 120, "sp ace\n\t%41", "\udcff\udcfe"])
relative = st.lists(names, min_size=1, max_size=3).map("/".join)
absolute = relative.map("/".__add__)
modes = st.sampled_from([0o755, 0o1777, 0o2775, 0o4755, 0o700])
owners = st.sampled_from([0, 1000, 3_000_000])


@dataclass(frozen=True)
class Row:
    """One member of a random layer."""

    path: str
    kind: str
    mode: int
    owner: int
    other: str


rows = st.builds(
    Row,
    path=relative,
    kind=st.sampled_from(["file", "file", "dir", "dir", "link", "hard", "whiteout", "opaque"]),
    mode=modes,
    owner=owners,
    other=relative,
)
bases = st.lists(st.lists(rows, max_size=6), min_size=1, max_size=3)
trees = st.lists(
    st.one_of(
        st.builds(
            TreeEntry,
            path=absolute,
            type=st.just(FILE),
            mode=modes,
            uid=owners,
            content=st.binary(max_size=9),
        ),
        st.builds(TreeEntry, path=absolute, type=st.just(DIR), mode=modes, gid=owners),
        st.builds(TreeEntry, path=absolute, type=st.just(LINK), target=relative),
    ),
    max_size=6,
)


def layer_tar(members: Sequence[Row]) -> bytes:
    """Return a layer; a member that another one's place rules out is left out, as no builder writes it."""
    sink = io.BytesIO()
    taken: list[str] = []
    files: list[str] = []
    with tarfile.open(fileobj=sink, mode="w", format=tarfile.PAX_FORMAT, errors="surrogateescape") as tar:
        for row in members:
            if any(meet(path, row.path) for path in taken) or (row.kind == "hard" and not files):
                continue
            info = member(row, files[-1] if files else "")
            content = row.other.encode("utf-8", "surrogateescape") if row.kind == "file" else b""
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
            taken += [] if row.kind == "dir" else [row.path]
            files += [row.path] if row.kind == "file" else []
    return sink.getvalue()


def meet(one: str, other: str) -> bool:
    return f"{one}/".startswith(f"{other}/") or f"{other}/".startswith(f"{one}/")


def member(row: Row, linked: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(row.path)
    info.mode, info.uid = row.mode, row.owner
    parent, _, name = row.path.rpartition("/")
    if row.kind == "dir":
        info.type = tarfile.DIRTYPE
    elif row.kind == "link":
        info.type, info.linkname = tarfile.SYMTYPE, row.other
    elif row.kind == "hard":
        info.type, info.linkname = tarfile.LNKTYPE, linked
    elif row.kind == "whiteout":
        info.name = f"{parent}/.wh.{name}".lstrip("/")
    elif row.kind == "opaque":
        info.name = f"{row.path}/.wh..wh..opq"
    return info


def stacked(layers: Sequence[bytes]) -> PathTable:
    stack = LayerStack()
    kinds = {tarfile.DIRTYPE: DIR, tarfile.SYMTYPE: LINK}
    for data in layers:
        with tarfile.open(fileobj=io.BytesIO(data), errors="surrogateescape") as tar:
            members = tar.getmembers()
        entries = [
            Entry(path=m.name, type=kinds.get(m.type, FILE), mode=m.mode, uid=m.uid, gid=0, target=m.linkname)
            for m in members
            if not m.islnk()
        ]
        stack.apply(entries, [(m.name, m.linkname) for m in members if m.islnk()])
    return PathTable(stack.table())


def facts(table: PathTable) -> dict[str, tuple[str, int, int, int, str]]:
    return {e.path: (e.type.value, e.mode, e.uid, e.gid, e.target) for e in table if e.path != "/"}


def without_content(found: dict[str, Fact]) -> dict[str, tuple[str, int, int, int, str]]:
    return {path: (*fact[:4], fact[4] if isinstance(fact[4], str) else "") for path, fact in found.items()}


@settings(derandomize=True, deadline=None, max_examples=300)
@given(bases)
def test_the_path_list_is_what_the_layers_lay_down(base_rows: list[list[Row]]) -> None:
    data = [layer_tar(members) for members in base_rows]
    table = stacked(data)
    assert facts(table) == without_content(laid_down(data))
    for entry in table:
        assert table.entry(entry.path) == entry
        assert table.entry(entry.path + "-") is None


@settings(derandomize=True, deadline=None, max_examples=300)
@given(bases, trees)
def test_the_image_is_the_base_and_the_tree_and_nothing_else(
    base_rows: list[list[Row]], entries: list[TreeEntry]
) -> None:
    data = [layer_tar(members) for members in base_rows]
    table = stacked(data)
    tree = fitting(entries, table)
    before = laid_down(data)
    layer = layer_of(place(tree, table).entries, timestamp=1)
    after = laid_down([*data, gzip.decompress(layer.data)])
    assert after == with_tree(before, tree)
    members = tar_names(layer.data)
    # An engine makes a directory anew that a layer only implies, so none may be implied.
    assert all(name.rpartition("/")[0] in {"", *members} for name in members)
    assert layer_of(place(tree[::-1], table).entries, timestamp=1) == layer


def tar_names(data: bytes) -> set[str]:
    with tarfile.open(fileobj=io.BytesIO(data), errors="surrogateescape") as tar:
        return set(tar.getnames())


def fitting(entries: list[TreeEntry], table: PathTable) -> list[TreeEntry]:
    """Return the entries that are not refused, each beside those before it."""
    tree: list[TreeEntry] = []
    for entry in entries:
        with contextlib.suppress(AssemblyError):
            place([*tree, entry], table)
            tree.append(entry)
    return tree


def with_tree(before: dict[str, Fact], tree: list[TreeEntry]) -> dict[str, Fact]:
    """Return what base and tree must give, by the rules in words: none of the random paths is merged /usr."""
    wanted = dict(before)
    for entry in sorted(tree, key=lambda entry: entry.path.count("/")):
        if entry.type is DIR and entry.path in before:
            continue
        parent = entry.path.rpartition("/")[0]
        while parent:
            wanted.setdefault(parent, ("directory", 0o755, 0, 0, b""))
            parent = parent.rpartition("/")[0]
        mode = 0o777 if entry.type is LINK else entry.mode
        held = entry.target if entry.type is LINK else entry.content
        wanted[entry.path] = (entry.type.value, mode, entry.uid, entry.gid, held)
    return wanted


def test_a_layer_that_climbs_is_refused() -> None:
    stack = LayerStack()
    with pytest.raises(RegistryError, match="climbs"):
        stack.apply([Entry(path="../etc/passwd", type=FILE, mode=0o644, uid=0, gid=0)])
    with pytest.raises(RegistryError, match="no file"):
        stack.apply([], [("a", "nowhere")])


def test_hashes_are_of_the_bytes() -> None:
    layer = layer_of([], timestamp=1)
    assert layer.digest.hex == hashlib.sha256(layer.data).hexdigest()
    assert layer.diff_id.hex == hashlib.sha256(gzip.decompress(layer.data)).hexdigest()
