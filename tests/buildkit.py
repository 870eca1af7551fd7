"""A building run without an engine: small real classes behind the verbs' interfaces, and a line to build.

The engine "compiles" by a table of what fails; what it made is a tree in memory, so that manifests and gates
read it as they read an image. Everything that happened is kept in order in `World.happened`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import hashlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import elfkit
from trees import Content, MemoryTree

from pipeline.domain import gate
from pipeline.domain.catalogue import (
    AnyImage,
    Base,
    Catalogue,
    GatePolicy,
    Line,
    Persistence,
    ResolvedModule,
    Upstream,
)
from pipeline.domain.checks import CheckReport
from pipeline.domain.definition import Bootstrap
from pipeline.domain.gate import CommandResult
from pipeline.domain.gates.registry import all_gates
from pipeline.domain.image import Digest, ImageRef
from pipeline.domain.kernel import KernelCandidate
from pipeline.domain.oci import OCI_MANIFEST, Descriptor
from pipeline.domain.offer import Offer
from pipeline.domain.pin import PinFile
from pipeline.domain.record import Builder, Candidate, Record, SourceState, candidates
from pipeline.domain.settings import RegistrySettings, Settings
from pipeline.domain.tree import Tree
from pipeline.errors import NotFoundError
from pipeline.verbs.built import Built
from pipeline.verbs.examination import PROOF
from pipeline.verbs.ports import Finish, Run
from pipeline.verbs.source_files import SourceFiles

NOW = dt.datetime(2026, 11, 21, 12, 0, 0, tzinfo=dt.UTC)
KEY = "-----BEGIN PUBLIC KEY-----\nMFk=\n-----END PUBLIC KEY-----\n"
WAIVED = GatePolicy(
    waivers={
        one.name: gate.Waiver(reason="no real image", expires=dt.date(2030, 1, 1)) for one in all_gates()
    }
)
VERSIONS = {"nvidia": "550.163.01-2", "zfs": "2.3.9-1"}
USERSPACE = {"zfsutils-linux": "2.3.9-1"}


def sha(text: str) -> Digest:
    return Digest(f"sha256:{hashlib.sha256(text.encode()).hexdigest()}")


class World:
    """Engine, registry, ledger, pins, folders, reporter and bootstrapper in one; see the module."""

    def __init__(self, folder: Path) -> None:
        self.run = "run-1"
        self.logs = folder / "logs"
        self.work = folder / "work"
        for path in (self.logs, self.work):
            path.mkdir(parents=True)
        self.happened: list[str] = []
        self.notes: list[str] = []
        self.fails: set[tuple[str, str]] = set()
        """(module set, kernel) that does not compile; ("assemble", kernel) for the final stage."""
        self.interrupts: set[tuple[str, str]] = set()
        """(module set, kernel) at which Ctrl-C is hit."""
        self.error = "foo.c:12:3: error: too few arguments for {kernel}"
        """What the log of a failed stage says."""
        self.told: dict[str, str] = {}
        """Module set to what else its stage's log says."""
        self.waits_for_cancel: set[str] = set()
        """Module sets that compile until they are cancelled."""
        self.extra: dict[str, dict[str, Content]] = {}
        """Module set to what its stage leaves besides the modules."""
        self.arguments: list[dict[str, str]] = []
        self.contexts: list[tuple[str, frozenset[str]]] = []
        """Text of each final Containerfile and the files of its context."""
        self.trees: dict[str, MemoryTree] = {}
        self.pushed: dict[str, Digest] = {}
        self.registry_lies = False
        self.records: list[Candidate] = []
        self.pins = PinFile()
        self.writes: list[PinFile] = []
        self.bootstraps: list[Bootstrap] = []
        self.built: list[Built] = []
        self.bootstrap_code = 0

    @property
    def compiled(self) -> list[tuple[str, str]]:
        """What was compiled, in order: module set and kernel."""
        return [
            (one["MODULE_SET"], one["KERNEL"]) for one in self.arguments if one.get("MODULE_SET") is not None
        ]

    # --- the engine

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
        self.arguments.append(dict(arguments))
        kernel = arguments.get("KERNEL", "")
        name = "toolchain" if "toolchain" in file.name else arguments.get("MODULE_SET", "assemble")
        self.happened.append(f"build {name} {kernel}".rstrip())
        if (name, kernel) in self.interrupts:
            raise KeyboardInterrupt
        if name in self.waits_for_cancel:
            assert cancel is not None
            assert cancel.wait(30), "nobody cancelled"
            return 143
        on_line("working")
        if (name, kernel) in self.fails:
            log.write_text(f"making {name}\n{self.error.format(kernel=kernel)}\nmake: *** Error 2\n")
            return 2
        log.write_text(f"making {name} for {kernel}\n{self.told.get(name, '')}")
        if name == "assemble":
            files = frozenset(str(path.relative_to(context)) for path in context.rglob("*") if path.is_file())
            self.contexts.append((file.read_text(), files))
            self.trees[tag] = MemoryTree({"/etc/os-release": "ID=debian\n"})
        else:
            self.trees[tag] = self._stage(name, kernel)
        return 0

    def _stage(self, name: str, kernel: str) -> MemoryTree:
        folder = f"/out/usr/lib/modules/{kernel}/updates/dkms"
        return MemoryTree(
            {f"{folder}/{name}.ko": elfkit.module(name, kernel=kernel), **self.extra.get(name, {})}
        )

    def id_of(self, name: str) -> str | None:
        return sha(name).hex if name in self.trees else None

    def pull(self, ref: ImageRef) -> str:
        self.happened.append(f"pull {ref.repository.path.rpartition('/')[2]}")
        local = ref.pinned.hex
        self.trees.setdefault(local, MemoryTree({}))
        return local

    def push(self, name: str, ref: ImageRef, *, digest_file: Path) -> Digest:
        self.happened.append(f"push {ref.repository.path.rpartition('/')[2]}")
        digest = sha(f"manifest of {name}")
        digest_file.write_text(str(digest))
        self.pushed[str(ref)] = digest
        return digest

    def run_in(
        self, name: str, argv: Sequence[str], *, stdin: str = "", timeout: float = 120.0, online: bool = False
    ) -> CommandResult:
        return CommandResult(code=127, stdout="", stderr="no such program")

    @contextlib.contextmanager
    def open_tree(self, name: str) -> Iterator[Tree]:
        yield self.trees[name]

    # --- the registry

    def resolve(self, ref: ImageRef) -> Descriptor:
        self.happened.append(f"resolve {ref.repository.path.rpartition('/')[2]}")
        if str(ref) not in self.pushed:
            raise NotFoundError(f"no {ref}", hint="push it")
        found = sha("somebody else's") if self.registry_lies else self.pushed[str(ref)]
        return Descriptor(media_type=OCI_MANIFEST, digest=found, size=1)

    # --- the ledger

    def read(self, *, offline: bool = False) -> tuple[Record, ...]:
        return tuple(self.records)

    def append(self, records: Sequence[Record]) -> str:
        self.happened += [f"record {one.image}" for one in candidates(records)]
        self.records += candidates(records)
        return "c" * 40

    # --- the folders

    def tag(self, name: str) -> str:
        return f"localhost/test:{name.replace(' ', '-').replace('/', '-')}"

    def log(self, name: str) -> Path:
        path = self.logs / f"{name.replace(' ', '-').replace('/', '-')}-{len(list(self.logs.iterdir()))}.log"
        path.touch()
        return path

    def folder(self, name: str) -> Path:
        path = self.work / name.replace(" ", "-").replace("/", "-")
        path.mkdir()
        return path

    # --- the reporter

    @contextlib.contextmanager
    def stage(self, name: str, *, log: str | None = None) -> Iterator[World]:
        yield self

    def line(self, text: str) -> None:
        pass

    def note(self, text: str) -> None:
        self.notes.append(text)

    # --- mmdebstrap

    def archive(
        self,
        definition: Bootstrap,
        *,
        target: Path,
        timestamp: int,
        log: Path,
        on_line: Callable[[str], None],
    ) -> int:
        self.happened.append(f"bootstrap {definition.suite}")
        target.write_bytes(b"tar")
        log.write_text("E: no such suite\n" if self.bootstrap_code else "fine\n")
        return self.bootstrap_code


