from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import elfkit
import pytest
from trees import Content, Dir, Link, MemoryTree

from pipeline.domain.gate import (
    CommandResult,
    Expectations,
    Finding,
    ModuleExpectation,
    Package,
    Subject,
    Verdict,
    run_gates,
)
from pipeline.domain.gates.modules import GATES, upstream_version
from pipeline.domain.image import Tier
from pipeline.domain.kmod import parse_module
from pipeline.domain.manifest import Manifest, ManifestFile, to_json

K = "6.12.94-test"
OTHER = "6.12.117-test"
TOP = f"/usr/lib/modules/{K}"
DKMS = f"{TOP}/updates/dkms"
MANIFEST = "/usr/lib/pipeline/modules/zfs.json"
LAYOUT = {"module_layout": 0xAB}
KERNEL = {**LAYOUT, "kmalloc": 0x11}
GPL = {"init_user_ns": 0x22}
VMLINUZ = elfkit.bzimage(elfkit.vmlinux(KERNEL, gpl=GPL), release=K)
DRM = elfkit.module("drm", exports={"drm_open": 0x33}, versions=LAYOUT)
SPL = elfkit.module(
    "spl",
    undefined=("kmalloc", "init_user_ns"),
    versions={**KERNEL, **GPL},
    exports={"spl_init": 0x44},
)
ZFS = elfkit.module(
    "zfs",
    licenses=("CDDL",),
    depends=("spl", "drm"),
    undefined=("kmalloc", "spl_init", "drm_open"),
    weak=("maybe",),
    versions={**KERNEL, "spl_init": 0x44, "drm_open": 0x33},
)
DEP = (
    "kernel/drivers/drm.ko.xz:\n"
    "updates/dkms/spl.ko.xz:\n"
    "updates/dkms/zfs.ko.xz: updates/dkms/spl.ko.xz kernel/drivers/drm.ko.xz\n"
)
PACKAGES = (
    Package(name="zfsutils-linux", version="2.3.9-0+deb13u1"),
    Package(name="libzfs6linux", version="3:2.3.9-1.el10", arch="x86_64"),
)
EXPECTED = Expectations(
    kernel=K,
    modules=(
        ModuleExpectation(
            name="zfs", kernel_modules=("spl", "zfs"), userspace=("zfsutils-linux", "libzfs6linux")
        ),
    ),
)


def manifest(zfs: bytes = ZFS, *, version: str = "2.3.9-0+deb13u1") -> Manifest:
    found = []
    for name, data in (("spl", SPL), ("zfs", zfs)):
        module = parse_module(f"{DKMS}/{name}.ko.xz", elfkit.pack(data, "xz"))
        found.append(
            ManifestFile(
                path=module.path,
                sha256=module.sha256,
                size=module.size,
                module=name,
                version=module.version,
                vermagic=f"{K} {elfkit.OPTIONS}",
                licence="; ".join(module.licenses),
                srcversion=module.srcversion,
                signer=module.signer,
            )
        )
    return Manifest(set_name="zfs", kernel=K, module_version=version, files=tuple(found))


def image(zfs: bytes = ZFS) -> MemoryTree:
    """An image with this zfs module, listed as it is."""
    contents: dict[str, Content] = {
        "/lib": Link("usr/lib"),
        "/boot": Dir(),
        f"{TOP}/vmlinuz": VMLINUZ,
        f"{TOP}/initramfs.img": b"initramfs",
        f"{TOP}/modules.order": "kernel/drivers/drm.ko\n",
        f"{TOP}/modules.dep": DEP,
        f"{TOP}/modules.dep.bin": b"\xb0\x07\xf4\x57" + DEP.encode(),
        f"{TOP}/kernel/drivers/drm.ko.xz": elfkit.pack(DRM, "xz"),
        MANIFEST: to_json(manifest(zfs)),
        f"{DKMS}/spl.ko.xz": elfkit.pack(SPL, "xz"),
        f"{DKMS}/zfs.ko.xz": elfkit.pack(zfs, "xz"),
    }
    return MemoryTree(contents)


