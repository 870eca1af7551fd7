"""What differs between two bases, for a dossier: something of nearly every part."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import records

from pipeline.domain.diff.areas import Area
from pipeline.domain.diff.change import Change
from pipeline.domain.diff.containers import ContainerImage
from pipeline.domain.diff.difference import Difference, ImageName, Noise
from pipeline.domain.diff.document import as_json
from pipeline.domain.diff.kernel import KernelChange, Module
from pipeline.domain.diff.packages import InstalledPackage, Manager
from pipeline.domain.diff.policy import PolicyChange
from pipeline.domain.diff.privileges import Privilege
from pipeline.domain.diff.settings import SystemChange
from pipeline.domain.diff.size import FolderSize, Layer, PackageSize, SizeChange
from pipeline.domain.diff.snapshot import Aspect, ChangeKind, FileChange, FileFacts
from pipeline.domain.diff.texts import TextChange
from pipeline.domain.diff.units import Start
from pipeline.domain.diff.users import Account
from pipeline.domain.tree import FileType

MIB = 1 << 20
KERNEL = "6.12.94+deb13-amd64"


def package(name: str, version: str, size: int = MIB, licence: str = "") -> InstalledPackage:
    return InstalledPackage(
        name=name, version=version, arch="amd64", manager=Manager.DPKG, size=size, licence=licence
    )


def packages() -> tuple[Change[InstalledPackage], ...]:
    return (
        Change(name="libc6:amd64", old=package("libc6", "2.41-12"), new=package("libc6", "2.41-12+deb13u1")),
        Change(name="nano:amd64", old=package("nano", "8.4-1"), new=None),
        Change(
            name="openssh-server:amd64",
            old=package("openssh-server", "1:10.0p1-8"),
            new=package("openssh-server", "1:10.0p1-7"),
        ),
        Change(
            name="redis:amd64",
            old=package("redis", "7.2.4-1", licence="BSD-3-Clause"),
            new=package("redis", "8.0.2-1", 2 * MIB, licence="AGPL-3.0-only"),
        ),
        Change(name="tailscale:amd64", old=None, new=package("tailscale", "1.88.4", 34 * MIB)),
        Change(
            name="zfsutils-linux:amd64",
            old=package("zfsutils-linux", "2.3.2-2"),
            new=package("zfsutils-linux", "2.3.9-1"),
        ),
    )


def file(path: str, mode: int = 0o644, sha256: str = "a" * 64, size: int = 100) -> FileFacts:
    return FileFacts(path=path, type=FileType.FILE, mode=mode, uid=0, gid=0, size=size, sha256=sha256)


def files(count: int = 40) -> tuple[FileChange, ...]:
    docs = (f"/usr/share/doc/zfsutils-linux/part-{index:03}" for index in range(count - 1))
    changed = (
        FileChange(
            path=path,
            kind=ChangeKind.CHANGED,
            what=frozenset({Aspect.CONTENT}),
            old=file(path),
            new=file(path, sha256="b" * 64, size=120),
        )
        for path in docs
    )
    newgrp = file("/usr/bin/newgrp", mode=0o4755)
    added = FileChange(
        path=newgrp.path, kind=ChangeKind.ADDED, what=frozenset({Aspect.SETUID}), old=None, new=newgrp
    )
    return (added, *changed)


def size_change() -> SizeChange:
    parts = {"linux-image-6.12.94+deb13-amd64": 105, "nvidia-kernel-open": 70, "podman": 41, "tailscale": 34}
    parts |= {f"library-{index:02}": 24 - index // 2 for index in range(40)}
    return SizeChange(
        old_download=310 * MIB,
        new_download=326 * MIB,
        old_files=1012 * MIB,
        new_files=1046 * MIB,
        fetched=44 * MIB,
        grown=33 * MIB,
        old_layers=(),
        new_layers=(
            Layer(
                digest=f"sha256:{1:064x}",
                size=282 * MIB,
                unpacked=900 * MIB,
                created_by="mmdebstrap",
                shared=True,
            ),
            Layer(
                digest=f"sha256:{2:064x}",
                size=44 * MIB,
                unpacked=146 * MIB,
                created_by="COPY modules",
                shared=False,
            ),
        ),
        folders=(FolderSize(name="/usr/bin", grown=34 * MIB), FolderSize(name="/usr/share", grown=-MIB)),
        packages=(
            PackageSize(name="tailscale:amd64", old=0, new=34 * MIB),
            PackageSize(name="nano:amd64", old=3 * MIB, new=0),
            PackageSize(name="podman:amd64", old=42 * MIB, new=41 * MIB),
            PackageSize(name="linux-image-6.12.94+deb13-amd64:amd64", old=104 * MIB, new=105 * MIB),
            PackageSize(name="redis:amd64", old=MIB, new=2 * MIB),
        ),
        largest=tuple(PackageSize(name=name, old=0, new=size * MIB) for name, size in parts.items())[:40],
    )


def difference(**changes: object) -> Difference:
    """What differs between two bases: something of nearly every part."""
    sshd = TextChange(
        path="/etc/ssh/sshd_config",
        kind=ChangeKind.CHANGED,
        lines=(
            "@@ -12,3 +12,4 @@",
            " Port 22",
            "-PermitRootLogin no",
            "+PermitRootLogin yes",
            "+X11Forwarding no",
        ),
        added=2,
        removed=1,
        cut=3,
    )
    module = Module(
        path="/usr/lib/modules/6.12.93/updates/dkms/zfs.ko.xz",
        sha256="c" * 64,
        version="2.3.2-2",
        vermagic="6.12.93+deb13-amd64 SMP preempt mod_unload modversions",
        srcversion="8A5C1D6F",
        licence="CDDL",
        module_set="zfs",
    )
    newer = dataclasses.replace(
        module, version="2.3.9-1", vermagic=f"{KERNEL} SMP preempt mod_unload modversions", srcversion="F00D"
    )
    envoy = ContainerImage(
        image=f"registry.example.org/envoy@{records.digest(3)}",
        user="root",
        path="/etc/containers/systemd/envoy.container",
        pinned=True,
    )
    whole = Difference(
        old=ImageName(name="127.0.0.1:5000/os/debian/base", digest=records.digest(2)),
        new=ImageName(name="127.0.0.1:5000/os/debian/base", digest=records.digest(1)),
        because="v2.4.0 is the last release of this image",
        system=SystemChange(old_id="debian", new_id="debian", old_version="13", new_version="13"),
        kernel=KernelChange(old=("6.12.93+deb13-amd64",), new=(KERNEL,), drivers_added=("intel_vpu",)),
        modules=(Change(name="zfs", old=module, new=newer),),
        privileges=(
            Change(
                name="/usr/bin/newgrp", old=None, new=Privilege(grants=("setuid",), mode="4755", owner="0:0")
            ),
        ),
        accounts=(
            Change(
                name="user _envoy",
                old=None,
                new=Account(
                    what="user",
                    name="_envoy",
                    number="993",
                    group="993",
                    home="/nonexistent",
                    shell="/usr/sbin/nologin",
                ),
            ),
        ),
        units=(
            Change(
                name="multi-user.target wants tailscaled.service",
                old=None,
                new=Start(
                    scope="system",
                    unit="tailscaled.service",
                    relation="wants",
                    by="multi-user.target",
                    path="/etc/systemd/system/multi-user.target.wants/tailscaled.service",
                ),
            ),
        ),
        policy=PolicyChange(),
        kargs=(),
        containers=(Change(name="envoy.container", old=None, new=envoy),),
        bound=(),
        packages=packages(),
        config=(),
        texts=(sshd,),
        files=files(),
        areas=(
            Area(name="programs", added=1, removed=0, changed=0),
            Area(name="documentation", added=0, removed=0, changed=39),
        ),
        noise=(Noise(why="time alone", paths=tuple(f"/usr/share/info/{index}" for index in range(9))),),
        built=(),
        size=size_change(),
        unexplained=("/usr/bin/newgrp",),
        unread=(),
    )
    return dataclasses.replace(whole, **changes)  # type: ignore[arg-type]


def diff_document(**changes: object) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(json.dumps(as_json(difference(**changes))))
    return document
