"""Brings a host to a release in a process of its own, which can be told to die at one of its moments.

A moment is the end of a recorded step, the end of a command on the host or the middle of one that takes its
time, counted from 1; at 0 it lives.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

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
from pipeline.errors import PipelineError
from pipeline.verbs.host_journal import HostJournal
from pipeline.verbs.hosts import HostDriver, Waiting, switch_host

SLOW = 0.8
"""Seconds that a rollback takes in whose middle a run dies: the next one comes while it is under way."""


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Mortal:
    """A driver and a ledger that die at their moment."""

    def __init__(self, driver: HostDriver, ledger: LedgerWriter, at: int, folder: Path) -> None:
        self._folder = folder
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
            (self._folder / "slow").write_text(str(SLOW))
            threading.Thread(target=self._die_within, args=(step,), daemon=True).start()
        self._driver.carry_out(step)
        if self._moment():
            die()

    def _die_within(self, step: PlanStep) -> None:
        """Die when the far side is at work on a step."""
        while not self._at_work(step):
            time.sleep(0.005)
        die()

    def _at_work(self, step: PlanStep) -> bool:
        if step.action is Action.ROLLBACK:
            return any(self._folder.glob("working-*"))
        log = json.loads((self._folder / "state.json").read_text())["log"]
        return bool(log[-1:] == [list(step.argv)])

    def append(self, records: Sequence[Record]) -> str:
        done = self._ledger.append(records)
        if self._moment():
            die()
        return done


def main(address: str, known_hosts: Path, identity: Path, repo: Path, moment: int) -> None:
    """Run to the end, or to that moment; what came of it is written beside the ledger's repository."""
    place = Address.parse(address)
    assert place is not None
    processes = Processes(environment=os.environ)
    access = SshAccess(processes, place, known_hosts=known_hosts, identity=identity)
    book = ledger(repo)
    mortal = Mortal(BootcHost(access), book, moment, known_hosts.parent)
    journal = HostJournal(mortal, book.read(), clock=lambda: NOON, author="Ada <ada@example.org>")
    waiting = Waiting(reboot_seconds=30, every_seconds=0.1)
    try:
        switch_host(mortal, order(1), journal=journal, waiting=waiting)
    except PipelineError as error:
        said = error.message
    else:
        said = f"{mortal.seen} moments"
    repo.with_suffix(".said").write_text(said)


def in_a_process(*arguments: Any) -> str:
    """Run `main` in a process of its own; return what came of it, or "killed"."""
    said: Path = arguments[3].with_suffix(".said")
    said.unlink(missing_ok=True)
    process = multiprocessing.get_context("fork").Process(target=main, args=arguments)
    process.start()
    process.join(120)
    assert process.exitcode in (0, -signal.SIGKILL), process.exitcode
    return said.read_text() if process.exitcode == 0 else "killed"