def inside(argv: Sequence[str], *, stdin: str = "", timeout: float = 120.0) -> CommandResult:
    return CommandResult(code=127, stdout="", stderr="no program")


def subject(
    tree: MemoryTree,
    *,
    expected: Expectations = EXPECTED,
    packages: tuple[Package, ...] | None = PACKAGES,
    tier: Tier = Tier.BASE,
) -> Subject:
    now = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    return Subject(tier=tier, tree=tree, inside=inside, packages=packages, expected=expected, now=now)


def ask(asked: Subject) -> dict[str, Finding]:
    return {result.gate: result.finding for result in run_gates(GATES, asked)}


def refusing(asked: Subject) -> set[str]:
    return {gate for gate, finding in ask(asked).items() if finding.verdict is not Verdict.PASS}


def said(finding: Finding) -> str:
    return "\n".join((finding.summary, *finding.details))


def test_a_good_image_passes_every_gate() -> None:
    findings = ask(subject(image()))
    assert set(findings) == {gate.name for gate in GATES}
    assert {finding.verdict for finding in findings.values()} == {Verdict.PASS}


def test_upstream_images_are_asked_for_their_kernel_alone() -> None:
    assert set(ask(subject(image(), tier=Tier.UPSTREAM))) == {"one-kernel"}


def test_an_image_without_modules_passes_when_none_is_expected() -> None:
    tree = image()
    tree.remove("/usr/lib/pipeline")
    tree.remove(f"{TOP}/updates")
    assert refusing(subject(tree, expected=Expectations(kernel=K))) == set()


def test_each_gate_reads_a_file_once() -> None:
    for gate in GATES:
        tree = image()
        run_gates((gate,), subject(tree))
        assert max(Counter(tree.reads).values(), default=0) <= 1, gate.name


@pytest.mark.parametrize(
    ("path", "content", "words"),
    [
        (f"/usr/lib/modules/{OTHER}/vmlinuz", b"x", f"{OTHER}: one of 2 entries"),
        (f"/usr/lib/modules/{OTHER}", Dir(), f"{OTHER}: one of 2 entries"),
        (f"/usr/lib/modules/{OTHER}", Link(K), f"{OTHER} is no directory"),
        (f"/boot/vmlinuz-{OTHER}", b"x", f"/boot/vmlinuz-{OTHER}: a kernel outside"),
        (f"/boot/efi/initrd.img-{OTHER}", b"x", "a kernel outside"),
        ("/usr/lib/ostree-boot/vmlinuz", b"x", "a kernel outside"),
        (f"{TOP}/initramfs.img", b"", "initramfs.img is missing, empty"),
        (f"{TOP}/vmlinuz", Link("/boot/vmlinuz"), "vmlinuz is missing, empty or no regular file"),
        (f"{TOP}/vmlinuz", elfkit.bzimage(b"", release=OTHER), f"says that it is '{OTHER}'"),
    ],
)
def test_a_second_or_broken_kernel_is_refused(path: str, content: Content, words: str) -> None:
    tree = image()
    tree.add(path, content)
    finding = ask(subject(tree))["one-kernel"]
    assert finding.verdict is Verdict.FAIL
    assert words in said(finding)


def test_a_second_kernel_is_the_business_of_its_own_gate_alone() -> None:
    tree = image()
    tree.add(f"/usr/lib/modules/{OTHER}/vmlinuz", VMLINUZ)
    assert refusing(subject(tree)) == {"one-kernel"}


def test_which_kernel_counts_must_be_clear() -> None:
    tree = image()
    tree.add(f"/usr/lib/modules/{OTHER}/vmlinuz", VMLINUZ)
    findings = ask(subject(tree, expected=replace(EXPECTED, kernel=None)))
    assert {finding.verdict for finding in findings.values()} == {Verdict.FAIL, Verdict.PASS}
    assert findings["userspace-matches"].verdict is Verdict.PASS
    assert "has 2 entries" in findings["modules-symbols"].summary


def test_another_kernel_than_the_pinned_one_is_refused() -> None:
    finding = ask(subject(image(), expected=replace(EXPECTED, kernel=OTHER)))["one-kernel"]
    assert f"the kernel must be {OTHER}" in said(finding)


