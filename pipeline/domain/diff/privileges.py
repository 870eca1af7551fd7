"""Files whose rights let somebody do more: setuid, setgid, capabilities, device nodes, writable by all.

Rules: a file is told when what it grants differs, not when only its content does (that is a file's change
like any other); capabilities are named; a directory that all may write is fine with the sticky bit alone.
Source: capabilities(7), struct vfs_ns_cap_data.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.domain.diff.change import Change, compare
from pipeline.domain.diff.pair import Pair, Side
from pipeline.domain.diff.snapshot import FileFacts
from pipeline.domain.tree import FileType

_STICKY, _WORLD = 0o1000, 0o002
_REVISION, _EFFECTIVE = 0xFF000000, 0x1
_V1, _V2, _V3 = 0x01000000, 0x02000000, 0x03000000
_NAMES = [
    "chown",
    "dac_override",
    "dac_read_search",
    "fowner",
    "fsetid",
    "kill",
    "setgid",
    "setuid",
    "setpcap",
    "linux_immutable",
    "net_bind_service",
    "net_broadcast",
    "net_admin",
    "net_raw",
    "ipc_lock",
    "ipc_owner",
    "sys_module",
    "sys_rawio",
    "sys_chroot",
    "sys_ptrace",
    "sys_pacct",
    "sys_admin",
    "sys_boot",
    "sys_nice",
    "sys_resource",
    "sys_time",
    "sys_tty_config",
    "mknod",
    "lease",
    "audit_write",
    "audit_control",
    "setfcap",
    "mac_override",
    "mac_admin",
    "syslog",
    "wake_alarm",
    "block_suspend",
    "audit_read",
    "perfmon",
    "bpf",
    "checkpoint_restore",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Privilege:
    """What a path grants: each as `setuid`, `setgid`, `cap_net_raw`, …, and to whom."""

    grants: tuple[str, ...]
    mode: str
    owner: str


def privilege_changes(pair: Pair) -> tuple[Change[Privilege], ...]:
    """Return the paths that grant something else, or to somebody else, than before."""
    return compare(dict(_privileges(pair.old)), dict(_privileges(pair.new)))


def capabilities(value: str) -> tuple[str, ...]:
    """Return the names in a `security.capability` attribute, given in hexadecimal; what is odd is said."""
    try:
        raw = bytes.fromhex(value)
        magic, low, low_inherited = struct.unpack_from("<III", raw)
        high, high_inherited = struct.unpack_from("<II", raw, 12) if len(raw) >= 20 else (0, 0)  # noqa: PLR2004
    except (ValueError, struct.error):
        return ("an unreadable capability",)
    if magic & _REVISION not in (_V1, _V2, _V3):
        return ("a capability of an unknown form",)
    permitted, inherited = low | high << 32, low_inherited | high_inherited << 32
    names = [*_named(permitted, "cap_"), *_named(inherited & ~permitted, "inheritable cap_")]
    return (*names, "effective") if magic & _EFFECTIVE else tuple(names)


def _named(bits: int, prefix: str) -> Iterator[str]:
    for number in range(64):
        if bits >> number & 1:
            yield f"{prefix}{_NAMES[number] if number < len(_NAMES) else number}"


def _privileges(side: Side) -> Iterator[tuple[str, Privilege]]:
    for facts in side.changed:
        grants = tuple(_grants(facts))
        if grants:
            yield (
                facts.path,
                Privilege(grants=grants, mode=f"{facts.mode:04o}", owner=f"{facts.uid}:{facts.gid}"),
            )


def _grants(facts: FileFacts) -> Iterator[str]:
    if facts.setuid:
        yield "setuid"
    if facts.setgid:
        yield "setgid"
    if facts.capability:
        yield from capabilities(facts.capability)
    if facts.type in (FileType.CHARACTER, FileType.BLOCK):
        yield f"{facts.type.value} device {facts.device[0]}:{facts.device[1]}"
    if facts.mode & _WORLD and (facts.type is FileType.FILE or _unsticky(facts)):
        yield "writable by all"


def _unsticky(facts: FileFacts) -> bool:
    return facts.type is FileType.DIRECTORY and not facts.mode & _STICKY
