"""A small image with packages, modules, firmware, a script and a quadlet, and what a scanner says of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from elfkit import module, pack
from trees import Content, File, Link, MemoryTree

from pipeline.domain.gate import CommandResult
from pipeline.domain.image import Digest, ImageRef, Repository, Tier
from pipeline.domain.packages import read_packages
from pipeline.domain.sbom.document import Identity, ParentImage
from pipeline.domain.sbom.part import Organisation
from pipeline.verbs.sbom import OpenedImage

KERNEL = "6.12.94-test"
MODULES = f"/usr/lib/modules/{KERNEL}"
ZFS = f"{MODULES}/updates/dkms/zfs.ko.xz"
SPL = f"{MODULES}/updates/dkms/spl.ko.zst"
INFO = "/usr/lib/sysimage/dpkg/info"
SUPPLIER = Organisation(name="Example", url="https://example.org/os", mail="os@example.org")
ENVOY = "docker.io/envoyproxy/envoy:v1@sha256:" + "e" * 64
BASE = ImageRef(
    repository=Repository(registry="registry.example", path="os/debian/base"),
    digest=Digest("sha256:" + "b" * 64),
)
HOST = ImageRef(
    repository=Repository(registry="registry.example", path="os/debian/web-1"),
    digest=Digest("sha256:" + "a" * 64),
)
TIME = 1_790_000_000


def status(*packages: tuple[str, str]) -> str:
    return "\n".join(
        f"Package: {name}\nStatus: install ok installed\nArchitecture: amd64\nVersion: {version}\n"
        for name, version in packages
    )


def files() -> dict[str, Content]:
    """Return the image's files."""
    return {
        "/lib": Link("usr/lib"),
        "/bin": Link("usr/bin"),
        "/usr/lib/os-release": "ID=debian\nVERSION_ID=13\n",
        "/usr/lib/sysimage/dpkg/status": status(("tool", "1.0-1"), ("firmware-x", "2.0-1")),
        f"{INFO}/tool.list": "/.\n/bin\n/bin/tool\n/etc/tool.conf\n/usr/share/doc/tool/copyright\n",
        f"{INFO}/tool.postinst": File(b"#!/bin/sh\n", mode=0o755),
        f"{INFO}/firmware-x.list": "/lib/firmware/x/a.bin\n/lib/firmware/x/b.bin\n",
        "/usr/bin/tool": File(b"\x7fELF tool", mode=0o755),
        "/etc/tool.conf": "a = 1\n",
        "/usr/share/doc/tool/copyright": "License: Expat\n",
        "/usr/lib/firmware/x/a.bin": b"a",
        "/usr/lib/firmware/x/b.bin": b"b",
        "/usr/lib/firmware/stray.bin": b"stray",
        "/usr/libexec/stray": File(b"#!/bin/sh\necho stray\n", mode=0o755),
        "/usr/libexec/notes": File(b"no program\n", mode=0o755),
        "/usr/lib/libstray.so.1": b"\x7fELF library",
        "/usr/share/containers/systemd/envoy.container": f"[Container]\nImage={ENVOY}\n",
        ZFS: pack(module("zfs", kernel=KERNEL, depends=("spl",), licenses=("CDDL", "Dual MIT/GPL")), "xz"),
        SPL: pack(module("spl", kernel=KERNEL), "zst"),
        f"{MODULES}/vmlinuz": b"the kernel",
        f"{MODULES}/modules.dep": (
            "updates/dkms/zfs.ko.xz: updates/dkms/spl.ko.zst\nupdates/dkms/spl.ko.zst:\n"
        ),
    }


def base_tree(**more: Content) -> MemoryTree:
    return MemoryTree({**files(), **more})


def component(name: str, version: str, **more: Any) -> dict[str, Any]:
    """Return a package as syft 1.18 tells it."""
    purl = f"pkg:deb/debian/{name}@{version}?arch=amd64&distro=debian-13"
    return {
        "bom-ref": f"{purl}&package-id={abs(hash(name)):x}",
        "type": "library",
        "publisher": f"{name} people <{name}@example.org>",
        "name": name,
        "version": version,
        "purl": purl,
        "licenses": [{"license": {"name": "Expat"}}, {"license": {"id": "GPL-2.0-only"}}],
        "properties": [
            {"name": "syft:package:foundBy", "value": "dpkg-db-cataloger"},
            {"name": "syft:package:type", "value": "deb"},
            {"name": "syft:location:0:path", "value": "/usr/lib/sysimage/dpkg/status"},
        ],
        **more,
    }


def go_module(path: str, *, identity: str) -> dict[str, Any]:
    """Return a Go module found in a program."""
    return {
        "bom-ref": f"pkg:golang/example.org/mod@v1?package-id={identity}",
        "type": "library",
        "name": "example.org/mod",
        "version": "v1",
        "purl": "pkg:golang/example.org/mod@v1",
        "properties": [
            {"name": "syft:package:type", "value": "go-module"},
            {"name": "syft:location:0:path", "value": path},
            {"name": "syft:metadata:h1Digest", "value": "h1:" + "A" * 43 + "="},
        ],
    }


def scan() -> dict[str, Any]:
    """Return what a scanner says of the image."""
    tool, firmware = component("tool", "1.0-1"), component("firmware-x", "2.0-1")
    kernel = {
        "bom-ref": "k",
        "type": "library",
        "name": "linux-kernel",
        "version": KERNEL,
        "purl": f"pkg:generic/linux-kernel@{KERNEL}",
        "properties": [{"name": "syft:package:type", "value": "linux-kernel"}],
    }
    system = {"bom-ref": "os:debian@13", "type": "operating-system", "name": "debian", "version": "13"}
    return {
        "metadata": {"tools": {"components": [{"name": "syft", "version": "1.18.1"}]}},
        "components": [
            tool, firmware, kernel, system,
            go_module("/usr/bin/tool", identity="1"), go_module("/usr/bin/other", identity="2"),
        ],
        "dependencies": [
            {"ref": tool["bom-ref"], "dependsOn": [firmware["bom-ref"], tool["bom-ref"], "lost"]},
            {"ref": "lost", "dependsOn": [tool["bom-ref"]]},
        ],
    }  # fmt: skip


class SaidBefore:
    """A scanner that says what it was given."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document

    def scan(self, root: Path) -> dict[str, Any]:
        return self.document


def nothing_inside(argv: object, *, stdin: str = "", timeout: float = 0.0) -> CommandResult:
    return CommandResult(code=127, stdout="", stderr="")


def opened(tree: MemoryTree) -> OpenedImage:
    return OpenedImage(root=Path("/"), tree=tree, inside=nothing_inside, packages=read_packages(tree))


def identity(ref: ImageRef = BASE, **more: Any) -> Identity:
    values: dict[str, Any] = {
        "name": "debian/base",
        "tier": Tier.BASE,
        "supplier": SUPPLIER,
        "timestamp": TIME,
        "tool_version": "1.2.3",
        "commit": "c" * 40,
        **more,
    }
    return Identity(ref=ref, **values)


def host_identity(**more: Any) -> Identity:
    parent = ParentImage(name="debian/base", ref=BASE)
    return identity(HOST, **{"name": "debian/web-1", "tier": Tier.INSTANCE, "parent": parent, **more})
