"""Reports of other scanners, in their own forms, read and compared."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.vulnerabilities import (
    Severity,
    Vulnerability,
    VulnerabilityReport,
    compare,
    parse_vulnerabilities,
)
from pipeline.errors import UsageError

GRYPE: dict[str, Any] = {
    "descriptor": {"name": "grype", "version": "0.90.0"},
    "matches": [
        {
            "vulnerability": {
                "id": "CVE-1",
                "severity": "High",
                "fix": {"versions": ["1.1"], "state": "fixed"},
            },
            "artifact": {"name": "openssl", "version": "1.0", "type": "deb"},
        },
        {
            "vulnerability": {"id": "CVE-2", "severity": "Negligible"},
            "artifact": {"name": "bash", "version": "5"},
        },
    ],
    "ignoredMatches": [
        {
            "vulnerability": {"id": "CVE-3", "severity": "Critical"},
            "artifact": {"name": "perl", "version": "5"},
        }
    ],
}
TRIVY: dict[str, Any] = {
    "SchemaVersion": 2,
    "ArtifactName": "os/base",
    "Results": [
        {"Target": "debian", "Vulnerabilities": None},
        {
            "Target": "debian",
            "Vulnerabilities": [
                {
                    "VulnerabilityID": "CVE-1",
                    "PkgName": "openssl",
                    "InstalledVersion": "1.0",
                    "FixedVersion": "1.1",
                    "Severity": "HIGH",
                },
                {"VulnerabilityID": "CVE-9", "PkgName": "zlib", "Severity": "odd", "Status": "not_affected"},
            ],
        },
    ],
}
CYCLONEDX: dict[str, Any] = {
    "bomFormat": "CycloneDX",
    "components": [
        {
            "bom-ref": "a",
            "name": "openssl",
            "version": "1.0",
            "components": [{"bom-ref": "b", "name": "inner"}],
        }
    ],
    "vulnerabilities": [
        {
            "id": "CVE-1",
            "ratings": [{"severity": "low"}, {"severity": "high"}],
            "affects": [{"ref": "a"}, {"ref": "b"}],
        },
        {"id": "CVE-4", "analysis": {"state": "not_affected"}, "affects": [{"ref": "a"}]},
        {
            "id": "CVE-5",
            "analysis": {"state": "exploitable"},
            "affects": [{"ref": "urn:cdx:1/1#pkg:deb/debian/curl@8.1?arch=amd64"}],
        },
        {"id": "CVE-6"},
    ],
}


def told(report: VulnerabilityReport) -> set[tuple[str, str, str, str]]:
    return {(one.id, one.package, one.version, one.severity) for one in report.counted}


def test_grype_is_read_and_its_ignored_matches_do_not_count() -> None:
    report = parse_vulnerabilities(GRYPE)
    assert report.tool == "grype 0.90.0"
    assert told(report) == {("CVE-1", "openssl", "1.0", "high"), ("CVE-2", "bash", "5", "negligible")}
    assert report.found[0].id == "CVE-3"
    assert report.found[1].fixed_in == "1.1"


def test_trivy_is_read_with_results_that_hold_nothing() -> None:
    report = parse_vulnerabilities(TRIVY)
    assert told(report) == {("CVE-1", "openssl", "1.0", "high")}
    assert [one.dismissed for one in report.found] == ["", "not_affected"]
    assert report.found[1].severity is Severity.UNKNOWN


def test_a_trivy_report_of_a_clean_image_has_no_results_at_all() -> None:
    assert parse_vulnerabilities({"SchemaVersion": 2, "ArtifactName": "os/base"}).found == ()


def test_cyclonedx_is_read_with_its_analysis_and_the_worst_rating() -> None:
    report = parse_vulnerabilities(CYCLONEDX)
    assert told(report) == {
        ("CVE-1", "openssl", "1.0", "high"),
        ("CVE-1", "inner", "", "high"),
        ("CVE-5", "curl", "8.1", "unknown"),
        ("CVE-6", "(no package named)", "", "unknown"),
    }


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        {},
        {"bomFormat": "CycloneDX"},
        {"bomFormat": "CycloneDX", "vulnerabilities": [{"affects": []}]},
        {"matches": {}},
        {"matches": [{"vulnerability": {"id": 7}, "artifact": {"name": "x"}}]},
        {"matches": [{"vulnerability": {"id": "x"}}]},
        {"SchemaVersion": 2, "ArtifactName": "x", "Results": [{"Vulnerabilities": [{"PkgName": "x"}]}]},
    ],
)
def test_anything_else_is_refused_with_the_name_of_the_file(document: Any) -> None:
    with pytest.raises(UsageError, match=r"new\.json is no vulnerability report"):
        parse_vulnerabilities(document, name="new.json")


def vulnerability(name: str, package: str = "x", version: str = "1", dismissed: str = "") -> Vulnerability:
    return Vulnerability(
        id=name, package=package, version=version, severity=Severity.HIGH, dismissed=dismissed
    )


def report(*found: Vulnerability) -> VulnerabilityReport:
    return VulnerabilityReport(tool="t", found=found)


def test_an_update_that_does_not_help_is_no_news() -> None:
    change = compare(report(vulnerability("a", version="2")), report(vulnerability("a", version="1")))
    assert (change.came, change.went, [one.version for one in change.stayed]) == ((), (), ["2"])


def test_what_the_new_report_dismisses_went_and_what_the_old_one_dismissed_came() -> None:
    dismissed, counted = vulnerability("a", dismissed="not_affected"), vulnerability("a")
    assert compare(report(dismissed), report(counted)).went == (counted,)
    assert compare(report(counted), report(dismissed)).came == (counted,)


def test_without_an_old_report_nothing_came() -> None:
    change = compare(report(vulnerability("a")), None)
    assert (change.compared, change.came, len(change.now), change.count(Severity.HIGH)) == (False, (), 1, 1)


found = st.lists(st.builds(vulnerability, st.sampled_from("abcd"), st.sampled_from("xy")), max_size=6)


@given(new=found, old=found)
def test_everything_now_came_or_stayed_and_nothing_that_went_is_there(
    new: list[Vulnerability], old: list[Vulnerability]
) -> None:
    change = compare(report(*new), report(*old))
    assert sorted((*change.came, *change.stayed), key=repr) == sorted(change.now, key=repr)
    assert not {one.key for one in change.went} & {one.key for one in change.now}
    assert {one.key for one in old} <= {one.key for one in (*change.went, *change.stayed)}
