"""The protected branch as this clone fetched it last, for looking back where no remote can be reached.

Rules: no remote is asked; what the clone knows of the remote's branch counts, never a checkout, and where it
was never fetched under that name the local branch does. A notice says so each time.
"""

from __future__ import annotations

import dataclasses

from pipeline.adapters.gitrepo import GitRepo
from pipeline.adapters.protected_history import ProtectedHistory
from pipeline.domain.protected_rules import ProtectedRules


class FetchedHistory(ProtectedHistory):
    """The protected branch, as it was fetched last and before; arguments and rules as `ProtectedHistory`."""

    def read(self) -> ProtectedRules:
        """Return what the branch said when it was fetched last (errors as `ProtectedBranch.read`)."""
        found = super().read()
        notice = f"no remote was asked: who may approve is read from {found.source}, fetched before"
        return dataclasses.replace(found, notices=(*found.notices, notice))

    def _default(self, repo: GitRepo, *, shared: bool) -> str:
        return self._fetched_last(repo).branch if shared else super()._default(repo, shared=shared)

    def _fetched(self, repo: GitRepo, branch: str) -> str | None:
        return repo.ref(f"refs/remotes/{self._remote}/{branch}") or repo.ref(f"refs/heads/{branch}")