class FakeEngine:
    """The engine's side of a world (`run` means two things there)."""

    def __init__(self, world: World) -> None:
        self.build, self.id_of, self.pull, self.push = world.build, world.id_of, world.pull, world.push
        self.run = world.run_in


class FakeProver:
    """Proves whatever it is given, and keeps in the world what it was asked when."""

    def __init__(self, world: World) -> None:
        self._world = world

    def prepare(self, run: Run, built: Built, packages: tuple[gate.Package, ...] | None) -> Finish:
        name = built.image.name
        self._world.happened.append(f"prepare {name}")
        self._world.built.append(built)

        def finish(candidate: Candidate, report: CheckReport) -> Candidate:
            self._world.happened.append(f"prove {name}")
            evidence = {**candidate.evidence, **{kind.value: sha(kind.value) for kind in PROOF}}
            return dataclasses.replace(candidate, evidence=evidence)

        return finish


class FakePins:
    """The pins' side of a world; `read` and `write` mean two things there."""

    def __init__(self, world: World) -> None:
        self._world = world

    def read(self) -> PinFile:
        return self._world.pins

    def write(self, pins: PinFile) -> None:
        self._world.pins = pins
        self._world.writes.append(pins)


@dataclass(frozen=True, kw_only=True)
class Yard:
    """A line on disk with a run that works on it.

    Attributes:
        images: The images folder.
        upstream, base: The definitions.
    """

    world: World
    images: Path
    upstream: Upstream
    base: Base
    run: Run
    pins: FakePins = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "pins", FakePins(self.world))

    def with_base(self, **changes: object) -> Yard:
        """Return the yard with a base that differs."""
        return make_yard_of(self.world, self.images, self.upstream, dataclasses.replace(self.base, **changes))  # type: ignore[arg-type]

    def upstream_candidate(self, number: int = 1) -> Candidate:
        """Put a candidate of the upstream into the ledger."""
        digest = sha(f"upstream {number}")
        made = Candidate(
            time=NOW,
            author="Ada",
            run="run-0",
            line="debian",
            image=self.upstream.name,
            tier=self.upstream.tier,
            repository=self.run.catalogue.repository(self.upstream),
            digest=digest,
            tag=f"candidate-{digest.hex[:16]}",
            source=SourceState(commit="a" * 40, clean=True),
            builder=Builder(identity="ada@laptop", host="workstation"),
            started=NOW,
            finished=NOW,
        )
        self.world.records.append(made)
        return made


