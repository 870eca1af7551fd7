"""The words of the verbs that hold releases against what proves them."""

from __future__ import annotations

from typing import Any

from pipeline.arguments.common import count, make_verb


def add_verify(verbs: Any) -> None:
    """Add `verify`."""
    verb = make_verb(
        verbs,
        "verify",
        "verify one released image and every tier below it: signature, SBOM, provenance, approvals, seal",
        text="""\
REF is LINE/NAME:v2.0 (the highest released 2.0.x), LINE/NAME (its newest release), or an image in the
registry (registry/path:tag or registry/path@sha256:…).

Asked are the registry, the ledger, the release keys and the protected branch, no other service. Without a
network: --from oci:FOLDER reads what `pipeline copy` wrote there, and --offline asks no remote of git, so
that ledger and signers are those that this clone fetched last.

Approvals are judged as of the seal, by the rules and the list of signers of that time. All problems are told;
any ends it with 1.""",
    )
    verb.add_argument("ref", metavar="REF", help="the release")
    verb.add_argument(
        "--from",
        dest="source",
        metavar="PLACE",
        help="verify the copies there: oci:FOLDER, or HOST[:PORT]/PREFIX of another registry",
    )
    verb.add_argument("--insecure", action="store_true", help="speak plain HTTP to that registry")
    verb.add_argument("--offline", action="store_true", help="ask no remote of git")


def add_audit(verbs: Any) -> None:
    """Add `audit`."""
    verb = make_verb(
        verbs,
        "audit",
        "hold every release tag in the registry against ledger, approval and signature",
        text="""\
Names tags that were moved, pushed again, added or deleted, channels that moved, signatures, attestations and
evidence that are gone, approvals by keys that were revoked or removed since, releases built on a yanked one,
and what is unfinished. Signatures are checked; attestations and evidence are looked for here, and read with
--deep. Ends with 1 when something is not as the ledger says; notes alone are no fault.""",
    )
    verb.add_argument(
        "names", metavar="IMAGE", nargs="*", help="only these: LINE/NAME, or NAME of the wanted line"
    )
    verb.add_argument(
        "--deep", action="store_true", help="verify every release whole, with all it is built on"
    )
    verb.add_argument("--jobs", metavar="N", type=count, default=12, help="requests under way at once (12)")
