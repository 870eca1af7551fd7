"""The words of the verbs that look at releases: yank, releases, status."""

from __future__ import annotations

from typing import Any

from pipeline.arguments.common import add_access, make_verb

_IMAGE = "LINE/NAME, or NAME of the wanted line"


def add_yank(verbs: Any) -> None:
    """Add `yank`."""
    verb = make_verb(
        verbs,
        "yank",
        "mark a release bad: seal, rollback and channels refuse it from then on",
        text="""\
Who may write the ledger may yank, and is recorded as the author. The release stays in the registry for who
runs it. Shown is who still does, what still names it, and the command that moves each. There is no way to
take a yank back: release the image again.""",
    )
    verb.add_argument("image", metavar="IMAGE", help=f"the image: {_IMAGE}")
    verb.add_argument("version", metavar="VERSION", help="the whole version, such as v2.0.3")
    verb.add_argument("--why", metavar="TEXT", required=True, help="what is wrong with it, one line")
    verb.add_argument("--dry-run", action="store_true", help="show who is affected, record nothing")
    verb.add_argument("--all", action="store_true", help="name each host and its command")


def add_releases(verbs: Any) -> None:
    """Add `releases`."""
    verb = make_verb(
        verbs,
        "releases",
        "show what is released, newest first",
        text="""\
By the ledger alone; `pipeline audit` compares it with the registry.""",
    )
    verb.add_argument("image", metavar="IMAGE", nargs="?", help=f"one image alone: {_IMAGE}")
    verb.add_argument(
        "--changelog", action="store_true", help="print what, why and who of each release as Markdown"
    )


def add_status(verbs: Any) -> None:
    """Add `status`."""
    verb = make_verb(
        verbs,
        "status",
        "show what waits and for how long, what hosts run, and what is wrong",
        text="""\
The worst first. By the ledger: evidence that is recorded counts as held, `review` and `seal` check for real.
With HOST: wanted, channel, booted, staged and fallback of one host, from the host itself with --host-access,
else from the ledger's records.""",
    )
    verb.add_argument("host", metavar="HOST", nargs="?", help=f"one host: {_IMAGE}")
    add_access(verb, "ask the host itself")
    verb.add_argument("--all", action="store_true", help="show each image and host, group nothing")
