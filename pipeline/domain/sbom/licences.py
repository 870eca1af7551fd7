"""Licences of components: what a package declares, and what follows from it.

Rules: declared is what the package's own copyright file (or the module's own section) names, each in SPDX's
spelling; concluded is one SPDX expression made of it, all of them joined by AND, which is the strictest
reading, since the scanner does not tell choices from parts; a name SPDX does not have becomes a
`LicenseRef-…`. Nothing declared, nothing concluded.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from cyclonedx.spdx import is_expression, is_supported_id

from pipeline.domain.canonical import Json
from pipeline.domain.sbom.part import Part, shown

_ALIKE = {
    "Apache-2": "Apache-2.0",
    "BSD-2-clause": "BSD-2-Clause",
    "BSD-3-clause": "BSD-3-Clause",
    "Expat": "MIT",
    "GFDL-1.3": "GFDL-1.3-only",
    "GPL-1": "GPL-1.0-only",
    "GPL-1+": "GPL-1.0-or-later",
    "GPL-2": "GPL-2.0-only",
    "GPL-2+": "GPL-2.0-or-later",
    "GPL-3": "GPL-3.0-only",
    "GPL-3+": "GPL-3.0-or-later",
    "LGPL-2": "LGPL-2.0-only",
    "LGPL-2+": "LGPL-2.0-or-later",
    "LGPL-2.1": "LGPL-2.1-only",
    "LGPL-2.1+": "LGPL-2.1-or-later",
    "LGPL-3": "LGPL-3.0-only",
    "LGPL-3+": "LGPL-3.0-or-later",
    "MPL-2": "MPL-2.0",
}
"""Short names of Debian's copyright files that mean exactly one SPDX id."""

_MODULE = {
    "GPL": "GPL-2.0-only",
    "GPL v2": "GPL-2.0-only",
    "Dual BSD/GPL": "BSD-3-Clause OR GPL-2.0-only",
    "Dual MIT/GPL": "MIT OR GPL-2.0-only",
    "Dual MPL/GPL": "MPL-1.1 OR GPL-2.0-only",
    "CDDL": "CDDL-1.0",
}
"""What MODULE_LICENSE means (Documentation/process/license-rules.rst of Linux): at least this is granted."""

_UNFIT = re.compile(r"[^A-Za-z0-9.-]+")
_DEPRECATED_PLUS = re.compile(r"(?P<id>A?GPL-\d\.\d|LGPL-\d\.\d|GFDL-\d\.\d)(?P<plus>\+?)")


def package_licences(found: Iterable[Json]) -> list[Json]:
    """Return the licences of a package, declared and concluded, from those a scanner told."""
    names = sorted({name for item in found if (name := _name(item))})
    return _both(names, [_spdx(name) for name in names])


def module_licences(declared: Sequence[str]) -> list[Json]:
    """Return the licences of a kernel module from its MODULE_LICENSE texts."""
    names = sorted({name for name in declared if name})
    return _both(names, [_MODULE.get(name) or _reference(name) for name in names])


def _both(names: Sequence[str], ids: Sequence[str]) -> list[Json]:
    if not names:
        return []
    return [
        *(_licence(one, "declared") for one in sorted(set(ids))),
        _licence(_joined(sorted(set(ids))), "concluded"),
    ]


def _joined(ids: Sequence[str]) -> str:
    if len(ids) == 1:
        return ids[0]
    return " AND ".join(f"({one})" if " OR " in one else one for one in ids)


def _licence(name: str, acknowledgement: str) -> Part:
    key = "id" if is_supported_id(name) else "name"
    return {"license": {key: shown(name), "acknowledgement": acknowledgement}}


def _name(item: Json) -> str:
    if not isinstance(item, dict):
        return ""
    licence = item.get("license")
    if isinstance(licence, dict):
        return str(licence.get("id") or licence.get("name") or "").strip()
    return str(item.get("expression") or "").strip()


def _spdx(name: str) -> str:
    exact = _ALIKE.get(name)
    if exact is not None:
        return exact
    old = _DEPRECATED_PLUS.fullmatch(name)
    if old is not None:
        return f"{old['id']}-{'or-later' if old['plus'] else 'only'}"
    if is_supported_id(name) or (" " in name and is_expression(name)):
        return name
    return _reference(name)


def _reference(name: str) -> str:
    return "LicenseRef-" + (_UNFIT.sub("-", name).strip("-.") or "unnamed")
