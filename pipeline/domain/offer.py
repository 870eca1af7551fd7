"""What the repositories of an upstream image offer a base now: kernels, modules, userspace."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.domain.kernel import Dropped, KernelCandidate
from pipeline.domain.record import Candidate


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What the repositories offer a base now.

    Attributes:
        parent: The candidate whose repositories were asked.
        kept: Kernels worth a compile, newest first.
        dropped: The others, with the reason.
        modules: Module set to the newest package version.
        userspace: Userspace package to the newest version.
        candidates: All kernels, newest first.
    """

    parent: Candidate
    candidates: tuple[KernelCandidate, ...]
    kept: tuple[KernelCandidate, ...]
    dropped: tuple[Dropped, ...]
    modules: Mapping[str, str]
    userspace: Mapping[str, str]

    def candidate(self, release: str) -> KernelCandidate | None:
        """Return a kernel by release."""
        return next((one for one in self.candidates if one.release == release), None)

    def newer(self, release: str) -> tuple[KernelCandidate, ...]:
        """Return the kernels newer than one, newest first; all when it is not offered."""
        return tuple(itertools.takewhile(lambda one: one.release != release, self.candidates))
