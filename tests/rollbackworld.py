"""A project with released hosts, for tests of the way back: real registry, real git remote, a host on disk.

The host is the stand-in of `hostmachine`, its state a file, so that it outlives a run that was killed. A
rollback in a process of its own can be told to die at one of its moments.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import itertools
import json
import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from hostfakes import MemoryAccess, driver
from hostmachine import Machine, State, machine_state
from ledgers import git, ledger
from records import NOON, candidate, digest, seal

from images import TinyImage, push, tiny_image
from pipeline.adapters.ledger import Ledger
from pipeline.adapters.registry import Registry
from pipeline.adapters.transport import Patience
from pipeline.domain.diff.difference import Difference
from pipeline.domain.events import Stage
from pipeline.domain.hostcontrol.rollback import RollbackOutcome
from pipeline.domain.image import Digest, ImageRef, Repository, Tier
from pipeline.domain.record import Candidate, Parent, Record, RecordedPins
from pipeline.domain.release import Deployment, Seal
from pipeline.errors import NotFoundError, PipelineError
from pipeline.verbs.hosts import HostDriver, Waiting
from pipeline.verbs.rollback import Rolling, Unsafe, rollback
from pipeline.verbs.rollback_ledger import OpenLedger
from pipeline.verbs.rollback_target import Ways

WHY = "2.1 loses mail"
VERSIONS = ("1.0.0", "2.0.0", "2.1.0")


class Silent:
    """A reporter that shows nothing and remembers its notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    @contextlib.contextmanager
    def stage(self, name: str, *, log: str | None = None) -> Iterator[Stage]:
        yield self

    def line(self, text: str) -> None:
        """Not kept."""

    def note(self, text: str) -> None:
        self.notes.append(text)


def instance(host: str, number: int, repository: Repository, **changes: object) -> Candidate:
    """A candidate of a host's image on a base with ZFS."""
    fresh: dict[str, object] = {
        "image": host,
        "tier": Tier.INSTANCE,
        "repository": repository,
        "digest": digest(number),
        "parent": Parent(image="debian/base", digest=digest(900)),
        "pins": RecordedPins(kernel="6.12.94", kernel_devel="6.12.94-1", modules={"zfs": "2.3.2"}),
    }
    return candidate(number, **{**fresh, **changes})


