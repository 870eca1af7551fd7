"""Where a run keeps its things: logs that stay, a work folder and local image tags that do not.

In the state folder, `logs/<run>/` is kept; `work/<run>/` holds contexts and archives and a list of the local
image tags the run made; both go when the run ends, and when it was killed, the next run removes them.
A run that is alive holds a lock on its work folder, so no run removes another's.
"""

from __future__ import annotations

import contextlib
import fcntl
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from pipeline.errors import StateError


class Workspace:
    """One run's folders.

    Args:
        state: Folder for everything the tool keeps on this machine.
        run: Id of the run: letters, digits and '-'.
        remove_image: Removes a local image by its tag; missing ones are no error.
    """

    def __init__(self, state: Path, *, run: str, remove_image: Callable[[str], None]) -> None:
        self.run = run
        self.state = state
        self.logs = state / "logs" / run
        self.work = state / "work" / run
        self.cache = state / "cache"
        self._remove_image = remove_image
        self._lock: IO[str] | None = None

    @contextlib.contextmanager
    def opened(self) -> Iterator[Workspace]:
        """Make the folders, remove what killed runs left, and clean up at the end.

        Raises:
            StateError: The folders cannot be made.
        """
        try:
            self.logs.mkdir(parents=True, exist_ok=True)
            self.work.parent.mkdir(exist_ok=True)
            self.cache.mkdir(exist_ok=True)
            with self._alone():
                self.work.mkdir()
                self._lock = (self.work / "lock").open("w")
                fcntl.flock(self._lock, fcntl.LOCK_EX)
        except OSError as error:
            raise StateError(
                f"{self.state} cannot be used: {error.strerror}", hint="choose another folder with --state"
            ) from error
        try:
            self._sweep()
            yield self
        finally:
            self._discard(self.work)
            self._lock.close()

    def tag(self, name: str) -> str:
        """Return a local image tag of this run; its image is removed when the run ends."""
        tag = f"localhost/pipeline-run/{self.run}:{_slug(name)}"
        with (self.work / "tags").open("a") as file:
            file.write(f"{tag}\n")
        return tag

    def log(self, name: str) -> Path:
        """Return the path of a log of this run; an existing one is not overwritten."""
        path = self.logs / f"{_slug(name)}.log"
        number = 1
        while path.exists():
            number += 1
            path = self.logs / f"{_slug(name)}-{number}.log"
        path.touch()
        return path

    def folder(self, name: str) -> Path:
        """Return a new empty folder that goes with the run."""
        path = self.work / _slug(name)
        path.mkdir()
        return path

    def _sweep(self) -> None:
        with self._alone():
            for other in self.work.parent.iterdir():
                if other == self.work:
                    continue
                with contextlib.suppress(OSError), (other / "lock").open("a") as lock:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    self._discard(other)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Let one run at a time open its folder or sweep: one not locked yet must not look abandoned."""
        with (self.state / "work.lock").open("a") as gate:
            fcntl.flock(gate, fcntl.LOCK_EX)
            yield

    def _discard(self, work: Path) -> None:
        with contextlib.suppress(OSError):
            # Last made, first removed: a later image may be built on an earlier one.
            for tag in reversed((work / "tags").read_text().split()):
                self._remove_image(tag)
        shutil.rmtree(work, ignore_errors=True)


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9.]+", "-", name).strip("-.") or "x"
