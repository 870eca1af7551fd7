from __future__ import annotations

import pytest
from subjects import ask
from trees import Content, Dir, Link

from pipeline.domain.gate import Verdict

LEFT: list[tuple[str, Content]] = [
    ("/usr/bin/gcc", b""),
    ("/usr/bin/gcc-14", Link("x86_64-linux-gnu-gcc-14")),
    ("/usr/bin/x86_64-linux-gnu-gcc-14", b""),
    ("/usr/bin/cc", Link("/etc/alternatives/cc")),
    ("/usr/local/bin/g++-13.2", b""),
    ("/usr/bin/ld.bfd", b""),
    ("/usr/bin/make", b""),
    ("/usr/sbin/dkms", b""),
    ("/bin/as", b""),
    ("/opt/go/bin/go", b""),
    ("/usr/src/linux-headers-6.12.94-amd64", Dir()),
    ("/usr/src/kernels/6.12.0-1.el10.x86_64", Dir()),
    ("/usr/src/zfs-2.3.9/dkms.conf", b""),
    ("/usr/lib/modules/6.12.94-amd64/build", Link("/usr/src/gone")),
    ("/usr/lib/modules/6.12.94-amd64/source", Dir()),
    ("/var/lib/dkms", Dir()),
    ("/usr/libexec/gcc/x86_64-linux-gnu/14/cc1", b""),
    ("/usr/lib/gcc/x86_64-redhat-linux/14/collect2", b""),
]
HARMLESS: dict[str, Content] = {
    "/usr/bin/ld.so": b"",
    "/usr/bin/assemble": b"",
    "/usr/bin/gcov-dump-reader": b"",
    "/usr/bin/python3.13": b"",
    "/usr/bin/git": b"",
    "/usr/bin/make-ssl-cert": b"",
    "/usr/src/kernels": Dir(),
    "/usr/lib/gcc/x86_64-linux-gnu/14/libgcc_s.so": b"",
    "/usr/lib/modules/6.12.94-amd64/kernel/build.ko": b"",
    "/usr/share/bash-completion/completions/gcc": b"",
}
BUILD_NAMES = (
    "gcc",
    "gcc-14",
    "gcc-14-x86-64-linux-gnu",
    "g++-14",
    "cpp-14",
    "clang-19",
    "make",
    "dkms",
    "zfs-dkms",
    "dkms-nvidia",
    "akmod-nvidia",
    "kernel-devel",
    "kernel-devel-matched",
    "kernel-rt-devel",
    "kernel-headers",
    "linux-headers-6.12.94+deb13-amd64",
    "linux-kbuild-6.12.94+deb13",
    "linux-libc-dev",
    "libc6-dev",
    "openssl-devel",
    "binutils",
    "binutils-x86-64-linux-gnu",
    "dpkg-dev",
    "rpm-build",
    "golang-1.24-go",
)
RUNTIME_NAMES = (
    "gcc-14-base",
    "libgcc-s1",
    "libgcc",
    "libstdc++",
    "perl-base",
    "python3",
    "git",
    "udev",
    "libllvm19",
    "llvm-libs",
    "clang-libs",
    "golang-github-containers-common",
    "golang-github-containers-image",
    "makedumpfile",
    "linux-image-6.12.94+deb13-amd64",
    "kernel-core",
)


def test_an_image_without_tools_passes() -> None:
    verdict, text = ask("no-build-tools", HARMLESS, packages=RUNTIME_NAMES)

    assert verdict is Verdict.PASS, text


@pytest.mark.parametrize(("path", "content"), LEFT, ids=[path for path, _ in LEFT])
def test_each_left_file_is_found_though_no_package_owns_it(path: str, content: Content) -> None:
    verdict, text = ask("no-build-tools", {**HARMLESS, path: content})

    assert verdict is Verdict.FAIL
    assert path in text
    assert text.startswith("1 finding")


@pytest.mark.parametrize("name", BUILD_NAMES)
def test_each_left_package_is_found_though_no_file_shows_it(name: str) -> None:
    verdict, text = ask("no-build-tools", HARMLESS, packages=("bash", name))

    assert verdict is Verdict.FAIL
    assert f"package {name} 1" in text


def test_without_a_package_database_nobody_can_say() -> None:
    assert ask("no-build-tools", HARMLESS, packages=None)[0] is Verdict.UNCHECKED
    assert ask("no-build-tools", {"/usr/bin/gcc": b""}, packages=None)[0] is Verdict.FAIL


def test_the_definition_can_name_more_packages() -> None:
    packages = ("bash", "house-builder")

    assert "house-builder" in ask("no-build-tools", packages=packages, build_packages=("house-*",))[1]


def test_an_allowed_file_is_left_alone_and_its_neighbour_is_not() -> None:
    verdict, text = ask(
        "no-build-tools",
        {"/usr/bin/as": b"", "/usr/bin/ld": b""},
        allowed_files={"/usr/bin/as": "a shell alias tool of the house"},
    )

    assert verdict is Verdict.FAIL
    assert "/usr/bin/as" not in text


@pytest.mark.parametrize(
    "path",
    [
        "/var/cache/apt/archives/bash_5.deb",
        "/var/cache/apt/pkgcache.bin",
        "/var/lib/apt/lists/trixie_InRelease",
        "/var/cache/dnf/base.solv",
        "/var/cache/libdnf5/x/repodata/repomd.xml",
        "/var/cache/yum/x",
        "/root/kernel.rpm",
        "/var/roothome/build/zfs.rpm",
        "/tmp/x.deb",
        "/root/.cache/pip/http/1",
    ],
)
def test_each_package_cache_is_found(path: str) -> None:
    verdict, text = ask("no-package-cache", {path: b"data"})

    assert verdict is Verdict.FAIL
    assert path in text


def test_empty_cache_folders_and_locks_pass() -> None:
    contents: dict[str, Content] = {
        "/var/cache/apt/archives/lock": b"",
        "/var/cache/apt/archives/partial": Dir(),
        "/var/lib/apt/lists/lock": b"",
        "/var/lib/apt/lists/partial": Dir(),
        "/var/cache/dnf": Dir(),
        "/var/cache/debconf/config.dat": b"",
        "/usr/share/doc/a.deb": b"",
    }
    assert ask("no-package-cache", contents)[0] is Verdict.PASS


def test_long_lists_are_bounded_and_counted() -> None:
    _, text = ask("no-package-cache", {f"/tmp/{at:03}.deb": b"" for at in range(500)})

    assert text.startswith("500 findings")
    assert text.endswith("… and 440 more")
