"""A small image with something of everything a diff tells, and what a diff says of one kind."""

from __future__ import annotations

import elfkit
from difftrees import STATUS, MemorySnapshot, dpkg
from trees import Content, File, Link

from pipeline.domain.diff.difference import Difference
from pipeline.domain.diff.groups import Group, groups
from pipeline.domain.diff.item import Item
from pipeline.domain.manifest import build_manifest, to_json

KERNEL = "6.12.94-test"
SITE = "/etc/site.conf"
PASSWD = "root:x:0:0:root:/root:/bin/bash\nada:x:1000:1000:Ada:/home/ada:/bin/bash\n"
GROUP = "root:x:0:\nsudo:x:27:ada\n"
POLICY = "/etc/containers/policy.json"
SIGNED = '[{"type":"sigstoreSigned","keyPath":"/etc/pki/containers/os.pub"}]'
DENIED = '{"default":[{"type":"reject"}],"transports":{"docker":{"reg.example":%s}}}'


def kernel(
    release: str, *, version: str = "2.3.9-1", signer: str = "", listed: bool = True
) -> dict[str, Content]:
    folder = f"/usr/lib/modules/{release}"
    ko = elfkit.module(
        "zfs", kernel=release, version=version, signature=elfkit.issuer(signer) if signer else None
    )
    tree: dict[str, Content] = {
        f"{folder}/vmlinuz": release,
        f"{folder}/kernel/fs/ext4/ext4.ko": elfkit.module("ext4", kernel=release),
        f"{folder}/updates/dkms/zfs.ko": ko,
    }
    if listed:
        manifest = build_manifest("zfs", release, MemorySnapshot(tree), f"{folder}/updates", ["zfs"])
        tree[manifest.path] = to_json(manifest)
    return tree


def base() -> dict[str, Content]:
    """Return a small image with something of everything."""
    return {
        **kernel(KERNEL),
        STATUS: dpkg(("libc6", "2.41-12"), ("zlib1g", "1:1.3-1")),
        "/usr/lib/os-release": 'ID=debian\nVERSION_ID="13"\nPRETTY_NAME="Debian 13"\n',
        "/etc/passwd": PASSWD,
        "/etc/group": GROUP,
        SITE: "one\ntwo\n",
        POLICY: DENIED % SIGNED,
        "/usr/bin/su": File(b"su", mode=0o4755),
        "/usr/lib/systemd/system/multi-user.target.wants/ssh.service": Link("../ssh.service"),
        "/usr/lib/bootc/kargs.d/1.toml": 'kargs = ["quiet"]\n',
    }


def group(difference: Difference, kind: str) -> Group:
    return {one.kind: one for one in groups(difference)}[kind]


def items(difference: Difference, kind: str) -> list[tuple[str, str]]:
    return [(item.how, item.name) for item in group(difference, kind).items]


def one(difference: Difference, kind: str) -> Item:
    (item,) = group(difference, kind).items
    return item


def loud(difference: Difference) -> set[str]:
    """Return the kinds in which something changed."""
    return {one.kind for one in groups(difference) if one.items}
