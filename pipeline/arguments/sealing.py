"""The words of the verb that releases."""

from __future__ import annotations

from typing import Any

from pipeline.arguments.common import CANDIDATE, count, make_verb


def add_seal(verbs: Any) -> None:
    """Add `seal`."""
    verb = make_verb(
        verbs,
        "seal",
        "turn approved candidates into immutable, signed releases",
        text=f"""\
Checks evidence, approvals, the way back and the parent, then reserves the versions in the ledger, tags by
digest, signs and attests, lets hosts' own skopeo verify, writes signed git tags, moves aliases and channels,
and records. When it was interrupted, the same command goes on. Rules are read from the protected branch.

{CANDIDATE}""",
    )
    verb.add_argument("candidates", metavar="CANDIDATE", nargs="*", help="the candidate")
    verb.add_argument(
        "--run", metavar="RUN", help="every candidate of one run, such as all hosts on one base"
    )
    version = verb.add_mutually_exclusive_group()
    version.add_argument(
        "--bump", choices=("major", "minor", "patch"), help="raise more than the difference proposes"
    )
    version.add_argument("--version", metavar="X.Y.Z", help="the version, where it is more than proposed")
    verb.add_argument(
        "--dry-run", action="store_true", help="check everything and show the plan, write nothing"
    )
    verb.add_argument(
        "--git-key",
        metavar="FILE",
        help="SSH key that signs git tag and records (PIPELINE_GIT_KEY, or git's own user.signingkey)",
    )
    verb.add_argument(
        "--unsafe-unsigned-tag", action="store_true", help="write the git tag without a signature"
    )
    verb.add_argument("--what", metavar="TEXT", help="what changes, for a rule by which nobody approves")
    verb.add_argument("--why", metavar="TEXT", help="why, for a rule by which nobody approves")
    verb.add_argument("--jobs", metavar="N", type=count, default=16, help="images worked on at once (16)")