def test_no_kernel_at_all_is_refused() -> None:
    findings = ask(subject(MemoryTree({}), expected=Expectations()))
    assert findings["one-kernel"].verdict is Verdict.FAIL
    assert "has no kernel" in said(findings["one-kernel"])


def test_a_lib_modules_of_its_own_is_refused() -> None:
    tree = image()
    tree.remove("/lib")
    tree.add(f"/lib/modules/{OTHER}/x", b"")
    assert f"/lib/modules/{OTHER}: modules outside" in said(ask(subject(tree))["one-kernel"])


def test_a_kernel_that_cannot_be_read_is_no_pass() -> None:
    tree = image()
    tree.add(f"{TOP}/vmlinuz", b"an arm64 Image" * 100)
    findings = ask(subject(tree))
    assert findings["one-kernel"].verdict is Verdict.UNCHECKED
    assert findings["modules-symbols"].verdict is Verdict.UNCHECKED


def test_a_missing_module_is_refused_by_the_gate_that_looks_for_it() -> None:
    tree = image()
    tree.remove(f"{DKMS}/zfs.ko.xz")
    finding = ask(subject(tree))["modules-present"]
    assert finding.verdict is Verdict.FAIL
    assert f"{DKMS}/zfs.ko.xz, listed in {MANIFEST}, is missing" in finding.details


def test_a_missing_set_and_a_missing_name_are_refused() -> None:
    more = ModuleExpectation(name="nvidia", kernel_modules=("nvidia",))
    zfs = replace(EXPECTED.modules[0], kernel_modules=("spl", "zfs", "zavl-x"))
    finding = ask(subject(image(), expected=replace(EXPECTED, modules=(zfs, more))))["modules-present"]
    assert finding.details == (
        "/usr/lib/pipeline/modules/nvidia.json is missing",
        f"{MANIFEST} does not list zavl_x",
    )


def test_a_file_that_changed_after_the_manifest_is_refused() -> None:
    tree = image()
    data = bytearray(tree.read(f"{DKMS}/zfs.ko.xz"))
    data[-1] ^= 1
    tree.add(f"{DKMS}/zfs.ko.xz", bytes(data))
    assert "is not the file that" in said(ask(subject(tree))["modules-present"])


@pytest.mark.parametrize(
    ("path", "content", "words"),
    [
        (MANIFEST, b"{}", "is no manifest"),
        (MANIFEST, to_json(replace(manifest(), set_name="other")), "is the manifest of 'other'"),
        ("/usr/lib/pipeline/modules/notes.txt", b"x", "is no JSON"),
        (f"{DKMS}/zfs.ko.xz", Link("spl.ko.xz"), "is missing"),
    ],
)
def test_a_manifest_that_cannot_be_believed_is_refused(path: str, content: Content, words: str) -> None:
    tree = image()
    tree.add(path, content)
    finding = ask(subject(tree))["modules-present"]
    assert finding.verdict is Verdict.FAIL
    assert words in said(finding)


def test_a_set_no_one_expects_is_refused() -> None:
    finding = ask(subject(image(), expected=Expectations(kernel=K)))["modules-present"]
    assert finding.details == (f"{MANIFEST}: no module set 'zfs' is expected",)


@pytest.mark.parametrize(
    "wrong",
    [
        elfkit.module("zfs", kernel=OTHER, versions=LAYOUT),
        elfkit.module("zfs", options="SMP preempt_rt mod_unload modversions", versions=LAYOUT),
    ],
)
def test_a_module_for_another_kernel_is_refused(wrong: bytes) -> None:
    finding = ask(subject(image(zfs=wrong)))["modules-vermagic"]
    assert finding.verdict is Verdict.FAIL
    assert len(finding.details) == 1
    assert "zfs.ko.xz has vermagic" in finding.details[0]


def test_vermagic_needs_a_module_of_the_kernel_to_compare_with() -> None:
    tree = image()
    tree.remove(f"{TOP}/kernel")
    assert ask(subject(tree))["modules-vermagic"].verdict is Verdict.UNCHECKED


