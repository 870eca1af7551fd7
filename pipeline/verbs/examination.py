"""Examines hosts' images before they are pushed: every gate, on the base with the host's layer laid over it.

Rules: the base is pulled and mounted once, when the first host needs it; the trees of all hosts share its
walk, and of what no layer touches the first answer holds for all; programs run in a throw-away container of
the base that has the very layer which will be pushed. An image that was let go on before, by every gate
there is, is not asked again.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

from pipeline.domain.catalogue import Instance
from pipeline.domain.checks import CheckReport
from pipeline.domain.evidence import EvidenceKind
from pipeline.domain.gate import Inside, Package, Subject, Verdict
from pipeline.domain.gates.registry import all_gates
from pipeline.domain.image import Digest, Tier
from pipeline.domain.overlaid import OverlaidTree
from pipeline.domain.packages import DPKG_STATUS, RPM_FOLDERS, installed_packages
from pipeline.domain.recalled import Recall
from pipeline.domain.record import Candidate
from pipeline.domain.tree import FileType
from pipeline.domain.walked import WalkedTree
from pipeline.verbs.assemble import Assembled
from pipeline.verbs.check import check, require
from pipeline.verbs.ports import Run, inside_of

PROOF = frozenset({EvidenceKind.SBOM, EvidenceKind.DIFF, EvidenceKind.GATES, EvidenceKind.PROVENANCE})
"""Evidence without which no host's image is as it should be."""


class Overlays(Protocol):
    """Containers of a base with a layer laid over."""

    def opened(self, image: str, layer: bytes) -> AbstractContextManager[Inside]:
        """Start one of a local image, and end it with the block."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Examined:
    """What the gates said of one host's image, and its packages."""

    report: CheckReport
    packages: tuple[Package, ...] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Opened:
    local: str
    tree: WalkedTree
    packages: tuple[Package, ...] | None


@dataclass(slots=True, kw_only=True)
class Examination:
    """Implements `examine` of `assemble` for the hosts of one base; used from several threads.

    Attributes:
        run: The run.
        base: The base's candidate.
        hosts: Name to definition.
        known: Name to the digest that was let go on before.
        overlays: Opens containers.
        slots: How many hosts may be under examination at once.
        stopping: When set, nothing more is begun.
        done: What was examined, by host.
    """

    run: Run
    base: Candidate
    hosts: Mapping[str, Instance]
    known: Mapping[str, Digest]
    overlays: Overlays
    slots: threading.Semaphore
    stopping: threading.Event
    done: dict[str, Examined] = field(default_factory=dict)
    _stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _recall: Recall = field(default_factory=Recall)
    _base: _Opened | None = None

    def close(self) -> None:
        """Let the base go."""
        self._stack.close()

    def __call__(self, made: Assembled) -> None:
        """Ask every gate about one host's image.

        Raises:
            GateRefusedError: A gate said no, or could not be checked.
            ToolFailedError: No container could be started.
            RegistryError: The base cannot be pulled.
        """
        host = self.hosts[made.order.host]
        if self.known.get(host.name) == made.image.digest:
            return
        with self.slots:
            if self.stopping.is_set():  # the assembly itself ends the host right after
                return
            base = self._opened()
            with self.run.reporter.stage(f"gates {host.line}/{host.name}"):
                examined = self._examined(host, base, made)
                self.done[host.name] = examined
                require(examined.report)

    def _examined(self, host: Instance, base: _Opened, made: Assembled) -> Examined:
        tree = OverlaidTree(base.tree, made.placement.entries)
        kernel = self.base.pins.kernel if self.base.pins is not None else None
        with self.overlays.opened(base.local, made.layer.data) as inside:
            packages = installed_packages(tree, inside) if _touches_packages(made) else base.packages
            subject = Subject(
                tier=Tier.INSTANCE,
                tree=tree,
                inside=inside,
                packages=packages,
                expected=self.run.catalogue.expectations(host, kernel),
                now=self.run.clock(),
                own=own_paths(made),
            )
            return Examined(report=check(subject, self._recall.gates(all_gates(), tree)), packages=packages)

    def _opened(self) -> _Opened:
        with self._lock:
            if self._base is None:
                with self.run.reporter.stage(f"open {self.base.line}/{self.base.image}"):
                    self._base = self._open()
            return self._base

    def _open(self) -> _Opened:
        local = self.run.engine.pull(self.base.repository.at(self.base.digest))
        tree = WalkedTree(self._stack.enter_context(self.run.open_tree(local)))
        next(tree.walk(), None)  # walked once here, not by each of the first hosts

        inside = inside_of(self.run.engine, local)

        return _Opened(local=local, tree=tree, packages=installed_packages(tree, inside))


def own_paths(made: Assembled) -> frozenset[str]:
    """Return what the host's layer brings; directories of the base that it restates are not its own."""
    return frozenset(entry.path for entry in made.placement.entries if entry.type is not FileType.DIRECTORY)


def settled(
    records: Sequence[Candidate],
    hosts: Sequence[Instance],
    *,
    at: Callable[[Instance], str],
    today: dt.date,
    proof: frozenset[EvidenceKind] = PROOF,
) -> dict[str, Digest]:
    """Return the hosts whose newest candidate would be let go on today as it was then, with its digest.

    Every gate there is must have answered, what was waived must be waived still, and it must be proved.

    Args:
        records: The ledger.
        hosts: The hosts that are asked for.
        at: Says where a host's image goes today.
        today: The day, UTC.
        proof: Evidence it must have.
    """
    newest = {(one.line, one.image): one for one in records}
    names = {gate.name for gate in all_gates() if Tier.INSTANCE in gate.tiers}
    found: dict[str, Digest] = {}
    for host in hosts:
        one = newest.get((host.line, host.name))
        if one is None or not one.ok or str(one.repository) != at(host) or not one.evidence.keys() >= proof:
            continue
        answered = {gate.gate for gate in one.gates}
        waived = {gate.gate for gate in one.gates if gate.verdict is Verdict.WAIVED}
        valid = {name for name, waiver in host.gates.waivers.items() if waiver.expires >= today}
        if names <= answered and waived <= valid:
            found[host.name] = one.digest
    return found


def _touches_packages(made: Assembled) -> bool:
    return any(path.startswith((*DPKG_STATUS, *RPM_FOLDERS)) for path in own_paths(made))
