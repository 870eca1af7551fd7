"""The words of the verbs that prove images."""

from __future__ import annotations

from typing import Any

from pipeline.arguments.common import CANDIDATE, REF, make_verb


def add_check(verbs: Any) -> None:
    """Add `check`."""
    verb = make_verb(
        verbs,
        "check",
        "run the image gates alone",
        text="""\
REF is a candidate in the registry (registry/path@sha256:… or registry/path:tag) or LINE/NAME for the newest
candidate of an image.""",
    )
    verb.add_argument("ref", metavar="REF", nargs="?", help="the image")
    verb.add_argument("--list", action="store_true", help="list the gates and what each asks")
    verb.add_argument(
        "--image", metavar="NAME", help="the definition REF is measured by, when it is no candidate"
    )


def add_boot_test(verbs: Any) -> None:
    """Add `boot-test`."""
    verb = make_verb(
        verbs,
        "boot-test",
        "boot an image in QEMU and load its kernel modules",
        text=f"""\
{REF}

Its own kernel and initramfs are started, with KVM where there is, else emulated. Without --full the modules
of its manifests are loaded and used; nothing of the image is changed.""",
    )
    verb.add_argument("ref", metavar="REF", help="the image")
    verb.add_argument(
        "--full",
        action="store_true",
        help="bring the whole system up, look for failed units, and reboot to see what persists",
    )
    verb.add_argument("--console", metavar="FILE", help="write the machine's console to a file")


def add_sbom(verbs: Any) -> None:
    """Add `sbom`."""
    verb = make_verb(verbs, "sbom", "print the enriched, validated CycloneDX SBOM of an image", text=REF)
    verb.add_argument("ref", metavar="REF", help="the image")
    verb.add_argument("-o", "--output", metavar="FILE", help="write it to a file")
    verb.add_argument(
        "--score",
        action="store_true",
        help="hold it against NTIA, BSI TR-03183-2 and sbomqs, item by item, beside syft's own output",
    )


def add_diff(verbs: Any) -> None:
    """Add `diff`."""
    verb = make_verb(
        verbs,
        "diff",
        "show what differs between two images: packages, kernel, modules, files, /etc, units, users, size",
        text=f"""\
{REF}
local:NAME is an image in the engine's store. Layers that both share are not read.""",
    )
    verb.add_argument("old", metavar="OLD", help="the image before")
    verb.add_argument("new", metavar="NEW", help="the image now")
    verb.add_argument("-o", "--output", metavar="FILE", help="write the JSON document to a file")


def add_evidence(verbs: Any) -> None:
    """Add `evidence`."""
    verb = make_verb(
        verbs,
        "evidence",
        "list a candidate's evidence and recompute every hash, or fetch one document",
        text=CANDIDATE,
    )
    verb.add_argument("candidate", metavar="CANDIDATE", help="the candidate")
    verb.add_argument("--get", metavar="NAME", help="print one document: sbom, diff, gates, provenance, …")
    verb.add_argument("-o", "--output", metavar="FILE", help="write the document to a file")


def add_review(verbs: Any) -> None:
    """Add `review`."""
    verb = make_verb(
        verbs,
        "review",
        "show the dossier a release manager decides from",
        text=CANDIDATE,
    )
    verb.add_argument("candidate", metavar="CANDIDATE", help="the candidate")
    verb.add_argument("--html", metavar="FILE", help="write it as one page that needs nothing else")
    verb.add_argument(
        "--vulnerabilities", metavar="FILE", help="a scanner's report on it: CycloneDX, grype or trivy JSON"
    )
    verb.add_argument(
        "--before", metavar="FILE", help="the same scanner's report on its predecessor: what came and went"
    )