def ticking() -> dt.datetime:
    """Another time at each look, in every process, so that a step recorded twice is seen twice."""
    return NOON + dt.timedelta(days=2, seconds=time.monotonic_ns() // 1_000_000)


def at_once() -> Waiting:
    now = itertools.count()
    return Waiting(reboot_seconds=60, every_seconds=5, clock=lambda: float(next(now)), sleep=lambda _: None)


def no_difference(runs: ImageRef, wanted: ImageRef) -> Difference:
    raise NotFoundError(f"{runs} is gone", hint="look elsewhere")


class FileAccess(MemoryAccess):
    """Commands on a host whose state is a file."""

    def __init__(self, path: Path) -> None:
        super().__init__(Machine(json.loads(path.read_text())))
        self.path = path

    def ask(self, argv: Sequence[str], *, timeout: float = 60) -> Any:
        self.machine.state = json.loads(self.path.read_text())
        try:
            return super().ask(argv, timeout=timeout)
        finally:
            fresh = self.path.with_suffix(".new")
            fresh.write_text(json.dumps(self.machine.state))
            fresh.rename(self.path)


@dataclasses.dataclass
class World:
    """The project; `images` are the releases of each host, by version."""

    folder: Path
    registry: str
    hosts: tuple[str, ...] = ("web1",)

    def __post_init__(self) -> None:
        self.hub = self.folder / "hub.git"
        self.clones = itertools.count()
        self.images: dict[tuple[str, str], TinyImage] = {}

    def begin(self) -> World:
        """Push three releases of each host and record them; their channels name the last."""
        self.folder.mkdir(parents=True, exist_ok=True)
        git(self.folder, "init", "-q", "--bare", str(self.hub))
        records: list[Record] = []
        for (at, host), (minor, version) in itertools.product(enumerate(self.hosts), enumerate(VERSIONS)):
            image = tiny_image(text=f"{host} {version}")
            self.images[host, version] = image
            push(self.store(), self.repository(host), image, f"v{version}")
            made = instance(host, 10 * at + minor, self.repository(host), digest=image.digest)
            records += [made, seal(version, of=made)]
        self.ledger().append(records)
        shutil.copytree(self.hub, self.folder / "first.git")
        return self.again()

    def again(self) -> World:
        """Let everything be as it was before the first rollback."""
        shutil.rmtree(self.hub)
        shutil.copytree(self.folder / "first.git", self.hub)
        for host in self.hosts:
            self.store().put_manifest(self.repository(host), "current", self.images[host, "2.1.0"].manifest)
            self.become(host, machine_state("bootc"), "2.1.0", "2.0.0")
        return self

    def store(self, host: str = "") -> Registry:
        return Registry(
            host or self.registry, insecure=True, patience=Patience(attempts=2, sleep=lambda _: None)
        )

    def ledger(self) -> Ledger:
        """A clone's ledger, of a machine that never saw it before."""
        path = self.folder / f"clone-{os.getpid()}-{next(self.clones)}"
        git(self.folder, "init", "-q", str(path))
        git(path, "remote", "add", "origin", str(self.hub))
        return ledger(path, remote="origin")

    def repository(self, host: str) -> Repository:
        return Repository(registry=self.registry, path=f"{self.folder.name}/debian/{host}")

    def digest(self, version: str, host: str = "web1") -> Digest:
        return self.images[host, version].digest

    def channel(self, host: str = "web1") -> Digest:
        return self.store().resolve(self.repository(host).tagged("current")).digest

    def become(self, host: str, state: State, *versions: str) -> None:
        """Let a host have these releases installed, the first of them booted."""
        tag = str(self.repository(host).tagged("current"))
        entries = [
            {"reference": tag, "digest": str(self.digest(one, host)), "masked": [], "pinned": False}
            for one in versions
        ]
        state |= {"entries": entries, "tags": {tag: str(self.digest(versions[0], host))}}
        self.host_file(host).write_text(json.dumps(state))

    def host_file(self, host: str) -> Path:
        return self.folder / f"{host}.json"

    def machine(self, host: str = "web1") -> Machine:
        return Machine(json.loads(self.host_file(host).read_text()))

    def runs(self, host: str = "web1") -> str:
        state = self.machine(host).state
        return str(state["entries"][state["booted"]]["digest"])

    def reach(self, host: str) -> HostDriver:
        return driver(FileAccess(self.host_file(host)))

    def rolling(self, *, host: bool = False, offline: bool = False, **changes: Any) -> Rolling:
        return self.rolling_with(self.ledger(), host=host, offline=offline, **changes)

    def rolling_with(
        self, book: Ledger, *, host: bool = False, offline: bool = False, **changes: Any
    ) -> Rolling:
        base: dict[str, Any] = {
            "ledger": changes.get("ledger") or OpenLedger(book, offline=offline),
            "store": lambda _: self.store(),
            "verifier": lambda _: (),
            "comparer": no_difference,
            "reach": self.reach if host else None,
            "waiting": at_once(),
            "clock": ticking,
            "author": "Ada <ada@example.org>",
            "reporter": Silent(),
            "unsafe": Unsafe(offline=offline),
        }
        return Rolling(**{**base, **changes})

    def roll(self, host: str, version: str, rolling: Rolling) -> RollbackOutcome:
        return rollback(Ways(rolling.ledger.records).to(host, version), rolling, why=WHY)

    def steps(self, host: str = "web1") -> list[str]:
        found = [one for one in ledger(self.hub).read() if isinstance(one, Deployment) and one.host == host]
        return [f"{one.step} v{one.version}" for one in found]

    def seals(self) -> list[Seal]:
        return [one for one in ledger(self.hub).read() if isinstance(one, Seal)]


class Mortal:
    """Dies by SIGKILL at one of the run's moments, counted from 1; at 0 it lives."""

    def __init__(self, at: int) -> None:
        self._at = at
        self.seen = 0

    def moment(self) -> None:
        self.seen += 1
        if self.seen == self._at:
            os.kill(os.getpid(), signal.SIGKILL)


class MortalStore(Registry):
    """A registry's client that may die before and after it writes."""

    mortal: Mortal

    def put_manifest(self, repository: Repository, reference: str | Digest, data: bytes) -> Digest:
        self.mortal.moment()
        done = super().put_manifest(repository, reference, data)
        self.mortal.moment()
        return done


class MortalLedger:
    """A ledger that may die before and after it writes."""

    def __init__(self, book: Ledger, mortal: Mortal) -> None:
        self._book, self._mortal = book, mortal
        self.read, self.kept = book.read, book.kept

    def append(
        self, records: Sequence[Record], *, check: Callable[[tuple[Record, ...]], None] | None = None
    ) -> str:
        self._mortal.moment()
        done = self._book.append(records, check=check)
        self._mortal.moment()
        return done


class MortalAccess(FileAccess):
    """A host on which a run may die before and after each command that changes it."""

    mortal: Mortal

    def ask(self, argv: Sequence[str], *, timeout: float = 60) -> Any:
        if argv[1] not in ("rollback", "stop", "start", "reboot", "mask", "unmask"):
            return super().ask(argv, timeout=timeout)
        self.mortal.moment()
        try:
            return super().ask(argv, timeout=timeout)
        finally:
            self.mortal.moment()


def _main(world: World, moment: int, host: bool) -> None:  # noqa: FBT001 - the arguments of a process
    mortal = Mortal(moment)
    store = MortalStore(world.registry, insecure=True, patience=Patience(attempts=2, sleep=lambda _: None))
    store.mortal = mortal

    def reach(name: str) -> HostDriver:
        access = MortalAccess(world.host_file(name))
        access.mortal = mortal
        return driver(access)

    rolling = world.rolling(
        ledger=OpenLedger(MortalLedger(world.ledger(), mortal)),
        store=lambda _: store,
        reach=reach if host else None,
    )
    try:
        world.roll("web1", "v2.0", rolling)
    except PipelineError as error:
        said = error.message
    else:
        said = f"{mortal.seen} moments"
    (world.folder / "said").write_text(said)


def in_a_process(world: World, moment: int, *, host: bool) -> str:
    """Roll back in a process of its own; return what came of it, or "killed"."""
    said = world.folder / "said"
    said.unlink(missing_ok=True)
    process = multiprocessing.get_context("fork").Process(target=_main, args=(world, moment, host))
    process.start()
    process.join(120)
    assert process.exitcode in (0, -signal.SIGKILL), process.exitcode
    return said.read_text() if process.exitcode == 0 else "killed"
