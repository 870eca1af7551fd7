"""A world of seals that is made once for many tests, and put back for each of them.

Rules: its registry must not trust its memory, for its storage is put back as well; the first release, which
most tests begin with, is made by the first that asks, and taken again only where nothing was done before it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from registries import RunningRegistry
from releaseworld import Restorable
from sealworld import SealWorld, Silent

from pipeline.domain.record import Candidate


class SealAgain(SealWorld):
    """A world that can begin again.

    Args:
        folder: For its files and the copies of them.
        running: A registry of its own that does not trust its memory.
    """

    def __init__(self, folder: Path, running: RunningRegistry) -> None:
        (folder / "world").mkdir()
        super().__init__(folder / "world", running.host)
        self.running, self._copies = running, folder
        self._start = self._kept("start")
        self._firsts: dict[str, tuple[Candidate, int, Restorable]] = {}
        self._fresh = dict(vars(self))

    def again(self) -> SealAgain:
        """Put everything back to how it was made."""
        self.close()
        self._start.restore()
        vars(self).update(self._fresh)
        self._rules, self.reporter, self.shown, self._open = None, Silent(), [], []
        self.signer.calls.clear()
        return self

    def top_down(self) -> Candidate:
        return self.beginning("topped", super().top_down)

    def beginning(self, name: str, make: Callable[[], Candidate]) -> Candidate:
        """Return what `make` makes, by a name; it is only called once when a test begins with it."""
        if not self._start.untouched():
            return make()
        if name not in self._firsts:
            made = make()
            self._firsts[name] = (made, self.number, self._kept(name))
        made, self.number, kept = self._firsts[name]
        kept.restore()
        return made

    def _kept(self, name: str) -> Restorable:
        return Restorable(self._copies / name, self.folder, self.running.storage)
