"""A stand-in for an EL bootc image and its repositories, with rpm, dnf, dkms and gcc from Debian packages.

The image is a Debian tree whose kernel is an RPM; the repositories are RPMs built here by rpmbuild and
indexed by createrepo_c. The packages named dkms, gcc and make are empty: the programs come from Debian.
kernel-devel carries the headers of the Debian kernel under the EL kernel's name, so that modules compile.
"""

from __future__ import annotations

import functools
import http.server
import os
import shutil
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import debiantree

ARCH = "x86_64"
OWN, GOOD, BROKEN, TOO_NEW = "6.12.0-142.el10", "6.12.0-55.el10", "6.12.0-120.el10", "6.16.0-3.el10"
"""The image's kernel (no kernel-devel offered), one that compiles, one that does not, one out of range."""

_TREE_PACKAGES = (
    "dnf", "rpm", "cpio", "curl", "gcc", "make", "patch", "dracut", "systemd-sysv", "udev", "kmod",
    "xz-utils", "ca-certificates", "ostree", "ostree-boot",
)  # fmt: skip
# Unpacked, not installed: by their dependencies the headers want a whole kernel, and dkms wants Perl.
_UNPACK = """
set -e
cd "$1/usr/src"
export APT_CONFIG="$MMDEBSTRAP_APT_CONFIG"
only="--no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces --no-enhances"
needed=$(apt-cache depends --recurse $only linux-headers-amd64)
names=$(echo "$needed" | grep -E '^linux-(headers|kbuild)-[0-9]' | sort -u)
apt-get -q download $names dkms
for one in *.deb; do
  # One empty file for each setting, thousands of them: only the build of a kernel itself looks at these.
  dpkg-deb --fsys-tarfile "$one" | tar -x -C "$1" --keep-directory-symlink --exclude=./usr/share/doc \\
    --exclude='./usr/src/*/include/config/[A-Z]*'
  rm "$one"
done
find "$1"/usr/src/linux-headers-*-common/arch -mindepth 1 -maxdepth 1 -type d ! -name x86 -exec rm -r {} +
mkdir -p "$1/etc/yum.repos.d" "$1/etc/dkms"
# What dnf runs is compiled now, and not again in each container.
chroot "$1" dnf --version >&2
"""
_HELLO_C = """
#include <linux/module.h>
#ifdef NEWER_KERNEL
#error "the interface of this kernel is another one"
#endif
static int __init hello_init(void) { return 0; }
static void __exit hello_exit(void) { }
module_init(hello_init);
module_exit(hello_exit);
MODULE_LICENSE("GPL");
MODULE_VERSION("1.2.3");
"""
_HELLO_MAKEFILE = """
obj-m := hello.o
ifneq ($(findstring 6.12.0-120,$(KERNELRELEASE)),)
ccflags-y += -DNEWER_KERNEL
endif
"""
_HELLO_DKMS = """
PACKAGE_NAME="hello"
PACKAGE_VERSION="1.2.3"
BUILT_MODULE_NAME[0]="hello"
DEST_MODULE_LOCATION[0]="/extra"
BUILD_EXCLUSIVE_KERNEL="^6[.]1[0-9][.].*el10"
AUTOINSTALL="yes"
MAKE[0]="make -C ${kernel_source_dir} M=${dkms_tree}/${PACKAGE_NAME}/${PACKAGE_VERSION}/build modules"
"""
_META = "Name: hello\nVersion: 1.2.3\nLinux-Maximum: 6.15\nLinux-Minimum: 4.18\n"


def tool(program: str, package: str = "") -> str:
    found = shutil.which(program)
    assert found, f"{program} is missing; install it with: apt-get install {package or program}"
    return found


def run(*argv: str, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        argv, capture_output=True, text=True, check=False, env={**os.environ, **(env or {})}, timeout=900
    )
    assert done.returncode == 0, f"{argv}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout


def bootstrap(archive: Path) -> None:
    """Write the Debian tree, dnf and rpm in it, without any kernel."""
    debiantree.bootstrap(archive, _TREE_PACKAGES, variant="essential", hooks=[_UNPACK])


def _headers(archive: Path, target: Path, release: str) -> None:
    """Unpack the tree's kernel headers as those of another kernel release."""
    with tarfile.open(archive) as tree:
        # Python before 3.11.4 has no filters and asks for none; it is our own archive.
        tree.extraction_filter = getattr(tarfile, "fully_trusted_filter", None)
        members = tree.getmembers()
        tops = (one.name for one in members if one.name.startswith("./usr/src/linux-headers-"))
        top = next(name for name in tops if name.count("/") == 3 and name.endswith("-amd64"))
        for member in members:
            if member.name.startswith(f"{top}/") and not member.name.endswith("/vmlinux"):
                member.name = member.name.removeprefix(f"{top}/")
                tree.extract(member, target)
    (target / "include/config/kernel.release").write_text(f"{release}\n")
    (target / "include/generated/utsrelease.h").write_text(f'#define UTS_RELEASE "{release}"\n')
    scripts = target / "scripts"
    own = str(scripts.readlink())
    for name in ("scripts", "tools"):
        (target / name).unlink()
        (target / name).symlink_to("/usr/lib/" + own.split("/lib/")[1].replace("scripts", name))


