"""`build --tier instance`: the images of many hosts, each rendered, laid on its base, examined, pushed.

Rules: one host's failure stops no other; nothing of a host is visible before every gate let it go on; all
candidates of a run are one commit of the ledger; a host whose newest candidate has the same digest is
unchanged and is not recorded again. Files bear the base's time, not the run's, so that a digest changes only
with the definition or the base.
"""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pipeline.domain.append import BaseImage
from pipeline.domain.catalogue import Instance
from pipeline.domain.checks import CheckReport
from pipeline.domain.evidence import EvidenceKind
from pipeline.domain.fleet import FleetResult, InstanceResult, Outcome
from pipeline.domain.gate import Finding, GateResult
from pipeline.domain.image import Digest, ImageRef
from pipeline.domain.oci import load
from pipeline.domain.record import Candidate, GateRecord, candidates
from pipeline.domain.reproducible import Comparison
from pipeline.domain.rootfs.render import render
from pipeline.domain.trust import Trust
from pipeline.errors import GateRefusedError, InterruptedRunError, PipelineError, StateError
from pipeline.verbs.assemble import BasePaths, HostOrder, HostResult, Store, assemble, load_base
from pipeline.verbs.build_host import build_with_engine
from pipeline.verbs.candidates import latest, require_parent
from pipeline.verbs.examination import PROOF, Examination, Overlays, settled
from pipeline.verbs.host_proof import HostBatch, ProvesHosts
from pipeline.verbs.ports import Run
from pipeline.verbs.reproduce import assemble_again

_TITLE = "org.opencontainers.image.title"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """What hosts' images need beside the run.

    Attributes:
        store: The registry that holds the bases and takes the hosts.
        paths: Path lists of bases.
        overlays: Containers to examine an image in before it is one.
        trust: Keys and scopes that all hosts have.
        jobs: Hosts examined at once.
        stop: When set, no further request is begun.
        prover: Makes what proves the hosts of one base.
        needed: Evidence without which a host is built again.
    """

    store: Store
    paths: BasePaths
    overlays: Overlays
    trust: Trust
    jobs: int
    stop: threading.Event
    prover: Callable[[HostBatch], ProvesHosts]
    needed: frozenset[EvidenceKind] = PROOF


def build_instances(run: Run, hosts: Sequence[Instance], fleet: Fleet) -> FleetResult:
    """Build hosts' images and record all new candidates in one commit.

    Raises:
        InterruptedRunError: The run was stopped; what was pushed is whole, and recorded by the next run.
        LedgerError: The ledger cannot be read or written.
    """
    for host in hosts:
        for warning in host.warnings:
            run.reporter.note(f"{host.line}/{host.name}: {warning}")
    known = settled(
        candidates(run.ledger.read()),
        hosts,
        at=lambda host: str(run.catalogue.repository(host)),
        today=run.clock().date(),
        proof=fleet.needed,
    )
    slots = threading.Semaphore(max(1, fleet.jobs))
    found: dict[str, tuple[InstanceResult, Candidate | None]] = {}
    for name in dict.fromkeys(host.parent for host in hosts):
        mine = [host for host in hosts if host.parent == name]
        try:
            found |= _OnBase.of(run, mine, fleet, known=known, slots=slots).build()
        except InterruptedRunError:
            raise
        except PipelineError as error:  # of the base itself: what is a host's own never comes this far
            found |= {host.name: (_failed(host, error), None) for host in mine}
    new = tuple(one for _, one in (found[host.name] for host in hosts) if one is not None)
    if new:
        with run.reporter.stage(f"record {len(new)} candidates"):
            run.ledger.append(new)
    return FleetResult(hosts=tuple(found[host.name][0] for host in hosts), candidates=new)


def verify_hosts(run: Run, hosts: Sequence[Instance], fleet: Fleet) -> tuple[Comparison, ...]:
    """Assemble hosts' images again and compare them with their newest candidates; nothing is pushed.

    Args:
        run: The run.
        hosts: The hosts, best from definitions that were read anew.
        fleet: What hosts' images need.

    Raises:
        NotFoundError: A base has no candidate.
        RegistryError: The registry failed.
    """
    found: list[Comparison] = []
    for name in dict.fromkeys(host.parent for host in hosts):
        mine = [host for host in hosts if host.parent == name and host.containerfile is None]
        if not mine:
            continue
        parent = require_parent(run, mine[0])
        base = load_base(parent.repository.at(parent.digest), fleet.store)
        newest = {host.name: latest(run.ledger, host.line, host.name) for host in mine}
        found += assemble_again(
            [host_order(run, host, fleet.trust) for host in mine],
            {host: one.digest for host, one in newest.items() if one is not None},
            base=base,
            store=fleet.store,
            paths=fleet.paths,
            timestamp=_timestamp(base),
        )
    return tuple(found)


def host_order(run: Run, host: Instance, trust: Trust) -> HostOrder:
    """Return what is to be assembled for a host."""
    insecure = run.catalogue.settings.registry.insecure
    return HostOrder(
        host=host.name,
        repository=run.catalogue.repository(host),
        tree=lambda: render(host, trust, insecure=insecure),
        labels={_TITLE: f"{host.line}/{host.name}"},
    )