def kernel(number: int, *, in_image: bool = False, devel: bool = True) -> KernelCandidate:
    """Return a kernel 6.12.<number>."""
    release = f"6.12.{number}-test"
    return KernelCandidate(
        release=release,
        package_version=f"6.12.{number}-1",
        devel_package=f"linux-headers-{release}=6.12.{number}-1" if devel else "",
        image_packages=(f"linux-image-{release}=6.12.{number}-1",),
        in_image=in_image,
        devel=devel,
    )


def release(number: int) -> str:
    return f"6.12.{number}-test"


def offer(
    parent: Candidate,
    numbers: Sequence[int],
    *,
    dropped: Mapping[int, str] | None = None,
    modules: Mapping[str, str] | None = None,
    userspace: Mapping[str, str] | None = None,
) -> Offer:
    """Return what repositories offer: kernels newest first; `dropped` ones are not worth a compile."""
    from pipeline.domain.kernel import Dropped  # noqa: PLC0415 - read where it is used

    everything = tuple(kernel(number) for number in numbers)
    reasons = {release(number): reason for number, reason in (dropped or {}).items()}
    return Offer(
        parent=parent,
        candidates=everything,
        kept=tuple(one for one in everything if one.release not in reasons),
        dropped=tuple(Dropped(release=name, reason=reason) for name, reason in reasons.items()),
        modules=modules or VERSIONS,
        userspace=userspace or USERSPACE,
    )


