"""The parts that verbs work with, each made once, when it is first asked for."""

from __future__ import annotations

import contextlib
import datetime as dt
import getpass
import os
import platform
import re
import resource
import secrets
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.adapters.engine import Engine, detect_profile, registries_conf
from pipeline.adapters.process import Processes
from pipeline.adapters.workspace import Workspace
from pipeline.domain.catalogue import Catalogue, Line
from pipeline.domain.events import Reporter
from pipeline.domain.image import ImageRef, Tier
from pipeline.domain.record import Builder, SourceState
from pipeline.domain.tree import Tree
from pipeline.errors import DefinitionError, NotFoundError, UsageError
from pipeline.render import progress

if TYPE_CHECKING:
    import argparse

    from pipeline.adapters.ledger import Ledger
    from pipeline.adapters.registry import Registry
    from pipeline.adapters.tokens import Credentials
    from pipeline.adapters.transport import Patience
    from pipeline.domain.kernel import KernelSource
    from pipeline.domain.record import Candidate
    from pipeline.domain.settings import Settings
    from pipeline.verbs.build_instances import Fleet
    from pipeline.verbs.mirror import MirrorOrder, MirrorResult
    from pipeline.verbs.ports import Run
    from pipeline.wiring.proofs import ProofParts
    from pipeline.wiring.releasing import ReleaseParts

_TOOLS_FOLDER = ".tools"
_CAP_SYS_RESOURCE = 24
_SAFE_LIMIT = 30000
_LIMITS = (("nofile", resource.RLIMIT_NOFILE), ("nproc", resource.RLIMIT_NPROC))


