"""Brings a host to a release in a process of its own, which can be told to die at one of its moments.

Run as `hostrun.py ADDRESS KNOWN_HOSTS IDENTITY LEDGER MOMENT`; a moment is the end of a recorded step, the
end of a command on the host or the middle of one that takes its time, counted from 1; 0 lives. Prints how
many there were.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from hostfakes import order
from ledgers import ledger
from records import NOON

from pipeline.adapters.host_bootc import BootcHost
from pipeline.adapters.hostaccess import SshAccess
from pipeline.adapters.process import Processes
from pipeline.domain.hostcontrol.address import Address
from pipeline.domain.hostcontrol.plan import Action, PlanStep
from pipeline.domain.hostcontrol.state import HostState
from pipeline.domain.hostcontrol.zfs import Pool
from pipeline.domain.record import LedgerWriter, Record
from pipeline.verbs.host_journal import HostJournal
from pipeline.verbs.hosts import HostDriver, Waiting, switch_host

SOON = 0.4
"""Seconds into a command: the far side has it and is at work."""


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Mortal:
    """A driver and a ledger that die at their moment."""

    def __init__(self, driver: HostDriver, ledger: LedgerWriter, at: int) -> None:
        self._driver = driver
        self._ledger = ledger
        self._at = at
        self.seen = 0

    def _moment(self) -> bool:
        self.seen += 1
        return self.seen == self._at

    @property
    def name(self) -> str:
        return self._driver.name

    def state(self) -> HostState:
        return self._driver.state()

    def boot_id(self) -> str:
        return self._driver.boot_id()

    def pools(self) -> tuple[Pool, ...]:
        return self._driver.pools()

    def resume(self, unit: str) -> None:
        self._driver.resume(unit)

    def carry_out(self, step: PlanStep) -> None:
        if step.action in (Action.ROLLBACK, Action.REBOOT) and self._moment():
            threading.Timer(SOON, die).start()
        self._driver.carry_out(step)
        if self._moment():
            die()

    def append(self, records: Sequence[Record]) -> str:
        done = self._ledger.append(records)
        if self._moment():
            die()
        return done


def main(address: str, known_hosts: str, identity: str, repo: str, moment: str) -> None:
    place = Address.parse(address)
    assert place is not None
    access = SshAccess(
        Processes(environment=os.environ), place, known_hosts=Path(known_hosts), identity=Path(identity)
    )
    book = ledger(Path(repo))
    mortal = Mortal(BootcHost(access), book, int(moment))
    journal = HostJournal(mortal, book.read(), clock=lambda: NOON, author="Ada <ada@example.org>")
    switch_host(mortal, order(1), journal=journal, waiting=Waiting(reboot_seconds=30, every_seconds=0.1))
    sys.stdout.write(f"{mortal.seen}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
