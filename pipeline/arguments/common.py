"""What the words of all verbs are made of: the parser that raises, a verb's page, numbers, references.

Rules: this package imports the standard library only, so that `--help` answers at once.
"""

from __future__ import annotations

import argparse
from typing import Any, NoReturn

from pipeline.errors import UsageError

REF = """\
REF is an image in a registry (registry/path@sha256:… or registry/path:tag) or LINE/NAME for the newest
candidate of an image."""

CANDIDATE = "CANDIDATE is LINE/NAME for the newest candidate of an image, or a reference with its digest."

_MOST = 256


class Parser(argparse.ArgumentParser):
    """Raises instead of exiting: only `cli` turns errors into exit codes."""

    def error(self, message: str) -> NoReturn:
        """Raise the usage error.

        Raises:
            UsageError: Always.
        """
        raise UsageError(message, hint=f"see `{self.prog} --help`")


def make_verb(verbs: Any, name: str, does: str, *, text: str = "") -> Parser:
    """Return the parser of one verb; `does` is its line in the list, `text` what its own page adds."""
    made: Parser = verbs.add_parser(
        name,
        help=does,
        description=f"{does[0].upper()}{does[1:]}.\n\n{text}".strip(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.set_defaults(verb=name)
    return made


def count(text: str) -> int:
    """Return a number from 1 to 256, as an argument's type."""
    if not text.isascii() or not text.isdigit() or not 0 < int(text) <= _MOST:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 to {_MOST}")
    return int(text)


def add_access(verb: Parser, does: str) -> None:
    """Add the options by which hosts are reached; `does` is what they are reached for."""
    verb.add_argument(
        "--host-access",
        metavar="ADDRESS",
        help=f"{does}: ssh://[user@]host[:port], where {{host}} stands for a host's name, or local:",
    )
    verb.add_argument(
        "--known-hosts", metavar="FILE", help="keys of hosts; none other is trusted (~/.ssh/known_hosts)"
    )
    verb.add_argument("--identity", metavar="FILE", help="private key to log in with (ssh's own)")
