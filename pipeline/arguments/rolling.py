"""The words of `rollback`."""

from __future__ import annotations

import argparse
from typing import Any

from pipeline.arguments.common import Parser, add_access, count, make_verb

_LONGEST_WAIT = 86_400


def add_rollback(verbs: Any) -> None:
    """Add `rollback`."""
    verb = make_verb(
        verbs,
        "rollback",
        "bring a host's channel, and the host where it can be reached, to an earlier release",
        text="""\
HOST is NAME or LINE/NAME; VERSION is v2.0 (the highest released 2.0.x), v2.0.3 or 2.0.3, never a yanked one.
  pipeline rollback web-1 v2.0 --why "2.1 loses mail" --host-access ssh://root@web-1.example.org
  pipeline rollback --all-hosts-on v2.1 --why "2.1 loses mail" --host-access ssh://root@{host}.example.org

What does not come back: /var, with all data, volumes of containers and their schemas, stays as the newer
release left it. /etc: a switch keeps local changes on top of the wanted image's own; a rollback to the host's
own fallback brings /etc back as it was when that image last ran. ZFS pools that the older module cannot
import are refused. Interrupted anywhere, the same command completes it.""",
    )
    verb.add_argument("words", metavar="HOST VERSION", nargs="*", help="the host, and the release to go to")
    verb.add_argument("--why", metavar="TEXT", required=True, help="the reason, one line, for the record")
    verb.add_argument(
        "--plan", "--dry-run", action="store_true", help="show what would be done; change and record nothing"
    )
    verb.add_argument(
        "--no-diff", action="store_true", help="do not read both images to show what differs: quicker"
    )
    _access(verb)
    _fleet(verb)
    _unsafe(verb)


def _access(verb: Parser) -> None:
    add_access(verb, "switch the host by its own means")
    verb.add_argument(
        "--reboot-timeout",
        metavar="S",
        type=_seconds,
        default=900,
        help="seconds until the host must be back from its reboot (900)",
    )


def _fleet(verb: Parser) -> None:
    verb.add_argument(
        "--all-hosts-on",
        metavar="VERSION",
        help="every host on this release, or built on this LINE/IMAGE:VERSION; it may be yanked. Without a "
        "VERSION to go to, each goes to the highest good one below its own",
    )
    verb.add_argument("--wave-first", metavar="N", type=count, default=1, help="hosts of the first wave (1)")
    verb.add_argument(
        "--wave-size", metavar="N", type=count, default=10, help="hosts of each further wave, at once (10)"
    )
    verb.add_argument(
        "--max-failures",
        metavar="N",
        type=_failures,
        default=0,
        help="hosts that may fail before no more are begun (0)",
    )


def _unsafe(verb: Parser) -> None:
    verb.add_argument(
        "--unsafe-pools", action="store_true", help="go on although a ZFS pool could not be imported"
    )
    verb.add_argument(
        "--unsafe-unverified",
        action="store_true",
        help="go on although the release does not verify; a host goes on even where the registry is down",
    )
    verb.add_argument(
        "--unsafe-offline",
        action="store_true",
        help="go on with this clone's copy of the ledger where its remote cannot be reached",
    )


def _seconds(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text[:9]) <= _LONGEST_WAIT:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds from 1 to {_LONGEST_WAIT}")
    return int(text)


def _failures(text: str) -> int:
    return 0 if text == "0" else count(text)
