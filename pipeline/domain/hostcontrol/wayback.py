"""What going back to an older image changes on a host, and what may not be readable any more after it.

Rules: said of a difference from what runs to what is wanted, so that a package which goes *down* is one whose
data the newer version may have converted. Nothing here decides: a person is told. Words come from images and
are hostile; whoever shows them makes them harmless.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.domain.diff.difference import Difference
from pipeline.domain.diff.groups import Group, groups
from pipeline.domain.diff.packages import Direction, direction

SHOWN_KINDS = ("kernel", "modules", "packages", "containers")
"""Kinds of change that are listed; of the others the number is told."""

_KEEPERS = re.compile(
    r"(?:lib)?(?:postgres|mariadb|mysql|mongo|redis|valkey|etcd|sqlite|influx|clickhouse|elasticsearch|opensearch"
    r"|cassandra|couchdb|neo4j|openldap|slapd|389-ds|samba|sssd|freeipa|ipa-server|grafana|prometheus|loki"
    r"|alloy|vault|consul|rabbitmq|kafka|kubelet|kubeadm|podman|containers-storage|docker|containerd|gitlab"
    r"|gitea|nextcloud|keycloak|bind9|named|dovecot|postfix|exim|cyrus|dirsrv|libvirt|qemu)",
)
"""Beginnings of the names of packages that keep data in a form of their own under /var or /home."""

_NO_ZFS = "the wanted image has no ZFS: no pool can be imported there"
_MAY_NOT = "pools may not be importable there"
_NUMBERS = re.compile(r"(?:\d+:)?(\d+)\.(\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class WayBack:
    """The difference from what runs to what is wanted, in short.

    Attributes:
        groups: The kinds of `SHOWN_KINDS` in which something changes.
        others: Titles of the other kinds and how many things change in each.
        warnings: What may not be readable any more, one fact a line.
    """

    groups: tuple[Group, ...]
    others: tuple[tuple[str, int], ...]
    warnings: tuple[str, ...]


def way_back(difference: Difference) -> WayBack:
    """Return a difference in short.

    Args:
        difference: From what a host runs to what it shall run.
    """
    found = [group for group in groups(difference) if group.items]
    return WayBack(
        groups=tuple(group for group in found if group.kind in SHOWN_KINDS),
        others=tuple(
            (group.title, group.count) for group in found if group.kind not in (*SHOWN_KINDS, "noise")
        ),
        warnings=tuple(downgrades(difference)),
    )


def downgrades(difference: Difference) -> Iterator[str]:
    """Yield what may not read its data any more: services that go down a version, containers that change."""
    for package in difference.packages:
        if not _KEEPERS.match(package.name) or package.old is None:
            continue
        if package.new is None:
            yield f"{package.name} {package.old.version} is not in the wanted image; its data stays in /var"
        elif direction(package) is Direction.DOWN:
            yield (
                f"{package.name} goes down from {package.old.version} to {package.new.version}: data whose "
                "form or schema the newer one has converted may not be readable"
            )
    for quadlet in difference.containers:
        if quadlet.old is not None and quadlet.new is not None and quadlet.old.image != quadlet.new.image:
            yield (
                f"{quadlet.name} runs {quadlet.new.image} in place of {quadlet.old.image} on the volumes as "
                "they are: their data does not come back"
            )


def zfs_downgrade(runs: str | None, wanted: str | None) -> str:
    """Return what an older ZFS module means for pools, "" when there is nothing to say.

    Args:
        runs: Version of the ZFS module that runs; "" when there is none, None when that is not known.
        wanted: The wanted image's, likewise.
    """
    if runs == "":
        return ""
    if not wanted:
        return _NO_ZFS if wanted == "" else "which ZFS the wanted image has is not known: " + _MAY_NOT
    before, after = _NUMBERS.match(runs or ""), _NUMBERS.match(wanted)
    if before is None or after is None:
        return f"ZFS {wanted} cannot be compared with what runs ({runs or 'not known'}): " + _MAY_NOT
    if tuple(map(int, after.groups())) >= tuple(map(int, before.groups())):
        return ""
    return (
        f"ZFS goes down from {runs} to {wanted}: a pool in which a newer feature became active cannot be "
        "imported there (`zpool get all` on the host, features that are `active`)"
    )
