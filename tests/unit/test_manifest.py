from __future__ import annotations

import json
from typing import Any

import elfkit
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trees import Content, Link, MemoryTree

from pipeline.domain.manifest import (
    Manifest,
    build_manifest,
    copy_lines,
    from_json,
    stage_prefix,
    to_json,
)
from pipeline.errors import ModuleError

K = "6.12.94-test"
EXTRA = f"/usr/lib/modules/{K}/extra"
SPL = elfkit.pack(elfkit.module("spl", exports={"spl_init": 1}), "xz")
ZFS = elfkit.module("zfs", licenses=("CDDL",), depends=("spl",), signature=elfkit.issuer("Example CA"))


def stage(**more: Content) -> MemoryTree:
    files: dict[str, Content] = {f"/out{EXTRA}/spl.ko.xz": SPL, f"/out{EXTRA}/zfs.ko": ZFS}
    return MemoryTree({**files, "/usr/bin/gcc": b"\x7fELF", **more})


def build(tree: MemoryTree, top: str = "/out", expected: tuple[str, ...] = ("spl", "zfs")) -> Manifest:
    return build_manifest("zfs", K, tree, top, expected)


def document() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(to_json(build(stage())))
    return found


def test_the_manifest_says_what_the_files_say() -> None:
    manifest = build(stage())
    assert (manifest.set_name, manifest.kernel, manifest.module_version) == ("zfs", K, "2.3.9-1")
    assert manifest.path == "/usr/lib/pipeline/modules/zfs.json"
    assert [file.path for file in manifest.files] == [f"{EXTRA}/spl.ko.xz", f"{EXTRA}/zfs.ko"]
    zfs = manifest.files[1]
    assert (zfs.module, zfs.licence, zfs.signer, zfs.size) == ("zfs", "CDDL", "Example CA", len(ZFS))
    assert zfs.vermagic.startswith(K)


@pytest.mark.parametrize("top", ["/out", "/out/", f"/out{EXTRA}", f"/out{EXTRA}/"])
def test_the_stage_folder_is_no_part_of_image_paths(top: str) -> None:
    assert build(stage(), top) == build(stage())
    assert stage_prefix(top) == "/out"


def test_the_builder_s_own_modules_folder_can_be_offered() -> None:
    tree = MemoryTree({f"/usr/lib/modules/{K}/updates/dkms/spl.ko.xz": SPL})
    top = f"/usr/lib/modules/{K}/updates/dkms"
    manifest = build(tree, top, ("spl",))
    assert [file.path for file in manifest.files] == [f"{top}/spl.ko.xz"]
    assert copy_lines(manifest, "m", top=top) == (f'COPY --from=m ["{top}/spl.ko.xz", "{top}/"]',)


def test_copy_lines_name_the_manifest_s_files_and_nothing_else() -> None:
    updates = f"/usr/lib/modules/{K}/updates/dkms"
    both = stage(**{f"/out{updates}/nvidia-drm.ko": elfkit.module("nvidia_drm")})
    manifest = build(both, expected=("spl", "zfs", "nvidia-drm"))
    assert copy_lines(manifest, "modules-zfs", top="/out") == (
        f'COPY --from=modules-zfs ["/out{EXTRA}/spl.ko.xz", "/out{EXTRA}/zfs.ko", "{EXTRA}/"]',
        f'COPY --from=modules-zfs ["/out{updates}/nvidia-drm.ko", "{updates}/"]',
    )


@pytest.mark.parametrize("name", ["a b", "a\nRUN evil", "--chown=1", "", "$X"])
def test_a_stage_that_a_containerfile_would_interpret_is_refused(name: str) -> None:
    with pytest.raises(ModuleError, match="cannot be written into a Containerfile"):
        copy_lines(build(stage()), name, top="/out")
    with pytest.raises(ModuleError, match="cannot be written into a Containerfile"):
        copy_lines(build(stage()), "ok", top=f"/out/{name} *")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({f"/out{EXTRA}/icp.ko": elfkit.module("icp")}, "brings unexpected icp"),
        (
            {f"/out{EXTRA}/zfs.ko": elfkit.module("zfs", kernel="6.12.117-test")},
            "built for kernel '6.12.117-test'",
        ),
        ({f"/out{EXTRA}/zfs.ko": b"\x7fELF"}, "zfs.ko: cannot be read as ELF"),
        ({f"/out{EXTRA}/zfs.ko": Link("/usr/lib/zfs.ko")}, "is a symlink"),
        ({f"/out{EXTRA}/zfs.ko": elfkit.module("evil")}, "calls itself 'evil'"),
        ({f"/out{EXTRA}/sub/zfs.ko": ZFS}, "brings more than once zfs"),
        ({f"/out{EXTRA}/readme.txt": b"x"}, "is no module in"),
        ({"/out/usr/bin/sh": b"x"}, "is no module in"),
        ({"/out/usr/lib/modules/6.1/extra/zfs.ko": ZFS}, "is no module in"),
        ({f"/out/usr/lib/modules/{K}/kernel/zfs.ko": ZFS}, "is no module in"),
        ({f"/out{EXTRA}/a b.ko": ZFS}, "is no module in"),
        ({f"/out{EXTRA}/$(x).ko": ZFS}, "is no module in"),
        ({f"/out{EXTRA}/*.ko": ZFS}, "is no module in"),
        ({f"/out{EXTRA}/zf\udcff.ko": ZFS}, "is no module in"),
        (
            {f"/out{EXTRA}/zfs.ko": elfkit.module("zfs", version="2.4.0-1")},
            "mixes versions '2.3.9-1', '2.4.0-1'",
        ),
    ],
)
def test_a_stage_that_offers_anything_else_is_refused(more: dict[str, Content], message: str) -> None:
    with pytest.raises(ModuleError, match=message):
        build(stage(**more))


