"""Whether a host's ZFS pools can still be imported by the module of an older image.

Rules: a pool's feature that is `active` must be known to the module that imports it (zpool-features(7)); one
that is only `enabled` does no harm. A feature that is not listed here came after all the versions listed, so
no listed version is taken to know it. What cannot be told is refused, never assumed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pipeline.domain.text import plain
from pipeline.errors import HostError

_VERSION = re.compile(r"(\d+)\.(\d+)")
_COLUMNS = 3
_FEATURE = "feature@"

_SINCE: Mapping[tuple[int, int], str] = {
    (0, 6): "async_destroy empty_bpobj lz4_compress spacemap_histogram enabled_txg hole_birth "
    "extensible_dataset embedded_data bookmarks filesystem_limits large_blocks",
    (0, 7): "multi_vdev_crash_dump large_dnode sha512 skein edonr userobj_accounting",
    (0, 8): "encryption project_quota device_removal obsolete_counts zpool_checkpoint spacemap_v2 "
    "allocation_classes resilver_defer bookmark_v2",
    (2, 0): "redaction_bookmarks redacted_datasets bookmark_written log_spacemap livelist device_rebuild "
    "zstd_compress",
    (2, 1): "draid",
    (2, 2): "zilsaxattr head_errlog blake3 block_cloning vdev_zaps_v2",
    (2, 3): "redaction_list_spill raidz_expansion fast_dedup longname large_microzap",
}
"""First version of OpenZFS with each feature: its release notes and compatibility.d files."""

_KNOWN = {name: since for since, names in _SINCE.items() for name in names.split()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """A pool of a host: its name and its active features, sorted."""

    name: str
    active: tuple[str, ...]


def parse_pools(text: str) -> tuple[Pool, ...]:
    """Return the pools that `zpool get -H -o name,property,value all` printed, by name.

    Raises:
        HostError: A line has another form.
    """
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        columns = line.split("\t")
        if len(columns) != _COLUMNS:
            raise HostError(
                f"what zpool on the host said is not understood: {plain(line, 80)}",
                hint="run `zpool get -H -o name,property,value all` on the host and look at it",
            )
        name, key, value = columns
        features = found.setdefault(name, [])
        if key.startswith(_FEATURE) and value == "active":
            features.append(key.removeprefix(_FEATURE))
        if key.startswith("unsupported@") and value != "inactive":
            features.append(key.removeprefix("unsupported@"))
    return tuple(Pool(name=name, active=tuple(sorted(features))) for name, features in sorted(found.items()))


def blockers(pools: Iterable[Pool], module: str | None) -> tuple[str, ...]:
    """Return why pools would not be imported, one reason a pool; none when all would.

    Args:
        pools: The host's pools.
        module: Version of the wanted image's ZFS module; "" when it has none, None when that is not known.
    """
    found = tuple(pools)
    if not found:
        return ()
    names = ", ".join(plain(pool.name, 60) for pool in found)
    if module is None:
        return (f"the host has the pools {names}, and the wanted image's ZFS version is not known",)
    if module == "":
        return (f"the host has the pools {names}, and the wanted image has no ZFS",)
    version = _VERSION.match(module)
    if version is None:
        return (f"the host has the pools {names}, and {plain(module, 40)} is no version of ZFS",)
    at = (int(version[1]), int(version[2]))
    return tuple(reason for pool in found if (reason := _reason(pool, at, module)))


def _reason(pool: Pool, at: tuple[int, int], module: str) -> str:
    newer = [name for name in pool.active if name not in _KNOWN or _KNOWN[name] > at]
    if not newer:
        return ""
    features = ", ".join(plain(name, 60) for name in newer)
    return f"pool {plain(pool.name, 60)} uses {features}, which ZFS {plain(module, 40)} cannot import"


def require_importable(pools: Iterable[Pool], module: str | None) -> None:
    """Let pools pass that the wanted image can import.

    Raises:
        HostError: It cannot import one, or that cannot be told.
    """
    reasons = blockers(pools, module)
    if reasons:
        raise HostError(
            "; ".join(reasons),
            hint="choose a release whose ZFS is new enough, or allow explicitly to go on without the pools",
        )
