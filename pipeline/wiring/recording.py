"""Opens the ledger for a verb: who may write it, with which key, and whether this verb may.

Rules: a verb that records something is asked for its key before it does its work, not when it records; one
that changes nothing (a dry run, a plan) needs none.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from pipeline.adapters.gitkeys import GitKey
from pipeline.adapters.ledger import Ledger, opened
from pipeline.adapters.ledger_writers import LedgerWriters
from pipeline.domain.record import Kind
from pipeline.wiring.typed import typed_path

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping
    from pathlib import Path

    from pipeline.wiring.parts import Parts

_RECORDED: dict[str, frozenset[Kind]] = {
    "build": frozenset({Kind.CANDIDATE}),
    "seal": frozenset({Kind.RESERVATION, Kind.SEAL}),
    "yank": frozenset({Kind.YANK}),
    "rollback": frozenset({Kind.DEPLOYMENT}),
    "prune": frozenset({Kind.RETENTION}),
}
"""What verbs record beside decisions, which prove themselves."""


def open_ledger(parts: Parts) -> Ledger:
    """Return the ledger, in the git repository of the definitions.

    Raises:
        StateError: They are in none.
        UsageError: What the verb records has to be signed, and there is no key.
        SignatureError: The key may not sign it.
    """
    settings, folder = parts.settings.ledger, parts.images.resolve()
    key = git_key(parts.options, parts.environment)
    made = Ledger(
        folder,
        branch=settings.branch,
        remote=settings.remote,
        identity=parts.author,
        clock=parts.clock,
        jitter=random.random,
        writers=LedgerWriters(
            parts.releasing.branch,
            GitKey(opened(folder), parts.processes, key, signs="records of the ledger"),
            named=key is not None,
            processes=parts.processes,
            clock=parts.clock,
        ),
    )
    made.require(recorded(parts.options))
    return made


def git_key(options: argparse.Namespace, environment: Mapping[str, str]) -> Path | None:
    """Return the file of the SSH key that was named to sign what git keeps; None for git's own setting."""
    given = getattr(options, "git_key", None) or environment.get("PIPELINE_GIT_KEY")
    return typed_path(given) if given else None


def recorded(options: argparse.Namespace) -> frozenset[Kind]:
    """Return the kinds of records that a command line is going to write."""
    idle = getattr(options, "dry_run", False) or getattr(options, "plan", False)
    if idle or not getattr(options, "apply", True):
        return frozenset()
    return _RECORDED.get(getattr(options, "verb", ""), frozenset())