@dataclass
class Packager:
    """Builds RPMs into a folder."""

    work: Path
    target: Path

    def build(
        self,
        name: str,
        version: str,
        *,
        files: Path | None = None,
        lines: tuple[str, ...] = (),
        scripts: str = "",
    ) -> None:
        """Build one package.

        Args:
            name: Its name.
            version: `version-release`.
            files: Folder whose content becomes the package's.
            lines: Further lines of the spec's head, such as `Requires: x`.
            scripts: Scriptlet sections.
        """
        number, _, release = version.partition("-")
        copy = f"cp -a {files}/. %{{buildroot}}/" if files else "true"
        top = [f"/{path.relative_to(files)}" for path in _leaves(files)] if files else []
        head = "\n".join(lines)
        spec = self.work / f"{name}-{version}.spec"
        spec.write_text(
            f"Name: {name}\nVersion: {number}\nRelease: {release}\nSummary: stand-in\nLicense: GPL\n"
            f"AutoReqProv: no\n{head}\n%description\nstand-in\n%install\nmkdir -p %{{buildroot}}\n{copy}\n"
            f"{scripts}\n%files\n" + "\n".join(top) + "\n"
        )
        run(
            tool("rpmbuild", "rpm"), "-bb", "--quiet", "--target", ARCH,
            "--define", f"_topdir {self.work}/rpm", "--define", f"_rpmdir {self.target}",
            "--define", "_rpmfilename %{NAME}-%{VERSION}-%{RELEASE}.%{ARCH}.rpm",
            "--define", "__os_install_post %{nil}", "--define", "_binary_payload w0.gzdio",
            "--define", "_build_id_links none", "--define", "debug_package %{nil}", str(spec),
        )  # fmt: skip

    def kernel(self, version: str) -> None:
        """Build kernel, kernel-core, kernel-modules-core and kernel-modules of one version."""
        core = self.work / f"core-{version}"
        modules = core / f"usr/lib/modules/{version}.{ARCH}"
        modules.mkdir(parents=True)
        (modules / "vmlinuz").write_bytes(b"stand-in for a kernel\n")
        for name in ("modules.builtin", "modules.order"):
            (modules / name).write_text("")
        noisy = "%post\necho scriptlet of a kernel >> /scriptlets\n%preun\necho scriptlet >> /scriptlets\n"
        # The provides by which dnf knows, on EL as here, that several versions may be installed at once.
        kernel, module = ("Provides: installonlypkg(kernel)", "Provides: installonlypkg(kernel-module)")
        needs = f"Requires: kernel-core = {version}"
        more = f"Requires: kernel-modules-core = {version}"
        self.build("kernel-core", version, files=core, lines=(kernel,), scripts=noisy)
        self.build("kernel-modules-core", version, lines=(module, needs))
        self.build("kernel-modules", version, lines=(module, needs, more))
        self.build("kernel", version, lines=(needs, f"Requires: kernel-modules = {version}"))

    def devel(self, version: str, archive: Path) -> None:
        """Build kernel-devel of one version, with headers that compile."""
        files = self.work / f"devel-{version}"
        target = files / f"usr/src/kernels/{version}.{ARCH}"
        target.mkdir(parents=True)
        _headers(archive, target, f"{version}.{ARCH}")
        self.build("kernel-devel", version, files=files)

    def system(self) -> None:
        """Build what every EL system has: a release package, and something that provides the shell."""
        self.build("standin-release", "10-1", lines=("Provides: system-release = 10", "Provides: /bin/sh"))

    def hello(self) -> None:
        """Build the module's source package and its userspace, related as OpenZFS's are."""
        files = self.work / "hello"
        source = files / "usr/src/hello-1.2.3"
        source.mkdir(parents=True)
        for name, text in {
            "hello.c": _HELLO_C, "Makefile": _HELLO_MAKEFILE, "dkms.conf": _HELLO_DKMS, "META": _META
        }.items():  # fmt: skip
            (source / name).write_text(text)
        self.build(
            "hello-dkms",
            "1.2.3-1.el10",
            files=files,
            lines=("Requires: dkms, gcc, make", "Provides: hello-kmod = 1.2.3"),
            scripts="%post\ndkms autoinstall\n",
        )
        userspace = self.work / "hello-tools"
        (userspace / "usr/bin").mkdir(parents=True)
        (userspace / "usr/bin/hello").write_text("#!/bin/sh\necho hello\n")
        self.build(
            "hello-tools", "1.2.3-1.el10", files=userspace, lines=("Requires: hello-kmod = 1.2.3",)
        )  # fmt: skip


def _leaves(folder: Path) -> list[Path]:
    """Return the files of a package: whole version folders where it brings one, single files elsewhere."""
    own = [
        path
        for pattern in ("usr/src/*/*", "usr/src/hello-*", "usr/lib/modules/*")
        for path in folder.glob(pattern)
    ]
    kept = [path for path in own if not any(path != other and path.is_relative_to(other) for other in own)]
    return kept or [path for path in folder.rglob("*") if path.is_file()]


def index(folder: Path) -> None:
    """Make a folder of RPMs a repository."""
    run(tool("createrepo_c", "createrepo-c"), "--quiet", str(folder))


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder by HTTP on a free port of this machine; yields its address."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder))
    )
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def repo_file(address: str) -> str:
    """Return a .repo file for one repository."""
    return f"[standin]\nname=stand-in\nbaseurl={address}\ngpgcheck=0\nmetadata_expire=0\n"
