"""Checks the proof of a decision by the method it was made with.

Rules: each method has its one checker; a proof whose method nobody checks proves nothing.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Protocol

from pipeline.domain.allowed_signers import AllowedSigners
from pipeline.domain.approvals import Proved, Unproved
from pipeline.domain.decision import Decision, Method


class Checker(Protocol):
    """Checks proofs of one method; `sshsig.SshSignatures` and `gitlab.GitlabTokens` are two."""

    def check(self, decision: Decision, signers: AllowedSigners, revoked: bytes, now: dt.datetime) -> Proved:
        """Return who proved a decision, or why nobody did."""


class AnySignatures:
    """Checks proofs of every method it has a checker for.

    Args:
        checkers: Method to its checker.
    """

    def __init__(self, checkers: Mapping[Method, Checker]) -> None:
        self._checkers = dict(checkers)

    def check(self, decision: Decision, signers: AllowedSigners, revoked: bytes, now: dt.datetime) -> Proved:
        """Return who proved a decision, or why nobody did.

        Args:
            decision: The decision with its proof.
            signers: The list of signers and the issuer of tokens.
            revoked: Revoked SSH keys; empty for none.
            now: When it is relied on; UTC.
        """
        if decision.proof is None:
            return Unproved(why="it is not signed")
        checker = self._checkers.get(decision.proof.method)
        if checker is None:
            return Unproved(why=f"it is proved by {decision.proof.method}, which is not looked at here")
        return checker.check(decision, signers, revoked, now)
