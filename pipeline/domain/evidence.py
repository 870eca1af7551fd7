"""Evidence: the documents that prove a candidate, each named by the sha256 of its bytes.

Rules: a kind of evidence has one name, one media type and one file suffix, listed here and nowhere else; a
document's bytes are canonical where this program makes them, so that the same facts have the same hash.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from pipeline.domain.image import Digest
from pipeline.domain.oci import digest_of


class EvidenceKind(StrEnum):
    """The kinds of evidence; the value is the name used in records and on the command line."""

    SBOM = "sbom"
    DIFF = "diff"
    GATES = "gates"
    BOOT_TEST = "boot-test"
    CONSOLE = "boot-console"
    PROVENANCE = "provenance"

    @property
    def media_type(self) -> str:
        """Media type of the document, also the artifact type it has in a registry."""
        return _MEDIA_TYPES[self]

    @property
    def suffix(self) -> str:
        """Ending of a file that holds it."""
        return ".txt" if self is EvidenceKind.CONSOLE else ".json"


_MEDIA_TYPES = {
    EvidenceKind.SBOM: "application/vnd.cyclonedx+json",
    EvidenceKind.DIFF: "application/vnd.bootc-pipeline.diff.v1+json",
    EvidenceKind.GATES: "application/vnd.bootc-pipeline.gates.v1+json",
    EvidenceKind.BOOT_TEST: "application/vnd.bootc-pipeline.boot-test.v1+json",
    EvidenceKind.CONSOLE: "text/plain",
    EvidenceKind.PROVENANCE: "application/vnd.in-toto+json",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """One document and what it is."""

    kind: EvidenceKind
    data: bytes

    @property
    def digest(self) -> Digest:
        """Digest of its bytes."""
        return digest_of(self.data)
