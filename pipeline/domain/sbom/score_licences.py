"""Which licence texts are ids of a public list, which ids are deprecated, and which are copyleft.

Rules: SPDX ids are those of the CycloneDX schema in cyclonedx-python-lib; copyleft is what the ScanCode
LicenseDB in license-expression says, in the categories sbomqs takes as restrictive. Both are data of the
installed libraries, read once. An expression is split at AND, OR and WITH; one that holds anything unknown is
taken as one unknown licence, as sbomqs does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache

from cyclonedx.spdx import is_supported_id
from license_expression import get_license_index  # type: ignore[import-untyped]

from pipeline.domain.sbom.score_facts import Licence

DEPRECATED = frozenset(
    {
        "AGPL-1.0",
        "AGPL-3.0",
        "BSD-2-Clause-FreeBSD",
        "BSD-2-Clause-NetBSD",
        "bzip2-1.0.5",
        "eCos-2.0",
        "GFDL-1.1",
        "GFDL-1.2",
        "GFDL-1.3",
        "GPL-1.0",
        "GPL-1.0+",
        "GPL-2.0",
        "GPL-2.0+",
        "GPL-2.0-with-autoconf-exception",
        "GPL-2.0-with-bison-exception",
        "GPL-2.0-with-classpath-exception",
        "GPL-2.0-with-font-exception",
        "GPL-2.0-with-GCC-exception",
        "GPL-3.0",
        "GPL-3.0+",
        "GPL-3.0-with-autoconf-exception",
        "GPL-3.0-with-GCC-exception",
        "LGPL-2.0",
        "LGPL-2.0+",
        "LGPL-2.1",
        "LGPL-2.1+",
        "LGPL-3.0",
        "LGPL-3.0+",
        "Net-SNMP",
        "Nunit",
        "StandardML-NJ",
        "wxWindows",
    }
)
"""Ids that the SPDX licence list keeps but calls deprecated (list 3.25)."""

_WORD = re.compile(r"[()]|[^\s()]+")
_OPERATORS = frozenset({"AND", "OR", "WITH"})
_CUSTOM = re.compile(r"(DocumentRef-[A-Za-z0-9.-]+:)?LicenseRef-[A-Za-z0-9.-]+")
_NOTHING = frozenset({"", "NONE", "NOASSERTION"})


def means_something(text: str) -> bool:
    """Tell whether a licence text names a licence at all."""
    return text.strip().upper() not in _NOTHING


def ids_of(text: str) -> tuple[str, ...]:
    """Return the ids in a licence text: of an expression its parts, otherwise the text itself."""
    if not means_something(text):
        return ()
    words = [word for word in _WORD.findall(text) if word not in {"(", ")"}]
    ids, between = words[::2], words[1::2]
    shaped = len(words) % 2 == 1 and _OPERATORS.issuperset(between) and _OPERATORS.isdisjoint(ids)
    return tuple(ids) if shaped and all(is_listed(one) for one in ids) else (text,)


def is_listed(licence_id: str) -> bool:
    """Tell whether an id is SPDX's (a `+` at its end aside) or is written as one's own (`LicenseRef-...`)."""
    return _CUSTOM.fullmatch(licence_id) is not None or is_supported_id(licence_id.rstrip("+"))


def all_valid(licences: Iterable[Licence]) -> bool:
    """Tell whether there are licences, and each is made of listed ids only."""
    ids = [one for licence in licences for one in ids_of(licence.text)]
    return bool(ids) and all(is_listed(one) for one in ids)


def any_deprecated(licences: Iterable[Licence]) -> bool:
    """Tell whether any licence is one that SPDX has deprecated."""
    return any(one in DEPRECATED for licence in licences for one in ids_of(licence.text))


def any_copyleft(licences: Iterable[Licence]) -> bool:
    """Tell whether any licence is one that ScanCode puts among copyleft or restricted ones."""
    return any(one.rstrip("+") in _copyleft() for licence in licences for one in ids_of(licence.text))


@cache
def _copyleft() -> frozenset[str]:
    ids: set[str] = set()
    for entry in get_license_index():
        category = (entry.get("category") or "").lower()
        if "copyleft" in category or "restricted" in category:
            ids.update((entry.get("spdx_license_key") or "", *(entry.get("other_spdx_license_keys") or ())))
    return frozenset(ids - {""})
