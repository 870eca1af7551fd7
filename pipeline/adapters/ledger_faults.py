"""What can be wrong with a ledger's branch, as errors that say what to do."""

from __future__ import annotations

from pipeline.errors import LedgerError, LedgerRemoteError


def damaged(commit: str, what: str) -> LedgerError:
    """Return the error of a history that is no ledger."""
    return LedgerError(
        f"the ledger is damaged at {commit}: {what}",
        hint="do not write to it; find out who pushed that commit, and restore the branch from another clone",
    )


def rewritten(what: str, restore: str) -> LedgerError:
    """Return the error of a history without what was seen before; `restore` is the command that mends it."""
    return LedgerError(
        f"the ledger was rewritten or truncated: {what}",
        hint=f"find out who did it; to go back to what was seen: {restore}",
    )


def unreachable(what: str) -> LedgerRemoteError:
    """Return the error of a remote that does not answer or refuses."""
    return LedgerRemoteError(
        f"the ledger's remote does not answer or refuses: {what}",
        hint="mend the connection or the rights, then run the command again",
    )
