"""What the building verbs need of the outside world, as small interfaces; `wiring` joins them to adapters."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pipeline.domain.catalogue import Catalogue
from pipeline.domain.checks import CheckReport
from pipeline.domain.definition import Bootstrap
from pipeline.domain.events import Reporter
from pipeline.domain.gate import CommandResult, Inside, Package
from pipeline.domain.image import Digest, ImageRef
from pipeline.domain.oci import Descriptor
from pipeline.domain.pin import PinFile
from pipeline.domain.record import Builder, Candidate, LedgerReader, LedgerWriter, SourceState
from pipeline.domain.tree import Tree
from pipeline.verbs.built import Built
from pipeline.verbs.source_files import SourceFiles


class BuildEngine(Protocol):
    """A container engine."""

    def build(
        self,
        *,
        context: Path,
        file: Path,
        arguments: Mapping[str, str],
        tag: str,
        timestamp: int,
        log: Path,
        on_line: Callable[[str], None],
        squash: bool = False,
        cancel: threading.Event | None = None,
    ) -> int:
        """Build an image without any cache and return the exit code."""

    def id_of(self, name: str) -> str | None:
        """Return the id of a local image."""

    def pull(self, ref: ImageRef) -> str:
        """Pull by digest and return the local id."""

    def push(self, name: str, ref: ImageRef, *, digest_file: Path) -> Digest:
        """Push a local image and return its digest."""

    def run(
        self, name: str, argv: Sequence[str], *, stdin: str = "", timeout: float = 120.0, online: bool = False
    ) -> CommandResult:
        """Run a program in a throw-away container."""


def inside_of(engine: BuildEngine, name: str) -> Inside:
    """Return what runs programs in throw-away containers of a local image."""

    def inside(argv: Sequence[str], *, stdin: str = "", timeout: float = 120.0) -> CommandResult:
        return engine.run(name, argv, stdin=stdin, timeout=timeout)

    return inside


class Store(Protocol):
    """The project's registry, as far as builds need it."""

    def resolve(self, ref: ImageRef) -> Descriptor:
        """Return what a reference names now."""


class Ledger(LedgerReader, LedgerWriter, Protocol):
    """The ledger, to read and to add to."""


class RunFolders(Protocol):
    """Where a run keeps logs, contexts and local tags."""

    run: str
    logs: Path
    work: Path

    def tag(self, name: str) -> str:
        """Return a local image tag that goes with the run."""

    def log(self, name: str) -> Path:
        """Return a new log file."""

    def folder(self, name: str) -> Path:
        """Return a new empty folder that goes with the run."""


class Bootstrapper(Protocol):
    """Makes a file tree from packages."""

    def archive(
        self,
        definition: Bootstrap,
        *,
        target: Path,
        timestamp: int,
        log: Path,
        on_line: Callable[[str], None],
    ) -> int:
        """Write the tree as a tar archive and return the exit code."""


class PinStore(Protocol):
    """One line's pins."""

    def read(self) -> PinFile:
        """Return the pins."""

    def write(self, pins: PinFile) -> None:
        """Replace the pins."""


class Finish(Protocol):
    """Makes a pushed candidate's evidence."""

    def __call__(self, candidate: Candidate, report: CheckReport) -> Candidate:
        """Make and store all of it; return the candidate with its hashes."""


class Prover(Protocol):
    """Proves images that the engine holds."""

    def prepare(self, run: Run, built: Built, packages: tuple[Package, ...] | None) -> Finish:
        """Judge what can be judged before the push; return what makes the evidence after it."""


Opener = Callable[[str], AbstractContextManager[Tree]]
"""Opens a local image's files for reading."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of a building verb: what it works on and with.

    Attributes:
        catalogue: The definitions.
        engine, store, ledger, folders, reporter, open_tree: The outside world.
        source: Git state of the definitions.
        builder: Who builds.
        author: Name for the ledger.
        timestamp: Seconds since the epoch that built files bear.
        clock: Tells the time, UTC, whole seconds.
        files: Digests of the image repository's files.
        prover: Makes evidence.
    """

    catalogue: Catalogue
    engine: BuildEngine
    store: Store
    ledger: Ledger
    folders: RunFolders
    reporter: Reporter
    open_tree: Opener
    source: SourceState
    builder: Builder
    author: str
    timestamp: int
    clock: Callable[[], dt.datetime]
    files: SourceFiles
    prover: Prover
