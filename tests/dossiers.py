"""A dossier of a base with something of everything, and names that would hurt a page.

Tests take all of it from here: also what it is made of, which `dossierdiff` and `dossierevidence` write.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import records
from dossierdiff import KERNEL, MIB, diff_document, files
from dossierevidence import (
    NEW_REPORT,
    OLD_REPORT,
    boot_document,
    boot_result,
    candidate,
    gates_document,
    history,
    pin,
    provenance_document,
    sbom_document,
)

from pipeline.domain.dossier.assembly import assemble_dossier
from pipeline.domain.dossier.difference import Change as ToldChange
from pipeline.domain.dossier.difference import ReleaseSize
from pipeline.domain.dossier.dossier import Dossier, EvidenceLine, Held
from pipeline.domain.evidence import EvidenceKind
from pipeline.domain.record import Candidate
from pipeline.domain.sbom.score import scorecard
from pipeline.domain.vulnerabilities import compare, parse_vulnerabilities

__all__ = [
    "HOSTILE",
    "NEW_REPORT",
    "OLD_REPORT",
    "boot_document",
    "boot_result",
    "candidate",
    "diff_document",
    "documents",
    "dossier",
    "files",
    "gates_document",
    "pin",
    "poisoned",
]

HOSTILE = (
    "<script>document.title='owned'</script>",
    '"><img src=x onerror="document.title=\'owned\'">',
    "</style><style>body{display:none}</style>",
    "</title></head><body onload=alert(1)>",
    "</text></svg><svg onload=alert(1)>",
    "{{ 7 * 7 }}{% raw %}",
    "&lt;b&gt;&#x3c;b",
    "\x1b[31mred\x1b]0;owned\x07\x1b[2J",
    "\u202egnp.exe\u202c\u2066x\u2069",
    "z\u0301\u0302\u0303\u0304\u0305\u0306\u0307\u0308\u0309\u030a\u030b\u030c",
    "x" * 3000,
    "[bold red]rich[/]",
    "line\nbreak\r\u2028other",
    "\ud800\udcff",
    "\u05d0\u05d1\u05d2\u05d3 1.2.3",
)


def documents() -> dict[EvidenceKind, Any]:
    return {
        EvidenceKind.DIFF: diff_document(),
        EvidenceKind.GATES: gates_document(),
        EvidenceKind.SBOM: sbom_document(),
        EvidenceKind.PROVENANCE: provenance_document(),
        EvidenceKind.BOOT_TEST: boot_document(),
    }


def parts(**changes: object) -> dict[str, Any]:
    """What `assemble_dossier` takes; parts can be replaced."""
    return {
        "documents": documents(),
        "evidence": tuple(
            EvidenceLine(name=kind.value, digest=records.digest(20 + number), held=Held.VERIFIED)
            for number, kind in enumerate(EvidenceKind)
        ),
        "console": f"[    0.000000] Linux version {KERNEL}\n\n[   12.1] ZFS: Loaded module v2.3.9-1\n",
        "history": history(),
        "pin": pin(),
        "score": scorecard(sbom_document(), schema_valid=True),
        "trend": tuple(
            ReleaseSize(name=f"v2.{minor}.0", total=(980 + 8 * minor) * MIB) for minor in range(5)
        ),
        "vulnerabilities": compare(parse_vulnerabilities(NEW_REPORT), parse_vulnerabilities(OLD_REPORT)),
        "today": records.NOON.date(),
        **changes,
    }


def dossier(**changes: object) -> Dossier:
    """A base that may be approved, with points to look at first."""
    made = changes.pop("candidate", None) or candidate()
    assert isinstance(made, Candidate)
    return assemble_dossier(made, **parts(**changes))


def poison(value: Any, text: str) -> Any:
    """Return a value in which every text is the given one, but for names that this program gives."""
    if isinstance(value, ToldChange):
        return dataclasses.replace(
            value, name=text, before=text, after=text, why=text, lines=(f"+{text}", text)
        )
    if isinstance(value, tuple):
        return tuple(poison(one, text) for one in value)
    if dataclasses.is_dataclass(value) and type(value).__module__.startswith("pipeline.domain.dossier"):
        names = {one.name for one in dataclasses.fields(value)} - {"kind", "section"}
        changed = {name: poison(getattr(value, name), text) for name in names}
        return dataclasses.replace(value, **changed)  # type: ignore[type-var]
    if isinstance(value, dict):
        return {text: text}
    return text if type(value) is str else value


def poisoned(text: str) -> Dossier:
    """A dossier in which every text of every part is the given one."""
    whole = dossier()
    found: Dossier = poison(dataclasses.replace(whole, candidate=None), text)  # type: ignore[arg-type]
    return dataclasses.replace(found, candidate=whole.candidate, approve=whole.approve, reject=whole.reject)
