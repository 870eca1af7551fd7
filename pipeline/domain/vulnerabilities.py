"""Vulnerability reports of other scanners, read into one form, and what came and went between two of them.

Rules: three forms are read (CycloneDX with `vulnerabilities`, grype's JSON, trivy's JSON) and told apart by
their own keys, never by a file's name; what a report says is not true of the image (VEX states
`not_affected`, `false_positive`, `resolved`, and grype's ignored matches) is kept apart and never counted;
two reports are compared by vulnerability and package, so that an update that does not help is no news.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pipeline.domain.text import plain
from pipeline.errors import UsageError


class Severity(StrEnum):
    """How bad a vulnerability is, the worst first."""

    CRITICAL = "critical"
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"
    NEGLIGIBLE = "negligible"
    UNKNOWN = "unknown"

    @property
    def rank(self) -> int:
        """Place in the order, 0 for the worst."""
        return list(Severity).index(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Vulnerability:
    """One vulnerability of one package.

    Attributes:
        id: `CVE-…`, `GHSA-…` or the vendor's own.
        package, version: What has it, as installed.
        severity: As the report rates it; the worst where it gives several.
        fixed_in: First version without it; empty where none is known.
        dismissed: Why the report says it does not count; empty for one that does.
    """

    id: str
    package: str
    version: str
    severity: Severity
    fixed_in: str = ""
    dismissed: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """What makes it the same in two reports."""
        return self.id, self.package


@dataclass(frozen=True, slots=True, kw_only=True)
class VulnerabilityReport:
    """One scanner's report: which tool made it, and everything it lists, the worst first."""

    tool: str
    found: tuple[Vulnerability, ...]

    @property
    def counted(self) -> tuple[Vulnerability, ...]:
        """Those the report does not dismiss."""
        return tuple(one for one in self.found if not one.dismissed)


@dataclass(frozen=True, slots=True, kw_only=True)
class VulnerabilityChange:
    """What a new report says beside an old one; without an old one nothing came, went or stayed.

    Attributes:
        tool: What made the new report.
        now: Everything that counts in the new report.
        dismissed: What the new report says does not count.
        compared: Whether there was an old report.
        came, went, stayed: The difference; all three empty without an old report.
    """

    tool: str
    now: tuple[Vulnerability, ...]
    dismissed: tuple[Vulnerability, ...]
    compared: bool
    came: tuple[Vulnerability, ...] = ()
    went: tuple[Vulnerability, ...] = ()
    stayed: tuple[Vulnerability, ...] = ()

    def count(self, severity: Severity) -> int:
        """Return how many of one severity count now."""
        return sum(one.severity is severity for one in self.now)


def compare(new: VulnerabilityReport, old: VulnerabilityReport | None) -> VulnerabilityChange:
    """Return what came and went from the old report to the new."""
    dismissed = tuple(one for one in new.found if one.dismissed)
    if old is None:
        return VulnerabilityChange(tool=new.tool, now=new.counted, dismissed=dismissed, compared=False)
    before = {one.key for one in old.counted}
    after = {one.key for one in new.counted}
    return VulnerabilityChange(
        tool=new.tool,
        now=new.counted,
        dismissed=dismissed,
        compared=True,
        came=tuple(one for one in new.counted if one.key not in before),
        went=tuple(one for one in old.counted if one.key not in after),
        stayed=tuple(one for one in new.counted if one.key in before),
    )


def parse_vulnerabilities(document: Any, *, name: str = "the report") -> VulnerabilityReport:
    """Read a parsed JSON report.

    Args:
        document: The parsed JSON.
        name: How the report is named in errors.

    Raises:
        UsageError: It is in none of the three forms, or damaged.
    """
    try:
        tool, found = _read(_mapping(document))
        unique = {(*one.key, one.version, one.dismissed): one for one in found}
    except _DamagedError as error:
        raise UsageError(
            f"{name} is no vulnerability report that is understood: {plain(str(error))}",
            hint="give CycloneDX JSON with `vulnerabilities`, `grype -o json` or `trivy -f json`",
        ) from error
    ordered = sorted(unique.values(), key=lambda one: (one.severity.rank, *one.key, one.version))
    return VulnerabilityReport(tool=tool, found=tuple(ordered))


class _DamagedError(ValueError):
    """A report that is not in the form it claims."""


def _read(document: Mapping[str, Any]) -> tuple[str, Iterator[Vulnerability]]:
    if document.get("bomFormat") == "CycloneDX":
        return "CycloneDX", _cyclonedx(document)
    if "matches" in document:
        return _tool("grype", document.get("descriptor")), _grype(document)
    if "SchemaVersion" in document and "ArtifactName" in document:
        return "trivy", _trivy(document)
    raise _DamagedError("neither CycloneDX nor grype nor trivy")