def test_a_missing_module_and_an_empty_stage_are_refused() -> None:
    with pytest.raises(ModuleError, match="misses nvidia_drm"):
        build(stage(), expected=("spl", "zfs", "nvidia-drm"))
    with pytest.raises(ModuleError, match="holds no module"):
        build(MemoryTree({}), expected=())


@pytest.mark.parametrize(
    ("name", "kernel"), [("../x", K), ("Zfs", K), ("zfs", "../6.1"), ("zfs", ""), ("zfs", "6 1")]
)
def test_names_that_leave_their_folder_are_refused(name: str, kernel: str) -> None:
    with pytest.raises(ModuleError, match="names the"):
        build_manifest(name, kernel, stage(), "/out", ("spl", "zfs"))


def test_writing_and_reading_agree_and_bytes_are_the_same() -> None:
    manifest = build(stage())
    assert from_json(to_json(manifest), "zfs.json") == manifest
    assert to_json(build(stage())) == to_json(manifest)
    assert to_json(manifest).endswith(b"}\n")


def changed(**values: Any) -> bytes:
    return json.dumps({**document(), **values}).encode()


def changed_file(**values: Any) -> bytes:
    found = document()
    found["files"][0] |= values
    return json.dumps(found).encode()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is no JSON"),
        (b"\xff\xfe", "is no JSON"),
        (b"[" * 100_000, "is no JSON"),
        (b"[]", "is no manifest"),
        (b'{"schema": 1, "schema": 1}', "is no JSON: a key is given twice"),
        (changed(schema=2), "is not in form 1"),
        (changed(schema=True), "is no manifest"),
        (changed(schema="1"), "is no manifest"),
        (changed(more=1), "must have exactly the keys"),
        (changed(files=None), "has no list of files"),
        (changed(files=[]), "lists no files"),
        (changed(files=document()["files"] * 2), "not each once"),
        (changed(files=document()["files"][::-1]), "not each once and in order"),
        (changed(files=["x"]), "must have exactly the keys"),
        (changed(kernel=7), "gives no text for kernel"),
        (changed(kernel="6.1"), "is no module in"),
        (changed(set_name="../zfs"), "names the module set"),
        (changed_file(size="1"), "no number of bytes"),
        (changed_file(size=-1), "no number of bytes"),
        (changed_file(size=True), "no number of bytes"),
        (changed_file(sha256="abc"), "as the sha256 of"),
        (changed_file(path="/etc/passwd"), "is no module in"),
        (changed_file(path=f"{EXTRA}/../spl.ko"), "is no module in"),
        (changed_file(vermagic="6.1 SMP"), "built for '6.1 SMP'"),
        (changed_file(module="zfs"), "calls "),
        (changed_file(licence=None), "gives no text for licence"),
        (b" " * (1 << 20) + to_json(build(stage())), "larger than a megabyte"),
    ],
)
def test_a_manifest_that_is_not_exactly_one_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(ModuleError, match=message):
        from_json(data, "zfs.json")


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@settings(derandomize=True, deadline=None, max_examples=400)
@given(key=st.sampled_from(sorted(document())), value=values, inside=st.booleans())
def test_any_value_at_any_place_is_read_or_refused(key: str, value: Any, inside: bool) -> None:  # noqa: FBT001
    data = (
        changed_file(**{sorted(document()["files"][0])[len(key) % 9]: value})
        if inside
        else changed(**{key: value})
    )
    try:
        said = to_json(from_json(data, "zfs.json"))
    except ModuleError as error:
        said = error.message.encode()
    assert b"zfs.json" in said or to_json(from_json(said, "again")) == said
