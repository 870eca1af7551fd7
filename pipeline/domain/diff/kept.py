"""Which files' contents are kept beside a layer's table of contents, so that a diff can show them.

Rules: kept is what says how a machine behaves and what it is made of (configuration, units, accounts,
package databases, licences, out-of-tree modules), each up to a size; everything else is known by its hash
alone. Asked of the path and size only, before the content was seen.
"""

from __future__ import annotations

import re

from pipeline.domain.kmod import is_module

_KIB = 1 << 10
_MIB = 1 << 20
_OUT_OF_TREE = re.compile(r"/(?:usr/)?lib/modules/[^/]+/(?:extra|updates|weak-updates)/.+")
_PLACES = (
    ("/etc/", 4 * _MIB),
    ("/usr/etc/", 4 * _MIB),
    ("/usr/lib/pipeline/", 4 * _MIB),
    ("/usr/lib/bootc/", _MIB),
    ("/usr/lib/ostree/", _MIB),
    ("/usr/lib/pki/", _MIB),
    ("/usr/share/pki/", _MIB),
    ("/usr/lib/systemd/", _MIB),
    ("/usr/local/lib/systemd/", _MIB),
    ("/usr/lib/sysusers.d/", _MIB),
    ("/usr/lib/tmpfiles.d/", _MIB),
    ("/usr/lib/sysctl.d/", _MIB),
    ("/usr/lib/modprobe.d/", _MIB),
    ("/usr/lib/modules-load.d/", _MIB),
    ("/usr/lib/environment.d/", _MIB),
    ("/usr/lib/udev/rules.d/", _MIB),
    ("/usr/lib/dracut/", _MIB),
    ("/usr/lib/kernel/", _MIB),
    ("/usr/share/containers/", _MIB),
    ("/usr/share/dbus-1/", 64 * _KIB),
    ("/usr/share/polkit-1/", _MIB),
    ("/usr/share/doc/persistence/", _MIB),
    ("/usr/lib/sysimage/dpkg/", 64 * _MIB),
    ("/var/lib/dpkg/", 64 * _MIB),
    ("/usr/lib/sysimage/rpm/", 256 * _MIB),
    ("/usr/share/rpm/", 256 * _MIB),
    ("/var/lib/rpm/", 256 * _MIB),
)
_PROGRAM_OF_SYSTEMD = re.compile(
    r"/usr/lib/systemd/(?:[^/]+|.*\.so(?:\.[0-9.]+)?|boot/.*|system-generators/.*)"
)
_FILES = {
    "/usr/lib/os-release": _MIB,
    "/usr/lib/passwd": _MIB,
    "/usr/lib/group": _MIB,
    "/usr/lib/shadow": _MIB,
}
_COPYRIGHT = re.compile(r"/usr/share/doc/[^/]+/copyright")
_MODULE_LIMIT = 256 * _MIB
_INDEX = re.compile(r"/(?:usr/lib/sysimage|var/lib)/dpkg/info/[^/]+\.(?:md5sums|symbols|shlibs|templates)")


def keeps(path: str, size: int) -> bool:
    """Tell whether the content of a file is kept.

    Args:
        path: Absolute path inside the layer.
        size: Bytes of the file.
    """
    return 0 < size <= _limit(path)


def _limit(path: str) -> int:
    if path in _FILES:
        return _FILES[path]
    if _OUT_OF_TREE.fullmatch(path):
        return _MODULE_LIMIT if is_module(path) else 0
    if path.startswith("/usr/lib/systemd/"):
        return 0 if _PROGRAM_OF_SYSTEMD.fullmatch(path) else _MIB
    if _COPYRIGHT.fullmatch(path):
        return _MIB
    if _INDEX.fullmatch(path):
        return 0
    return next((limit for place, limit in _PLACES if path.startswith(place)), 0)