def require_hosts(result: FleetResult) -> None:
    """Let a run pass, or refuse.

    Raises:
        GateRefusedError: Hosts failed; the others are built.
    """
    if not result.failed:
        return
    names = ", ".join(one.host.name for one in result.failed)
    raise GateRefusedError(
        f"{len(result.failed)} of {len(result.hosts)} hosts failed: {names}",
        hint="mend what is said of them above and run the same command again: the others are unchanged then",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _OnBase:
    """The hosts of one base."""

    run: Run
    hosts: Sequence[Instance]
    fleet: Fleet
    parent: Candidate
    base: BaseImage
    known: dict[str, Digest]
    examination: Examination
    proof: ProvesHosts

    @classmethod
    def of(
        cls,
        run: Run,
        hosts: Sequence[Instance],
        fleet: Fleet,
        *,
        known: dict[str, Digest],
        slots: threading.Semaphore,
    ) -> _OnBase:
        started = run.clock()
        parent = require_parent(run, hosts[0])
        base = load_base(parent.repository.at(parent.digest), fleet.store)
        named = {host.name: host for host in hosts}
        examination = Examination(
            run=run,
            base=parent,
            hosts=named,
            known=known,
            overlays=fleet.overlays,
            slots=slots,
            stopping=fleet.stop,
        )
        return cls(
            run=run,
            hosts=hosts,
            fleet=fleet,
            parent=parent,
            base=base,
            known=known,
            examination=examination,
            proof=fleet.prover(
                HostBatch(
                    run=run,
                    base=parent,
                    hosts=named,
                    examined=examination.done,
                    paths=fleet.paths.table(base),
                    records=run.ledger.read(),
                    timestamp=_timestamp(base),
                    started=started,
                )
            ),
        )

    def build(self) -> dict[str, tuple[InstanceResult, Candidate | None]]:
        try:
            found = self._assembled([host for host in self.hosts if host.containerfile is None])
        finally:
            self.examination.close()
        for host in self.hosts:
            if host.containerfile is not None:
                found[host.name] = self._by_engine(host)
        return found

    def _assembled(self, hosts: Sequence[Instance]) -> dict[str, tuple[InstanceResult, Candidate | None]]:
        if not hosts:
            return {}
        results = assemble(
            [host_order(self.run, host, self.fleet.trust) for host in hosts],
            base=self.base,
            store=self.fleet.store,
            paths=self.fleet.paths,
            timestamp=_timestamp(self.base),
            stop=self.fleet.stop,
            examine=self.examination,
            prove=self.proof,
        )
        return {host.name: self._result(host, one) for host, one in zip(hosts, results, strict=True)}

    def _result(self, host: Instance, one: HostResult) -> tuple[InstanceResult, Candidate | None]:
        examined = self.examination.done.get(host.name)
        report = examined.report if examined is not None else None
        if one.image is None or one.layer is None:
            failed = InstanceResult(host=host, outcome=Outcome.FAILED, report=report, error=one.error)
            return failed, None
        # Pushed by a run that did not come to record it: for the ledger it is new.
        outcome = one.outcome if examined is None else Outcome.BUILT
        result = InstanceResult(host=host, outcome=outcome, image=one.image, report=report, kept=one.kept)
        return result, self.proof.done.get(host.name)

    def _by_engine(self, host: Instance) -> tuple[InstanceResult, Candidate | None]:
        try:
            candidate = build_with_engine(
                self.run,
                host,
                self.parent,
                entries=host_order(self.run, host, self.fleet.trust).tree(),
                paths=self.fleet.paths.table(self.base),
                timestamp=_timestamp(self.base),
            )
        except InterruptedRunError:
            raise
        except PipelineError as error:
            return _failed(host, error), None
        except OSError as error:
            unread = StateError(
                f"the build of {host.line}/{host.name} cannot be prepared: {error}",
                hint="see that the Containerfile's folder can be read and the state folder be written",
            )
            return _failed(host, unread), None
        image = ImageRef(repository=candidate.repository, tag=candidate.tag, digest=candidate.digest)
        known = self.known.get(host.name) == candidate.digest
        result = InstanceResult(
            host=host,
            outcome=Outcome.UNCHANGED if known else Outcome.BUILT,
            image=image,
            report=CheckReport(tier=host.tier, results=tuple(_answer(gate) for gate in candidate.gates)),
        )
        return result, None if known else candidate


def _timestamp(base: BaseImage) -> int:
    """Return the date of a base's files, which its hosts' files bear too."""
    created = load(base.config, f"the config of {base.ref}").get("created")
    try:
        return int(dt.datetime.fromisoformat(str(created)).timestamp())
    except ValueError:
        return 0


def _answer(gate: GateRecord) -> GateResult:
    return GateResult(gate=gate.gate, finding=Finding(verdict=gate.verdict, summary=gate.summary))


def _failed(host: Instance, error: PipelineError) -> InstanceResult:
    return InstanceResult(host=host, outcome=Outcome.FAILED, error=error)