def module(folder: Path, name: str, userspace: tuple[str, ...] = ()) -> ResolvedModule:
    return ResolvedModule(
        name=name,
        containerfile=folder / f"modules-{name}.Containerfile",
        dkms=name,
        package=f"{name}-dkms",
        kernel_modules=(name,),
        userspace=userspace,
    )


def make_yard(folder: Path) -> Yard:
    """Write a line to a folder: the upstream `debian-13`, the base `base` with nvidia and zfs."""
    containerfiles = folder / "Containerfiles" / "debian"
    containerfiles.mkdir(parents=True)
    (containerfiles / "base.Containerfile").write_text(
        "ARG UPSTREAM\nFROM ${UPSTREAM}\n# pipeline:modules\nRUN depmod\n"
    )
    (containerfiles / "upstream.Containerfile").write_text("FROM scratch\nADD rootfs.tar /\n")
    (containerfiles / "helper.sh").write_text("true\n")
    for name in VERSIONS:
        (containerfiles / f"modules-{name}.Containerfile").write_text("FROM x\n")
    images = folder / "images"
    (images / "keys").mkdir(parents=True)
    (images / "keys/release.pub").write_text(KEY)
    common = {
        "line": "debian",
        "description": "",
        "package_manager": "apt",
        "kernel_flavour": "amd64",
        "persistence": Persistence(),
        "gates": WAIVED,
    }
    upstream = Upstream(
        **common,  # type: ignore[arg-type]
        name="debian-13",
        file="images/debian/upstream/debian-13.toml",
        parent=None,
        containerfile=containerfiles / "upstream.Containerfile",
        source=Bootstrap(suite="trixie", packages=("systemd",), containerfile="upstream.Containerfile"),
    )
    base = Base(
        **common,  # type: ignore[arg-type]
        name="base",
        file="images/debian/base/base.toml",
        parent="debian-13",
        containerfile=containerfiles / "base.Containerfile",
        packages=("tmux", "zfsutils-linux"),
        modules=(module(containerfiles, "nvidia"), module(containerfiles, "zfs", ("zfsutils-linux",))),
    )
    return make_yard_of(World(folder / "state"), images, upstream, base)


def make_yard_of(world: World, images: Path, upstream: Upstream, *more: AnyImage) -> Yard:
    """Return a yard for images of the line; the first of `more` is the base."""
    base = more[0]
    assert isinstance(base, Base)
    line = Line(
        name="debian",
        folder=images / "debian",
        containerfiles=images.parent / "Containerfiles" / "debian",
        images={one.name: one for one in (upstream, *more)},
    )
    settings = Settings(registry=RegistrySettings(url="127.0.0.1:5000/os", insecure=True))
    run = Run(
        catalogue=Catalogue(settings=settings, lines={"debian": line}),
        engine=FakeEngine(world),
        store=world,
        ledger=world,
        folders=world,
        reporter=world,
        open_tree=world.open_tree,
        source=SourceState(commit="a" * 40, clean=True),
        builder=Builder(identity="ada@laptop", host="workstation"),
        author="Ada",
        timestamp=1_700_000_000,
        clock=lambda: NOW,
        files=SourceFiles(images),
        prover=FakeProver(world),
    )
    return Yard(world=world, images=images, upstream=upstream, base=base, run=run)