def symbols(tree: MemoryTree) -> tuple[str, ...]:
    finding = ask(subject(tree))["modules-symbols"]
    assert finding.verdict is Verdict.FAIL
    return finding.details


def test_a_symbol_that_no_one_has_is_refused() -> None:
    needy = elfkit.module("zfs", undefined=("kmalloc", "gone"), versions=KERNEL)
    assert symbols(image(zfs=needy)) == (
        f"{DKMS}/zfs.ko.xz needs gone, which neither the kernel nor a module it depends on has",
    )


@pytest.mark.parametrize(
    ("name", "provider", "crc"),
    [
        ("kmalloc", "the kernel", 0x11),
        ("spl_init", "updates/dkms/spl.ko.xz", 0x44),
        ("module_layout", "", 0xAB),
    ],
)
def test_a_symbol_in_another_version_is_refused(name: str, provider: str, crc: int) -> None:
    other = elfkit.module("zfs", undefined=("kmalloc", "spl_init"), versions={**KERNEL, name: 0x99})
    provider = provider or "the kernel"
    assert symbols(image(zfs=other)) == (
        f"{DKMS}/zfs.ko.xz needs {name} with CRC 0x00000099, {provider} has {crc:#010x}",
    )


def test_a_symbol_for_gpl_modules_is_not_there_for_others() -> None:
    closed = elfkit.module("zfs", licenses=("CDDL",), undefined=("init_user_ns",), versions={**KERNEL, **GPL})
    assert symbols(image(zfs=closed)) == (
        f"{DKMS}/zfs.ko.xz (licence CDDL) needs init_user_ns, which the kernel has for GPL only",
    )


def test_a_module_without_symbol_versions_is_refused_where_the_kernel_has_them() -> None:
    details = symbols(image(zfs=elfkit.module("zfs", undefined=("kmalloc",))))
    assert details == (f"{DKMS}/zfs.ko.xz has no symbol versions, though the kernel has them",)


def test_a_symbol_the_kernel_exports_already_is_refused() -> None:
    details = symbols(image(zfs=elfkit.module("zfs", exports={"kmalloc": 1}, versions=LAYOUT)))
    assert details == (f"{DKMS}/zfs.ko.xz exports kmalloc, which the kernel exports already",)


def test_depmod_must_have_run_after_the_copy() -> None:
    tree = image()
    tree.add(f"{TOP}/modules.dep", DEP.replace("updates/dkms/zfs.ko.xz: updates", "x: updates"))
    assert symbols(tree) == (
        f"{DKMS}/zfs.ko.xz is not in modules.dep: depmod was not run after it was copied",
    )
    tree.add(f"{TOP}/modules.dep", DEP.replace("spl.ko.xz kernel", "spl.ko.xz\n: kernel"))
    assert f"{DKMS}/zfs.ko.xz needs drm_open, which" in symbols(tree)[0]
    tree = image()
    tree.add(f"{TOP}/modules.dep.bin", DEP.encode().replace(b"zfs.ko.xz:", b"zfs.ko.gz:"))
    assert symbols(tree) == (
        f"{DKMS}/zfs.ko.xz is not in modules.dep.bin, which modprobe reads: depmod was not run",
    )
    tree.remove(f"{TOP}/modules.dep")
    assert ask(subject(tree))["modules-symbols"].verdict is Verdict.FAIL


@pytest.mark.parametrize("path", ["/etc/passwd", "../../../../etc/passwd"])
def test_a_dependency_outside_the_kernel_s_folder_is_refused(path: str) -> None:
    tree = image()
    tree.add(f"{TOP}/modules.dep", f"updates/dkms/spl.ko.xz: {path}\n")
    finding = ask(subject(tree))["modules-symbols"]
    assert finding.verdict is Verdict.FAIL
    assert "modules.dep names" in finding.summary


