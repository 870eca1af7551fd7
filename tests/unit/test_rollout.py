"""A fleet in waves: order, the limit on failures, what is left, hosts apart from one another."""

from __future__ import annotations

import threading

import pytest
from hostfakes import MemoryAccess, MemoryLedger, driver, journal, order, waiting
from hostmachine import Machine, machine_state

from pipeline.errors import HostError, InterruptedRunError, UsageError
from pipeline.verbs.host_journal import HostOrder
from pipeline.verbs.hosts import HostOutcome, switch_host
from pipeline.verbs.rollout import HostReport, Waves, roll_out

ORDERS = [order(1, host=f"web{number}") for number in range(1, 11)]


class Fleet:
    """Hosts in memory; some fail. Counts how many are under way at once."""

    def __init__(self, *failing: str) -> None:
        self.failing = failing
        self.ledger = MemoryLedger()
        self.journal = journal(self.ledger)
        self.begun: list[str] = []
        self.most = 0
        self._now = 0
        self._lock = threading.Lock()

    def switch(self, wanted: HostOrder) -> HostOutcome:
        with self._lock:
            self.begun.append(wanted.host)
            self._now += 1
            self.most = max(self.most, self._now)
        try:
            if wanted.host in self.failing:
                raise HostError(f"{wanted.host} cannot be reached", hint="look")
            access = MemoryAccess(Machine(machine_state("bootc", 2, 1)))
            return switch_host(driver(access), wanted, journal=self.journal, waiting=waiting())
        finally:
            with self._lock:
                self._now -= 1


def test_waves_begin_small() -> None:
    sizes = [len(wave) for wave in Waves(first=1, size=4).split(ORDERS)]
    assert sizes == [1, 4, 4, 1]
    assert list(Waves().split([])) == []


def test_all_hosts_are_switched_and_recorded() -> None:
    fleet = Fleet()
    seen: list[HostReport[HostOutcome]] = []
    found = roll_out(ORDERS, fleet.switch, waves=Waves(first=2, size=4), on_host=seen.append)
    assert [one.order.host for one in found.hosts] == [one.host for one in ORDERS]
    assert all(one.outcome for one in found.hosts)
    assert (len(seen), found.failed, found.left) == (10, (), ())
    assert fleet.most <= 4
    assert sorted(fleet.ledger.steps) == sorted(["wanted", "staged", "booted"] * 10)


def test_a_canary_that_fails_ends_it() -> None:
    fleet = Fleet("web1")
    found = roll_out(ORDERS, fleet.switch, waves=Waves(first=1, size=4))
    assert fleet.begun == ["web1"]
    assert (len(found.failed), len(found.left)) == (1, 9)


def test_failures_within_the_limit_are_borne_and_one_more_ends_it() -> None:
    within = roll_out(ORDERS, Fleet("web2").switch, waves=Waves(first=1, size=3, failures=1))
    assert (len(within.failed), len(within.left)) == (1, 0)
    beyond = roll_out(ORDERS, Fleet("web2", "web3").switch, waves=Waves(first=1, size=3, failures=1))
    assert len(beyond.failed) == 2
    assert len(beyond.left) >= 6


def test_an_interruption_is_no_failure_of_a_host() -> None:
    def ended(_: HostOrder) -> HostOutcome:
        raise InterruptedRunError("ended", hint="run it again")

    stopped: list[str] = []
    with pytest.raises(InterruptedRunError):
        roll_out(ORDERS, ended, waves=Waves(), stop=lambda: stopped.append("the others"))
    assert stopped == ["the others"]


@pytest.mark.parametrize("wrong", [{"first": 0}, {"size": 0}, {"failures": -1}])
def test_waves_without_hosts_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(UsageError):
        Waves(**wrong)


def test_a_host_is_named_once() -> None:
    with pytest.raises(UsageError, match="twice"):
        roll_out([order(1), order(1)], Fleet().switch, waves=Waves())
