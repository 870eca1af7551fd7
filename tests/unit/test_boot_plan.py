"""What a boot test reads from an image before it boots it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from booted import image, manifest
from hypothesis import given
from hypothesis import strategies as st
from trees import MemoryTree

from pipeline.domain.boot.cpio import Added, archive, padding
from pipeline.domain.boot.inside import Part, added_files, arguments
from pipeline.domain.boot.plan import Keeping, read_plan
from pipeline.errors import BootTestError, ModuleError


def scripts(tree: MemoryTree, part: Part) -> dict[str, str]:
    return {one.path: one.data.decode() or one.target for one in added_files(read_plan(tree), part)}


def test_modules_come_after_those_they_need() -> None:
    names = [one.name for one in read_plan(image()).modules]
    assert names.index("spl") < names.index("zfs")
    assert names.index("nvidia") < names.index("nvidia_uvm")


def test_a_module_knows_which_of_its_needs_are_listed() -> None:
    (uvm,) = [one for one in read_plan(image()).modules if one.name == "nvidia_uvm"]
    assert (uvm.listed, uvm.others) == (("nvidia",), ("drm",))


def test_symbols_of_listed_modules_alone_are_known() -> None:
    assert read_plan(image()).symbols == {"nv_open": "nvidia", "spl_alloc": "spl"}


@pytest.mark.parametrize("kernels", [(), ("6.1", "6.2")])
def test_an_image_without_exactly_one_kernel_cannot_be_booted(kernels: tuple[str, ...]) -> None:
    tree = MemoryTree({f"/usr/lib/modules/{one}/vmlinuz": b"" for one in kernels})
    with pytest.raises(BootTestError, match="one kernel"):
        read_plan(tree)


def test_an_image_without_an_initramfs_cannot_be_booted() -> None:
    with pytest.raises(BootTestError, match="initramfs"):
        read_plan(MemoryTree({"/usr/lib/modules/6.1/vmlinuz": b""}))


def test_a_damaged_manifest_is_no_empty_one() -> None:
    tree = image()
    tree.add("/usr/lib/pipeline/modules/zfs.json", b"{}")
    with pytest.raises(ModuleError):
        read_plan(tree)


def test_kernel_arguments_of_the_image_come_before_ours() -> None:
    tree = image()
    tree.add("/usr/lib/bootc/kargs.d/10-own.toml", 'kargs = ["console=tty0", "mitigations=auto"]')
    line = arguments(read_plan(tree)).split()
    assert line.index("console=tty0") < line.index("console=ttyS0")
    assert "mitigations=auto" in line


@pytest.mark.parametrize("text", ["kargs = 3", "kargs = [1]", "kargs = ["])
def test_kernel_arguments_that_cannot_be_read_are_told(text: str) -> None:
    tree = image()
    tree.add("/usr/lib/bootc/kargs.d/10-own.toml", text)
    with pytest.raises(BootTestError, match=r"10-own\.toml"):
        read_plan(tree)


def test_every_image_promises_the_same_places() -> None:
    places = {one.path: one.keeping for one in read_plan(image()).places}
    kept, gone = Keeping.KEPT, Keeping.GONE
    assert places == {"/usr": Keeping.REFUSED, "/etc": kept, "/var": kept, "/run": gone, "/tmp": gone}


def test_a_host_says_itself_what_persists() -> None:
    tree = image()
    document: dict[str, list[dict[str, str]]] = {
        "places": [
            {"path": "/ (the rest)", "kind": "base"},
            {"path": "/boot, /sysroot", "kind": "state"},
            {"path": "/run, /tmp, /scratch", "kind": "volatile"},
        ],
        "state": [{"path": "/var/lib/db", "owner": "db", "why": "data"}],
    }
    document["state"].append({"path": "/var/lib/later", "owner": "db", "why": "made by its service"})
    tree.add("/usr/lib/pipeline/persistence.json", json.dumps(document))
    tree.add("/usr/lib/tmpfiles.d/50.conf", "# none\nd /var/lib/db 0700 2002 2002 -\n")
    places = {one.path: (one.keeping, one.owner) for one in read_plan(tree).places}
    assert places["/scratch"] == (Keeping.GONE, "")
    assert places["/var/lib/db"] == (Keeping.KEPT, "db")
    assert not {"/boot", "/sysroot", "/", "/ (the rest)", "/var/lib/later"} & places.keys()


@pytest.mark.parametrize(
    "document",
    [
        "[]", "{", '{"state": 3}', '{"state": [3]}', '{"state": [{"path": "var", "owner": "db"}]}',
        '{"state": [{"path": "/var/../etc", "owner": "db"}]}',
        '{"state": [{"path": "/var/x", "owner": "$(x)"}]}',
    ],
)  # fmt: skip
def test_a_persistence_document_that_cannot_be_read_is_told(document: str) -> None:
    tree = image()
    tree.add("/usr/lib/pipeline/persistence.json", document)
    with pytest.raises(BootTestError, match=r"persistence\.json"):
        read_plan(tree)


def test_quadlets_are_left_out_by_the_names_of_their_units() -> None:
    tree = image()
    for path, text in {
        "/usr/share/containers/systemd/envoy.container": "[Container]\n",
        "/etc/containers/systemd/users/2002/db.pod": "[Pod]\n",
        "/etc/containers/systemd/users/2002/own.container": "[Container]\nServiceName = named\n",
        "/etc/containers/systemd/data.volume": "[Volume]\n",
        "/etc/containers/systemd/evil.container": "[Container]\nServiceName=../../x\n",
    }.items():
        tree.add(path, text)
    left = {(one.unit, one.user) for one in read_plan(tree).left_out}
    assert left == {("envoy.service", False), ("db-pod.service", True), ("named.service", True)}
    masks = scripts(tree, Part.SYSTEM)
    top = "/pipeline-boot-test/run/systemd"
    assert masks[f"{top}/system/envoy.service"] == masks[f"{top}/user/db-pod.service"] == "/dev/null"


def test_units_that_need_a_secret_of_the_host_are_left_out() -> None:
    tree = image()
    folder = "/usr/lib/systemd/system"
    tree.add(f"{folder}/a.service.d/50.conf", "[Service]\nLoadCredentialEncrypted=key:/etc/credstore/key\n")
    tree.add(f"{folder}/b.service", "[Service]\nLoadCredential=key:/etc/there\n")
    tree.add("/etc/there", b"secret")
    tree.add(f"{folder}/systemd-networkd-wait-online.service", "")
    assert [one.unit for one in read_plan(tree).left_out] == [
        "a.service",
        "systemd-networkd-wait-online.service",
    ]


def test_scripts_quote_what_comes_from_the_image() -> None:
    tree = image()
    document = {"state": [{"path": "/var/a'; reboot; '", "owner": "db"}]}
    tree.add("/usr/lib/tmpfiles.d/50.conf", """d "/var/a'; reboot; '" 0700 2002 2002 -""")
    tree.add("/usr/lib/pipeline/persistence.json", json.dumps(document))
    text = scripts(tree, Part.SYSTEM)["/pipeline-boot-test/run/pipeline-boot-test/system.sh"]
    assert """mark kept '/var/a'"'"'; reboot; '"'"''""" in text


@pytest.mark.parametrize("part", list(Part))
def test_scripts_are_valid(part: Part, tmp_path: Path) -> None:
    found = {path: text for path, text in scripts(image(), part).items() if path.endswith(".sh")}
    assert len(found) == 3
    for path, text in found.items():
        file = tmp_path / Path(path).name
        file.write_text(text)
        done = subprocess.run(["sh", "-n", str(file)], capture_output=True, text=True, check=False)
        assert done.stderr == "", path


def test_an_image_without_zfs_makes_no_pool() -> None:
    tree = image()
    tree.remove("/usr/lib/pipeline/modules/zfs.json")
    assert not read_plan(tree).zfs
    assert "zpool" not in "".join(scripts(tree, Part.MODULES).values())


def test_a_module_that_is_listed_but_unknown_to_depmod_is_still_asked_for() -> None:
    tree = image()
    tree.add("/usr/lib/pipeline/modules/more.json", manifest("more", "more"))
    assert "more" in [one.name for one in read_plan(tree).modules]


def test_an_archive_is_what_cpio_unpacks(tmp_path: Path) -> None:
    data = archive(
        [
            Added(path="/a/b/file", data=b"text\n"),
            Added(path="/a/link", target="b/file"),
            Added(path="/top", data=b""),
        ]
    )
    subprocess.run(["cpio", "-idm", "--quiet"], input=data, cwd=tmp_path, check=True)
    assert (tmp_path / "a/link").read_text() == "text\n"
    assert (tmp_path / "a/link").is_symlink()
    assert (tmp_path / "top").stat().st_size == 0
    assert len(data) % 4 == 0


@pytest.mark.parametrize("path", ["a", "/a/../b", "/a/", ""])
def test_an_archive_takes_plain_paths_only(path: str) -> None:
    with pytest.raises(ValueError, match="cannot be added"):
        archive([Added(path=path)])


@given(st.integers(min_value=0, max_value=10_000))
def test_padding_aligns(size: int) -> None:
    assert (size + len(padding(size))) % 4 == 0
    assert len(padding(size)) < 4


def test_the_same_image_gets_the_same_files() -> None:
    plan = read_plan(image())
    assert archive(added_files(plan, Part.SYSTEM)) == archive(added_files(read_plan(image()), Part.SYSTEM))