class Parts:
    """Makes each part once, when it is first asked for.

    Args:
        options: The parsed command line.
        environment: The process's environment.
    """

    def __init__(self, options: argparse.Namespace, environment: Mapping[str, str]) -> None:
        self.options = options
        self.environment = environment
        self.images = Path(options.images)
        self.state = Path(options.state) if options.state else self.images.resolve().parent / ".pipeline"

    @cached_property
    def stop(self) -> threading.Event:
        """Set when the run is to end: what waits then stops waiting."""
        return threading.Event()

    @staticmethod
    def clock() -> dt.datetime:
        """Tell the time, UTC, in whole seconds."""
        return dt.datetime.now(dt.UTC).replace(microsecond=0)

    @cached_property
    def processes(self) -> Processes:
        """The door to other programs; tools fetched by the project go before the system's."""
        tools = self.images.resolve().parent / _TOOLS_FOLDER / "bin"
        path = os.pathsep.join([str(tools), self.environment.get("PATH", os.defpath)])
        return Processes(environment={**self.environment, "PATH": path})

    @cached_property
    def catalogue(self) -> Catalogue:
        """The definitions."""
        from pipeline.adapters.definitions import load  # noqa: PLC0415 - verbs without definitions are quick

        return load(self.images, registry=self.environment.get("PIPELINE_REGISTRY"))

    @cached_property
    def settings(self) -> Settings:
        """The settings of all lines, whatever else is wrong in the definitions."""
        from pipeline.adapters.definitions import load_settings  # noqa: PLC0415

        return load_settings(self.images, registry=self.environment.get("PIPELINE_REGISTRY"))

    @cached_property
    def defined(self) -> Mapping[str, Tier]:
        """Every image of the definitions (`line/image`) and its tier; none where they are wrong.

        For verbs that look at releases or lead back to one: those are in the ledger. What is wrong is told.
        """
        try:
            lines = self.catalogue.lines.values()
        except DefinitionError as error:
            told = "; ".join(line.strip() for line in error.message.splitlines())
            self.reporter.note(f"the definitions are not looked at: {told}")
            return {}
        return {f"{line.name}/{image.name}": image.tier for line in lines for image in line.images.values()}

    @cached_property
    def line(self) -> Line:
        """The line that is asked for."""
        return self.catalogue.line(self.options.line)

    @cached_property
    def reporter(self) -> Reporter:
        """What shows progress, on stderr."""
        mode = progress.choose(
            json_events=self.options.json,
            quiet=self.options.quiet,
            verbose=self.options.verbose,
            terminal=sys.stderr.isatty(),
            ci=bool(self.environment.get("CI")),
        )
        return progress.make(mode, sys.stderr, clock=time.monotonic, verbose=self.options.verbose)

    @cached_property
    def run_id(self) -> str:
        """Id of this run: PIPELINE_RUN, where a CI job has to know it, or its time and a few random digits.

        Raises:
            UsageError: PIPELINE_RUN is no name for a folder.
        """
        if given := self.environment.get("PIPELINE_RUN"):
            if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,62}", given):
                raise UsageError(
                    f"PIPELINE_RUN is {given!r}", hint="use lower-case letters, digits and '-', 63 at most"
                )
            return given
        return f"{self.clock():%Y%m%dt%H%M%Sz}-{secrets.token_hex(3)}"

    @cached_property
    def engine(self) -> Engine:
        """The container engine, called as this machine needs it."""
        settings = self.settings
        conf: Path | None = None
        if settings.registry.insecure:
            self.state.mkdir(parents=True, exist_ok=True)
            conf = self.state / "registries.conf"
            conf.write_text(registries_conf(settings.registry.url), encoding="utf-8")
        profile = detect_profile(
            self.processes,
            program=settings.engine.program,
            runtime=settings.engine.runtime,
            network=settings.build.network,
            limits=container_limits(),
            registries_conf=conf,
        )
        return Engine(self.processes, profile)

    @cached_property
    def workspace(self) -> Workspace:
        """This run's folders."""
        return Workspace(self.state, run=self.run_id, remove_image=self._remove_image)

    def _remove_image(self, tag: str) -> None:
        self.engine.remove(tag)  # looked up late: runs that make no image never ask for an engine

    @cached_property
    def registry(self) -> Registry:
        """The project's registry."""
        return self.registry_at(
            self.settings.registry.url.partition("/")[0],
            insecure=self.settings.registry.insecure,
        )

    @cached_property
    def proofs(self) -> ProofParts:
        """What proves candidates."""
        from pipeline.wiring.proofs import ProofParts  # noqa: PLC0415

        return ProofParts(self)

    @cached_property
    def releasing(self) -> ReleaseParts:
        """What releases and looks after releases."""
        from pipeline.wiring.releasing import ReleaseParts  # noqa: PLC0415

        return ReleaseParts(self)

    def fleet(self, jobs: int, *, boot: bool) -> Fleet:
        """Return what hosts' images need beside a run; `boot` has each booted."""
        from pipeline.adapters.basepaths import BasePathCache  # noqa: PLC0415
        from pipeline.adapters.overlaid import OverlaidContainers  # noqa: PLC0415
        from pipeline.domain.evidence import EvidenceKind  # noqa: PLC0415
        from pipeline.verbs.build_instances import Fleet  # noqa: PLC0415
        from pipeline.verbs.examination import PROOF  # noqa: PLC0415
        from pipeline.verbs.host_proof import HostBatch, HostProof  # noqa: PLC0415
        from pipeline.verbs.trust import read_trust  # noqa: PLC0415

        workshop = self.proofs.workshop(frozenset())

        def prover(batch: HostBatch) -> HostProof:
            return HostProof(workshop=workshop, batch=batch, boot=boot)

        return Fleet(
            store=self.registry,
            paths=BasePathCache(self.state / "cache" / "base-paths", self.registry, self.proofs.tables),
            overlays=OverlaidContainers(self.engine),
            trust=read_trust(self.settings, self.images),
            jobs=jobs,
            stop=self.stop,
            prover=prover,
            needed=PROOF | {EvidenceKind.BOOT_TEST} if boot else PROOF,
        )

    def login(self, host: str) -> Credentials | None:
        """Return the login the container tools have for a registry."""
        from pipeline.adapters.credentials import find_credentials, login_files  # noqa: PLC0415

        return find_credentials(host, files=login_files(self.environment), environment=self.environment)

    def registry_at(self, host: str, *, insecure: bool, patience: Patience | None = None) -> Registry:
        """Return a client of any registry, with the login the container tools have for it."""
        from pipeline.adapters.registry import Registry  # noqa: PLC0415
        from pipeline.adapters.transport import Patience  # noqa: PLC0415

        def pause(seconds: float) -> None:
            self.stop.wait(seconds)

        waits = replace(patience or Patience(), sleep=pause)
        return Registry(host, insecure=insecure, credentials=self.login(host), patience=waits)

    @property
    def user(self) -> str:
        """Name of the user on this machine."""
        return _user()

    @cached_property
    def author(self) -> tuple[str, str]:
        """Name and address for the ledger's commits: CI's user, or the one of this machine."""
        name = self.environment.get("GITLAB_USER_LOGIN") or _user()
        address = self.environment.get("GITLAB_USER_EMAIL") or f"{_user()}@{socket.gethostname()}"
        return name, address

    @cached_property
    def ledger(self) -> Ledger:
        """The ledger, in the git repository of the definitions; a verb that may not write it ends here.

        Raises:
            UsageError: What the verb records has to be signed, and there is no key.
            SignatureError: The key may not sign it.
        """
        from pipeline.wiring.recording import open_ledger  # noqa: PLC0415

        return open_ledger(self)

    @cached_property
    def builder(self) -> Builder:
        """Who builds: the CI job, or the user on this machine."""
        job = self.environment.get("CI_JOB_URL")
        kind = "CI runner" if self.environment.get("CI") else "workstation"
        identity = job or f"{_user()}@{socket.gethostname()}"
        return Builder(identity=identity, host=f"{kind}, {platform.machine()}, Linux {platform.release()}")

    @property
    def remote(self) -> str:
        """Address of the repository that holds the definitions; "" for none."""
        name = self.settings.ledger.remote
        argv = ["git", "-C", str(self.images.resolve()), "remote", "get-url", "--", name]
        done = self.processes.run(argv, check=False)
        return done.stdout.strip() if done.code == 0 else ""

    @cached_property
    def source(self) -> SourceState:
        """Git state of the definitions."""
        from pipeline.adapters.sources import source_state  # noqa: PLC0415

        return source_state(self.images.resolve())

    def timestamp(self) -> int:
        """Return the date of an image's files: the commit's, so that a rebuild gives the same bytes.

        Raises:
            UsageError: SOURCE_DATE_EPOCH is no number of seconds.
        """
        if given := self.environment.get("SOURCE_DATE_EPOCH"):
            if not given.isdecimal() or not given.isascii():
                raise UsageError(
                    f"SOURCE_DATE_EPOCH is {given!r}", hint="give seconds since 1970, or leave it unset"
                )
            return int(given)
        folder = str(self.images.resolve())
        done = self.processes.run(["git", "-C", folder, "log", "-1", "--format=%ct"], check=False)
        return int(done.stdout) if done.code == 0 and done.stdout.strip() else int(self.clock().timestamp())

    @contextlib.contextmanager
    def open_tree(self, name: str) -> Iterator[Tree]:
        """Open a local image's files."""
        from pipeline.adapters.tree import MountedTree  # noqa: PLC0415

        with self.engine.mounted(name) as root:
            yield MountedTree(root)

    @contextlib.contextmanager
    def run(self, *, boots: frozenset[Tier] = frozenset({Tier.BASE})) -> Iterator[Run]:
        """Open a building run; at its end, however it ends, nothing of it is left but its logs.

        Images of the tiers `boots` are booted before they are pushed.
        """
        from pipeline.verbs.ports import Run  # noqa: PLC0415
        from pipeline.verbs.proof import EngineProver  # noqa: PLC0415
        from pipeline.verbs.source_files import SourceFiles  # noqa: PLC0415

        timestamp = self.timestamp()
        with self.stopping(), self.workspace.opened():
            yield Run(
                catalogue=self.catalogue,
                engine=self.engine,
                store=self.registry,
                ledger=self.ledger,
                folders=self.workspace,
                reporter=self.reporter,
                open_tree=self.open_tree,
                source=self.source,
                builder=self.builder,
                author=self.author[0],
                timestamp=timestamp,
                clock=self.clock,
                files=SourceFiles(self.images, self.settings.signing.release_keys),
                prover=EngineProver(workshop=self.proofs.workshop(boots)),
            )

    @contextlib.contextmanager
    def run_again(self, first: Run) -> Iterator[Run]:
        """Open a second run beside one that is under way: folders and tags of its own, all else the same."""
        workspace = Workspace(self.state, run=f"{self.run_id}-again", remove_image=self._remove_image)
        with workspace.opened():
            yield replace(first, folders=workspace)

    @contextlib.contextmanager
    def stopping(self) -> Iterator[None]:
        """End every program under way when the block is left by an exception."""
        try:
            yield
        except BaseException:
            self.processes.stop_running()
            raise

    def kernel_source(self, line: Line) -> KernelSource:
        """Return what asks the line's package manager."""
        upstream = line.upstreams[0]
        if upstream.package_manager == "apt":
            from pipeline.adapters.packages_apt import AptSource  # noqa: PLC0415

            return AptSource(upstream.kernel_flavour)
        from pipeline.adapters.packages_dnf import DnfSource, read_repositories  # noqa: PLC0415

        return DnfSource(read_repositories(line.containerfiles / "repos"))

    def mirroring(self, order: MirrorOrder, *, insecure_source: bool) -> MirrorResult:
        """Mirror a vendor's image."""
        from pipeline.adapters.cosign import Cosign  # noqa: PLC0415
        from pipeline.adapters.skopeo import Skopeo  # noqa: PLC0415
        from pipeline.verbs.mirror import mirror  # noqa: PLC0415

        host = order.source.repository.registry
        insecure = {host} if insecure_source else set()
        if self.settings.registry.insecure:
            insecure.add(self.registry.host)
        return mirror(
            order,
            source=self.registry_at(host, insecure=insecure_source),
            destination=self.registry,
            copier=Skopeo(self.processes, insecure=frozenset(insecure)),
            verifier=Cosign(self.processes, insecure=frozenset(insecure)),
        )

    def candidate_record(self, text: str) -> Candidate:
        """Return the record of a candidate: LINE/NAME for the newest of an image, or a reference by digest.

        Raises:
            NotFoundError: The ledger has no such candidate.
            UsageError: It is neither.
        """
        ref = self.candidate_ref(text)
        digest = ref.digest or self.registry_at_ref(ref).resolve(ref).digest
        found = self.known_candidate(ref.repository.at(digest))
        if found is None:
            raise NotFoundError(
                f"the ledger has no candidate {ref.repository}@{digest}",
                hint="`pipeline log` lists the candidates",
            )
        return found

    def known_candidate(self, ref: ImageRef) -> Candidate | None:
        """Return the newest record of an image by its digest, of that repository where there are several."""
        from pipeline.domain.record import candidates  # noqa: PLC0415

        known = [one for one in candidates(self.ledger.read()) if one.digest == ref.digest]
        found = [one for one in known if one.repository == ref.repository] or known
        return found[-1] if found else None

    def registry_at_ref(self, ref: ImageRef) -> Registry:
        """Return a client of the registry a reference names."""
        host = ref.repository.registry
        return self.registry if host == self.registry.host else self.registry_at(host, insecure=False)

    def candidate_ref(self, text: str) -> ImageRef:
        """Return the image a user names: a reference, or LINE/NAME for its newest candidate.

        Raises:
            NotFoundError: There is no such candidate.
            UsageError: It is neither.
        """
        line, slash, name = text.partition("/")
        if slash and "/" not in name and ":" not in name and line in self.catalogue.lines:
            from pipeline.verbs.candidates import latest  # noqa: PLC0415

            self.catalogue.line(line).image(name)
            found = latest(self.ledger, line, name)
            if found is None:
                raise NotFoundError(
                    f"{text} has no candidate yet", hint=f"build it: pipeline --line {line} build"
                )
            return ImageRef(repository=found.repository, tag=found.tag, digest=found.digest)
        return ImageRef.parse(text)


def container_limits() -> tuple[str, ...]:
    """Return limits containers can be given where nobody may raise one; elsewhere the engine's own are right.

    The engine lowers its own limits while it starts, so what is passed on stays below common pid ranges.
    """
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    effective = next((line.split()[1] for line in status.splitlines() if line.startswith("CapEff")), "0")
    if os.geteuid() != 0 or int(effective, 16) >> _CAP_SYS_RESOURCE & 1:
        return ()
    found: list[str] = []
    for name, number in _LIMITS:
        _, hard = resource.getrlimit(number)
        value = _SAFE_LIMIT if hard == resource.RLIM_INFINITY else min(hard, _SAFE_LIMIT)
        found.append(f"{name}={value}:{value}")
    return tuple(found)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"