def test_only_what_listed_modules_depend_on_is_read() -> None:
    tree = image()
    many = [f"kernel/x{index}.ko.xz" for index in range(50)]
    for path in many:
        tree.add(f"{TOP}/{path}", b"never read")
    tree.add(f"{TOP}/modules.dep", DEP + "".join(f"{path}:\n" for path in many))
    asked = subject(tree)
    assert run_gates([gate for gate in GATES if gate.name == "modules-symbols"], asked)[0].ok
    assert not [path for path in tree.reads if "/kernel/x" in path]


@pytest.mark.parametrize(
    ("path", "content"),
    [
        (f"{DKMS}/evil.ko.xz", b"anything"),
        (f"{TOP}/extra/evil.ko", b"anything"),
        (f"{TOP}/weak-updates/zfs.ko", Link("../updates/dkms/zfs.ko.xz")),
        (f"{TOP}/kernel/drivers/evil.ko.xz", b"anything"),
        ("/usr/lib/modules/other/kernel/drivers/drm.ko.xz", b"anything"),
        ("/var/lib/dkms/zfs/zfs.ko", ZFS),
        ("/opt/evil.ko.gz", elfkit.pack(ZFS, "gz")),
    ],
)
def test_a_module_of_unknown_origin_is_refused_wherever_it_lies(path: str, content: Content) -> None:
    tree = image()
    tree.add(path, content)
    finding = ask(subject(tree))["modules-only-manifest"]
    assert finding.details == (f"{path}: in no manifest and not the kernel's own",)


def test_a_text_in_korean_is_no_module() -> None:
    tree = image()
    tree.add("/usr/share/doc/x/README.ko", "읽어보기")
    tree.add("/usr/share/doc/x/README.ko.gz", elfkit.pack(b"text", "gz"))
    assert refusing(subject(tree)) == set()


def test_without_the_kernel_s_own_list_no_module_is_believed() -> None:
    tree = image()
    tree.remove(f"{TOP}/modules.order")
    assert ask(subject(tree))["modules-only-manifest"].verdict is Verdict.UNCHECKED


def userspace(*packages: Package) -> Finding:
    return ask(subject(image(), packages=packages))["userspace-matches"]


def test_userspace_in_another_version_or_missing_is_refused() -> None:
    finding = userspace(Package(name="zfsutils-linux", version="2.2.7-1"))
    assert finding.verdict is Verdict.FAIL
    assert finding.details == (
        "zfsutils-linux is 2.2.7-1; the zfs modules are 2.3.9",
        "libzfs6linux is not installed; the zfs modules are 2.3.9",
    )


def test_every_architecture_of_a_package_must_match() -> None:
    old = Package(name="libzfs6linux", version="2.2.7-1", arch="i386")
    assert userspace(*PACKAGES, old).details == ("libzfs6linux is 2.2.7-1; the zfs modules are 2.3.9",)


def test_userspace_without_a_package_database_is_no_pass() -> None:
    assert ask(subject(image(), packages=None))["userspace-matches"].verdict is Verdict.UNCHECKED


def test_userspace_needs_the_version_of_a_manifest() -> None:
    tree = image()
    tree.add(MANIFEST, to_json(manifest(version="")))
    assert "name no version" in said(ask(subject(tree))["userspace-matches"])
    tree.remove(MANIFEST)
    assert "zfs.json is missing" in said(ask(subject(tree))["userspace-matches"])


@pytest.mark.parametrize(
    ("version", "upstream"),
    [
        ("2.3.9-0+deb13u1", "2.3.9"),
        ("2.3.9-1", "2.3.9"),
        ("2.3.9", "2.3.9"),
        ("550.163.01-2", "550.163.01"),
        ("3:560.35.03-1.el10", "560.35.03"),
        ("1:2.0-rc1-3", "2.0-rc1"),
        ("2.3.9+dfsg1-2", "2.3.9"),
        ("2.3.9~ds-2", "2.3.9"),
        ("", ""),
    ],
)
def test_versions_are_compared_without_what_packagers_add(version: str, upstream: str) -> None:
    assert upstream_version(version) == upstream


def test_gates_have_names_of_their_own_and_say_what_they_ask() -> None:
    assert len({gate.name for gate in GATES}) == len(GATES) == 6
    assert all(gate.asks.endswith("?") for gate in GATES)
