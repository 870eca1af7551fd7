"""The words of the verbs by which people decide."""

from __future__ import annotations

from typing import Any

from pipeline.arguments.common import Parser, count, make_verb


def _signing(verb: Parser, *, why_needed: bool = True) -> None:
    verb.add_argument("--why", metavar="TEXT", required=why_needed, help="the reason, one line")
    verb.add_argument(
        "--key", metavar="FILE", help="SSH key to sign with, or the public half of one in an agent"
    )
    verb.add_argument(
        "--as", metavar="PRINCIPAL", dest="identity", help="whom the key speaks for, where it is several"
    )


def _decided(verb: Parser) -> None:
    verb.add_argument("candidates", metavar="CANDIDATE", nargs="*", help="the candidate")
    verb.add_argument(
        "--run", metavar="RUN", help="every candidate of one run, such as all hosts on one base"
    )


def add_approve(verbs: Any) -> None:
    """Add `approve`."""
    verb = make_verb(
        verbs,
        "approve",
        "sign a decision that exactly these images, with exactly this evidence, may be released",
        text="""\
Shows the dossier's summary and asks. Who may approve, and how many must, stands in [approval] of
images/pipeline.toml on the protected branch. All candidates of one act are one record. In a GitLab job, the
identity token in PIPELINE_APPROVAL_TOKEN proves who started it; its audience has to name the approval, which
an earlier job learns with --dry-run --out.""",
    )
    _decided(verb)
    _signing(verb, why_needed=False)
    verb.add_argument("--what", metavar="TEXT", help="what changes, one line (the reason, when left out)")
    verb.add_argument("--version", metavar="X.Y.Z", help="the version to propose (the diff's proposal)")
    verb.add_argument(
        "--expires", metavar="DAYS", type=count, default=7, help="days until it stops counting (7)"
    )
    verb.add_argument("--dry-run", action="store_true", help="show what would be approved, sign nothing")
    verb.add_argument(
        "--out",
        metavar="DIR",
        help="with --dry-run: write approval.env and references.txt there, for CI",
    )


def add_reject(verbs: Any) -> None:
    """Add `reject`."""
    verb = make_verb(
        verbs, "reject", "sign a decision that these images may not be released; it counts at once"
    )
    _decided(verb)
    _signing(verb)
    verb.add_argument("--dry-run", action="store_true", help="show what would be rejected, sign nothing")


def add_withdraw(verbs: Any) -> None:
    """Add `withdraw`."""
    verb = make_verb(verbs, "withdraw", "take an approval or a rejection back; it counts at once")
    verb.add_argument("decision", metavar="DECISION", help="id of its record, or the beginning of it")
    _signing(verb)
    verb.add_argument("--dry-run", action="store_true", help="show what would be taken back, sign nothing")
