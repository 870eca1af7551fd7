"""The words of the verbs that look after the registry: prune and copy."""

from __future__ import annotations

import argparse
from typing import Any

from pipeline.arguments.common import add_access, count, make_verb

_MOST = 10_000


def _many(text: str) -> int:
    """Return a number from 1 to 10,000, as an argument's type."""
    if not text.isascii() or not text.isdigit() or not 0 < int(text[:9]) <= _MOST:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 to {_MOST}")
    return int(text)


def add_prune(verbs: Any) -> None:
    """Add `prune`."""
    verb = make_verb(
        verbs,
        "prune",
        "list what need not stay in the registry any longer, and delete it when told to",
        text="""\
A dry run unless --apply is given. What stays: the newest releases of each image, all that any host runs, has
staged, may fall back to or has pinned, all that these are built on, the newest and the young candidates, and
the signatures and evidence of all of them. What hosts run is known from the ledger; of a host that it knows
nothing about, everything its channel ever named stays. What hosts have pinned only they tell: --host-access
asks them. What the ledger does not know stays, and is named.
Deletions are recorded in the ledger before they are made; the registry's garbage collection frees space.""",
    )
    verb.add_argument("names", metavar="IMAGE", nargs="*", help="only these images: NAME or LINE/NAME")
    verb.add_argument("--apply", action="store_true", help="delete what goes; without it nothing changes")
    verb.add_argument("--keep", metavar="N", type=_many, help="newest releases of each image that stay")
    verb.add_argument("--candidates-days", metavar="D", type=_many, help="days for which candidates stay")
    add_access(verb, "ask the hosts too")
    verb.add_argument("--jobs", metavar="N", type=count, default=16, help="requests at once (16)")


def add_copy(verbs: Any) -> None:
    """Add `copy`."""
    verb = make_verb(
        verbs,
        "copy",
        "bring releases to another registry, or into a folder and out of it",
        text="""\
Digests, signatures and evidence stay what they are, and so does everything the releases are built on. TO is
HOST[:PORT]/PREFIX or, for sites without a network, oci:FOLDER, from which `--from oci:FOLDER` takes them.
A release tag that is there with another digest is never overwritten, and no channel is moved.""",
    )
    verb.add_argument("image", metavar="IMAGE", help="NAME or LINE/NAME")
    verb.add_argument("versions", metavar="VERSION", nargs="*", help="the releases (the newest one)")
    verb.add_argument("to", metavar="TO", help="HOST[:PORT]/PREFIX or oci:FOLDER")
    verb.add_argument("--all", action="store_true", help="every release that was not yanked")
    verb.add_argument("--from", metavar="oci:FOLDER", dest="source", help="take them out of this folder")
    verb.add_argument(
        "--without-parents", action="store_true", help="leave out the releases that they are built on"
    )
    verb.add_argument("--insecure", action="store_true", help="speak plain HTTP to TO")
    verb.add_argument("--jobs", metavar="N", type=count, default=8, help="blobs at once (8)")
    verb.add_argument("--dry-run", action="store_true", help="say what would be sent and send nothing")
