"""Reads what the protected branch said at a time in the past, for looking back at decisions made then.

Rules: the past of the branch is what leads to its tip now, along first parents, by the committers' dates; a
time before all of it is judged by what the branch says now, and a notice says so: who dates a decision back
beyond the list of signers gains nothing by it. The remote is asked once.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import threading
from pathlib import Path

from pipeline.adapters.gitrepo import Answer, GitRepo
from pipeline.adapters.protected import ProtectedBranch, _Tip
from pipeline.domain.protected_rules import ProtectedRules
from pipeline.domain.record_codec import stamp


class ProtectedHistory(ProtectedBranch):
    """The protected branch, now and before; safe to use from several threads.

    Args:
        images, remote, branch, local: As those of `ProtectedBranch`.
    """

    def __init__(self, images: Path, *, remote: str, branch: str | None = None, local: str = "main") -> None:
        super().__init__(images, remote=remote, branch=branch, local=local)
        self._lock = threading.Lock()
        self._answers: dict[tuple[str, ...], Answer] = {}
        self._known: dict[str, ProtectedRules] = {}
        self._found: _Tip | None = None
        self._wanted: str | None = None

    def at(self, moment: dt.datetime) -> ProtectedRules:
        """Return what the branch said at a time.

        Args:
            moment: UTC.

        Raises:
            PipelineError: As `read` says; what was written then may also be wrong by what is known today.
        """
        with self._lock:
            if self._found is None:
                now = self.read()
                assert self._found is not None  # noqa: S101 - reading finds it
                self._known[self._found.commit] = now
            now = self._known[self._found.commit]
            commit = self._commit(self._found, moment)
            if commit is None:
                notice = (
                    f"the protected branch does not reach back to {stamp(moment)}: judged by what it says now"
                )
                return dataclasses.replace(now, notices=(*now.notices, notice))
            if commit not in self._known:
                self._known[commit] = self._as_of(commit, now)
            return self._known[commit]

    def _as_of(self, commit: str, now: ProtectedRules) -> ProtectedRules:
        self._wanted = commit
        try:
            # What a checkout of today has beside it says nothing about then.
            return dataclasses.replace(self.read(), notices=now.notices)
        finally:
            self._wanted = None

    def _commit(self, tip: _Tip, moment: dt.datetime) -> str | None:
        """Return the branch's newest commit of that time or before; None when there is none."""
        age = f"--min-age={int(moment.timestamp())}"
        return self._repo().ask("rev-list", "-1", "--first-parent", age, tip.commit, "--").text or None

    def _named(self, repo: GitRepo, branch: str, *, shared: bool) -> _Tip:
        if self._wanted is not None and self._found is not None:
            return dataclasses.replace(self._found, commit=self._wanted)
        self._found = super()._named(repo, branch, shared=shared)
        return self._found

    def _network(self, repo: GitRepo, *arguments: str) -> Answer:
        if arguments not in self._answers:
            self._answers[arguments] = super()._network(repo, *arguments)
        return self._answers[arguments]