def _tool(name: str, descriptor: object) -> str:
    version = descriptor.get("version") if isinstance(descriptor, Mapping) else None
    return f"{name} {version}" if isinstance(version, str) else name


def _cyclonedx(document: Mapping[str, Any]) -> Iterator[Vulnerability]:
    if "vulnerabilities" not in document:
        raise _DamagedError("a CycloneDX document without `vulnerabilities`")
    known = dict(_components(document.get("components")))
    for one in _list(document["vulnerabilities"]):
        analysis = _mapping(one.get("analysis") or {})
        state = _text(analysis, "state")
        severity = _worst(_text(rating, "severity") for rating in _list(one.get("ratings")))
        for affected in _list(one.get("affects")) or ({"ref": ""},):
            package, version = _named(_text(affected, "ref"), known)
            yield Vulnerability(
                id=_required(one, "id"),
                package=package,
                version=version,
                severity=severity,
                dismissed=state if state in _DISMISSING else "",
            )


_DISMISSING = frozenset({"not_affected", "false_positive", "resolved", "resolved_with_pedigree"})
"""States of CycloneDX's analysis that say the image does not have it."""


def _components(components: object) -> Iterator[tuple[str, tuple[str, str]]]:
    todo = list(_list(components))
    while todo:
        one = todo.pop()
        reference = _text(one, "bom-ref") or _text(one, "purl")
        yield reference, (_required(one, "name"), _text(one, "version"))
        todo.extend(_list(one.get("components")))


def _named(reference: str, known: Mapping[str, tuple[str, str]]) -> tuple[str, str]:
    """Return package and version of a reference: a component's, or read from a purl or a BOM-Link."""
    if reference in known:
        return known[reference]
    purl = reference.rpartition("#")[2]
    if purl in known:
        return known[purl]
    name, _, version = purl.partition("?")[0].rpartition("/")[2].partition("@")
    return name or "(no package named)", version


def _grype(document: Mapping[str, Any]) -> Iterator[Vulnerability]:
    for one in _list(document["matches"]):
        yield _grype_match(one, dismissed="")
    for one in _list(document.get("ignoredMatches")):
        yield _grype_match(one, dismissed="ignored by a rule of the scanner")


def _grype_match(match: Mapping[str, Any], *, dismissed: str) -> Vulnerability:
    vulnerability = _mapping(match.get("vulnerability"))
    artifact = _mapping(match.get("artifact"))
    versions = _mapping(vulnerability.get("fix") or {}).get("versions") or []
    return Vulnerability(
        id=_required(vulnerability, "id"),
        package=_required(artifact, "name"),
        version=_text(artifact, "version"),
        severity=_severity(_text(vulnerability, "severity")),
        fixed_in=", ".join(one for one in _sequence(versions) if isinstance(one, str)),
        dismissed=dismissed,
    )


def _trivy(document: Mapping[str, Any]) -> Iterator[Vulnerability]:
    for result in _list(document.get("Results")):  # trivy leaves it out where it found no package
        for one in _list(result.get("Vulnerabilities")):
            state = _text(one, "Status")
            yield Vulnerability(
                id=_required(one, "VulnerabilityID"),
                package=_required(one, "PkgName"),
                version=_text(one, "InstalledVersion"),
                severity=_severity(_text(one, "Severity")),
                fixed_in=_text(one, "FixedVersion"),
                dismissed=state if state == "not_affected" else "",
            )


def _severity(word: str) -> Severity:
    lowered = word.lower()
    if lowered in {"info", "none"}:
        return Severity.NEGLIGIBLE
    return Severity(lowered) if lowered in list(Severity) else Severity.UNKNOWN


def _worst(words: Iterable[str]) -> Severity:
    return min((_severity(word) for word in words), key=lambda one: one.rank, default=Severity.UNKNOWN)


def _mapping(value: object) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise _DamagedError(f"{type(value).__name__} where an object belongs")
    return value


def _sequence(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise _DamagedError(f"{type(value).__name__} where a list belongs")
    return value


def _list(value: object) -> tuple[Mapping[str, Any], ...]:
    """Return a list of objects; nothing (None) is an empty one, as trivy writes it."""
    return () if value is None else tuple(_mapping(one) for one in _sequence(value))


def _text(value: Mapping[str, Any], key: str) -> str:
    found = value.get(key)
    if found is None:
        return ""
    if not isinstance(found, str):
        raise _DamagedError(f"{key} is no text")
    return found


def _required(value: Mapping[str, Any], key: str) -> str:
    found = _text(value, key)
    if not found:
        raise _DamagedError(f"an entry without {key}")
    return found
