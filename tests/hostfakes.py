"""A host in memory behind the real drivers, and what a run on it needs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hostmachine import REPOSITORY, Machine, State, digest
from records import NOON

from pipeline.adapters.host_bootc import BootcHost
from pipeline.adapters.host_kairos import KairosHost
from pipeline.adapters.host_ostree import RpmOstreeHost
from pipeline.adapters.hostaccess import Answer
from pipeline.domain.hostcontrol.plan import at_target
from pipeline.domain.hostcontrol.state import System
from pipeline.domain.hostcontrol.target import Target
from pipeline.domain.image import Digest, ImageRef, Repository
from pipeline.domain.record import Record
from pipeline.domain.release import Deployment
from pipeline.errors import HostError
from pipeline.verbs.host_journal import HostJournal, HostOrder
from pipeline.verbs.hosts import HostOutcome, Waiting

Driver = BootcHost | RpmOstreeHost | KairosHost


class MemoryAccess:
    """Runs commands on a machine in memory; `before` sees each one first."""

    def __init__(self, machine: Machine, before: Callable[[Sequence[str]], None] = lambda _: None) -> None:
        self.machine = machine
        self.before = before
        self.down = 0

    @property
    def name(self) -> str:
        return "ssh://root@web1:22"

    def ask(self, argv: Sequence[str], *, timeout: float = 60) -> Answer:
        self.before(argv)
        if self.down:
            self.down -= 1
            raise HostError("web1 cannot be reached: connection refused", hint="wait")
        code, out, err = self.machine.run(list(argv))
        if argv[-1] == "reboot" and code == 0:
            self.down = 2
            raise HostError("the connection was lost", hint="wait")
        return Answer(code=code, stdout=out, stderr=err)

    def ask_all(self, commands: Sequence[Sequence[str]], *, timeout: float = 60) -> tuple[Answer, ...]:
        return tuple(self.ask(command, timeout=timeout) for command in commands)


class MemoryLedger:
    """Keeps records in memory."""

    def __init__(self) -> None:
        self.records: list[Record] = []

    def append(self, records: Sequence[Record]) -> str:
        self.records.extend(records)
        return "0" * 40

    @property
    def steps(self) -> list[str]:
        return [record.step.value for record in self.records if isinstance(record, Deployment)]


def driver(access: MemoryAccess) -> Driver:
    kinds: dict[str, type[Driver]] = {
        "bootc": BootcHost,
        "rpm-ostree": RpmOstreeHost,
        "kairos": KairosHost,
    }
    return kinds[access.machine.state["system"]](access)


def on(state: State) -> tuple[Machine, Driver]:
    machine = Machine(state)
    return machine, driver(MemoryAccess(machine))


def target(number: int, *, channel: bool = False, zfs: str | None = None, **changes: object) -> Target:
    repository = repository_of(REPOSITORY)
    return Target(
        line="debian",
        image="web1",
        repository=repository,
        digest=Digest(digest(number)),
        version=f"2.0.{number}",
        channel=ImageRef(repository=repository, tag="current") if channel else None,
        zfs=zfs,
        **changes,  # type: ignore[arg-type]
    )


def repository_of(text: str) -> Repository:
    registry, _, path = text.partition("/")
    return Repository(registry=registry, path=path)


def order(number: int, *, channel: bool = False, host: str = "web1", zfs: str | None = None) -> HostOrder:
    return HostOrder(host=host, target=target(number, channel=channel, zfs=zfs), why="2.1 loses mail")


def proven(outcome: HostOutcome) -> bool:
    """Tell whether the host runs the release and stays there."""
    return at_target(outcome.after, outcome.order.target)


def journal(ledger: MemoryLedger) -> HostJournal:
    return HostJournal(ledger, ledger.records, clock=lambda: NOON, author="Ada <ada@example.org>")


def waiting() -> Waiting:
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    return Waiting(reboot_seconds=60, every_seconds=5, clock=lambda: now[0], sleep=sleep)


SYSTEMS = {"bootc": System.BOOTC, "rpm-ostree": System.RPM_OSTREE, "kairos": System.KAIROS}
