"""Hosts over a real sshd: quoting, keys of hosts, what a host says, rollbacks, a driver killed anywhere."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pytest
from bootcdata import HOSTS, published_bootc
from hostbench import HostBench
from hostfakes import MemoryLedger, journal, order, proven
from hostmachine import TIMER, Machine, digest, entry, fresh, machine_state
from hostrun import in_a_process
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ledgers import checkout, ledger

from pipeline.adapters.hostaccess import NOT_FOUND, LocalAccess, SshAccess
from pipeline.adapters.hosts import driver_for
from pipeline.adapters.process import Processes
from pipeline.domain.hostcontrol.address import Address
from pipeline.domain.hostcontrol.state import System
from pipeline.domain.release import Deployment
from pipeline.errors import HostError, UsageError
from pipeline.verbs.hosts import HostOutcome, Result, Waiting, switch_host

pytestmark = pytest.mark.engine

WAITING = Waiting(reboot_seconds=30, every_seconds=0.1)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostBench]:
    with HostBench(tmp_path_factory.mktemp("host")) as host:
        yield host


@pytest.fixture
def processes() -> Processes:
    return Processes(environment=os.environ)


def reach(bench: HostBench, user: str = "root", **changes: object) -> SshAccess:
    address = Address(host=bench.address, user=user)
    return SshAccess(Processes(environment=os.environ), address, **bench.ssh(**changes))


def switch(
    bench: HostBench, number: int, book: MemoryLedger | None = None, *, channel: bool = False
) -> HostOutcome:
    wanted, records = order(number, channel=channel), journal(book or MemoryLedger())
    return switch_host(driver_for(reach(bench)), wanted, journal=records, waiting=WAITING)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12), max_size=4))
def test_no_argument_reaches_the_far_shell_unquoted(bench: HostBench, words: list[str]) -> None:
    bench.become(machine_state("bootc", 1))
    answer = reach(bench).ask(["printf", "%s\\0", *words])
    assert (answer.code, answer.stdout.split("\0")[:-1]) == (0, words or [""])


def test_a_command_line_in_an_argument_stays_an_argument(bench: HostBench, tmp_path: Path) -> None:
    bench.become(machine_state("bootc", 1))
    trap = tmp_path / "trap"
    for words in (
        f"$(touch {trap})",
        f"; touch {trap}",
        f"`touch {trap}`",
        f"\n touch {trap}\n",
        f"'; touch {trap}'",
    ):
        assert reach(bench).ask(["echo", words]).code == 0
    assert not trap.exists()


def test_codes_streams_and_programs_that_are_not_there(bench: HostBench) -> None:
    bench.become(machine_state("bootc", 1))
    answer = reach(bench).ask(["sh", "-c", "echo out; echo err >&2; exit 7"])
    assert (answer.code, answer.stdout, answer.stderr) == (7, "out\n", "err\n")
    assert reach(bench).ask(["no-such-program"]).code == NOT_FOUND


def test_several_commands_over_one_connection_are_told_apart(bench: HostBench) -> None:
    bench.become(machine_state("bootc", 1))
    out, missing, err, quoted = reach(bench).ask_all(
        [
            ["echo", "a\nb"],
            ["no-such-program"],
            ["sh", "-c", "echo e >&2; exit 3"],
            ["printf", "%s", "'; exit 9; '"],
        ]
    )
    assert (out.code, out.stdout, out.stderr) == (0, "a\nb\n", "")
    assert (missing.code, missing.stdout) == (NOT_FOUND, "")
    assert (err.code, err.stdout, err.stderr) == (3, "", "e\n")
    assert (quoted.code, quoted.stdout) == (0, "'; exit 9; '")


def test_a_host_that_speaks_between_answers_is_refused(bench: HostBench) -> None:
    bench.become(machine_state("bootc", 1))
    with pytest.raises(HostError, match="did not answer all"):
        reach(bench).ask_all([["printf", "\\036-- next answer --\\036"], ["true"]])


def test_a_host_whose_key_is_not_known_is_refused(bench: HostBench, tmp_path: Path) -> None:
    bench.become(machine_state("bootc", 1))
    empty, other = tmp_path / "empty", tmp_path / "other keys"
    empty.write_text("")
    with pytest.raises(HostError, match="key"):
        reach(bench, known_hosts=empty).ask(["true"])
    assert empty.read_text() == "", "a key is never learned"
    other.write_text(f"{bench.address} {(bench.folder / 'id.pub').read_text()}")
    with pytest.raises(HostError, match="is not the one in"):
        reach(bench, known_hosts=other).ask(["true"])
    with pytest.raises(HostError, match="no file"):
        reach(bench, known_hosts=tmp_path / "none").ask(["true"])


def test_a_known_hosts_file_may_have_a_space_in_its_name(bench: HostBench, tmp_path: Path) -> None:
    bench.become(machine_state("bootc", 1))
    spaced = tmp_path / "known 100% hosts"
    spaced.write_text(bench.known_hosts.read_text())
    assert reach(bench, known_hosts=spaced).ask(["true"]).code == 0


def test_a_login_that_is_refused_and_a_port_that_is_closed_are_told(bench: HostBench, tmp_path: Path) -> None:
    bench.become(machine_state("bootc", 1))
    wrong = tmp_path / "wrong"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(wrong)], check=True)
    with pytest.raises(HostError, match="Permission denied"):
        reach(bench, identity=wrong).ask(["true"])
    closed = SshAccess(Processes(environment=os.environ), Address(host=bench.address, port=23), **bench.ssh())
    with pytest.raises(HostError, match="cannot be reached"):
        closed.ask(["true"])


def test_a_command_that_takes_too_long_is_ended(bench: HostBench) -> None:
    bench.become(machine_state("bootc", 1))
    with pytest.raises(HostError, match="did not end"):
        reach(bench).ask(["sleep", "3"], timeout=1)
    bench.settle()


def test_who_is_not_root_asks_sudo_without_a_terminal(bench: HostBench) -> None:
    assert reach(bench, user="ops").argv(["bootc", "status"])[-1] == "sudo -n -- env bootc status"


@pytest.mark.parametrize(
    "text",
    ["ssh://-oProxyCommand=x", "ssh://a b", "ssh://x;y", "ssh://u:p@h", "ssh://h:0", "ssh://h:70000", "http://h",
     "ssh://", "ssh://h/path", "ssh://-h", "ssh://u$(x)@h", "h", "ssh://h\n", "ssh://-l@h"],
)  # fmt: skip
def test_addresses_that_could_be_something_else_are_refused(text: str) -> None:
    with pytest.raises(UsageError):
        Address.parse(text)


def test_addresses() -> None:
    assert Address.parse("local:") is None
    assert Address.parse("ssh://ops@web1.example.org:2222") == Address(
        host="web1.example.org", user="ops", port=2222
    )
    assert str(Address.parse("ssh://[::1]")) == "ssh://root@[::1]:22"


def test_this_machine_is_asked_directly(processes: Processes) -> None:
    access = LocalAccess(processes)
    assert access.ask(["echo", "a b"]).stdout == "a b\n"
    assert access.ask(["no-such-program"]).code == NOT_FOUND
    with pytest.raises(HostError, match="did not end"):
        access.ask(["sleep", "60"], timeout=0.2)
    with pytest.raises(HostError, match="neither by bootc nor"):
        driver_for(access)


def test_each_system_is_found_by_asking(bench: HostBench) -> None:
    for system in System:
        bench.become(machine_state(system.value, 3, 2, 1))
        assert driver_for(reach(bench)).system is system
    bench.become({**machine_state("none", 1), "system": "debian"})
    with pytest.raises(HostError, match="neither by bootc nor"):
        driver_for(reach(bench))


def test_a_rollback_over_ssh_reboots_the_host_and_reads_back_what_booted(bench: HostBench) -> None:
    bench.become(machine_state("bootc", 2, 1))
    book = MemoryLedger()
    outcome = switch(bench, 1, book)
    assert [step.action.value for step in outcome.steps] == ["pause", "rollback", "reboot", "hold", "hold"]
    assert proven(outcome)
    assert book.steps == ["wanted", "staged", "booted"]
    machine = bench.machine
    assert machine.state["boots"] == 1
    assert machine.state["entries"][machine.state["booted"]]["masked"] == [f"pipeline-holds-{TIMER}", TIMER]
    assert switch(bench, 1, book).result is Result.UNCHANGED
    freed = switch(bench, 1, book, channel=True)
    assert [step.action.value for step in freed.steps] == ["free", "free", "free"]
    state = bench.machine.state
    assert (state["entries"][state["booted"]]["masked"], state["timers"][TIMER]["active"]) == ([], True)
    assert book.steps == ["wanted", "staged", "booted"], "nothing new is to be told"


@pytest.mark.parametrize("system", ["bootc", "rpm-ostree", "kairos"])
def test_a_switch_over_ssh(bench: HostBench, system: str) -> None:
    bench.become(machine_state(system, 3, 2, 9))
    outcome = switch(bench, 1)
    assert proven(outcome)
    assert bench.machine.state["boots"] == 1


def test_a_kairos_fallback_over_ssh_is_made_durable(bench: HostBench) -> None:
    bench.become(machine_state("kairos", 2, 1, 9))
    outcome = switch(bench, 1)
    assert [step.action.value for step in outcome.steps] == ["select", "reboot", "make-durable"]
    assert [one["digest"] for one in bench.machine.state["entries"]] == [digest(1), digest(1), digest(9)]


def test_a_staged_update_is_replaced_never_dropped_silently(bench: HostBench) -> None:
    bench.become(machine_state("bootc", 2, 1, staged=entry(3)))
    outcome = switch(bench, 1)
    assert bench.machine.count("bootc", "rollback") == 0
    assert any("staged update" in fact for fact in outcome.facts)


def test_a_boot_that_falls_back_is_a_failure(bench: HostBench) -> None:
    bench.become(machine_state("bootc", 3, 2, boot_fails=True))
    book = MemoryLedger()
    with pytest.raises(HostError, match="rebooted and runs"):
        switch(bench, 1, book)
    assert book.steps == ["wanted", "staged", "failed"]


@pytest.mark.parametrize("host", HOSTS)
def test_what_the_far_bootc_says_has_the_published_form(bench: HostBench, host: str) -> None:
    bench.become(fresh(HOSTS[host]))
    schema = json.loads((published_bootc() / "host-v1.schema.json").read_text())
    said = reach(bench).ask(["bootc", "status", "--json"])
    jsonschema.Draft202012Validator(schema).validate(json.loads(said.stdout))


@pytest.mark.parametrize("host", ["a queued rollback", "held back", "pinned", "unknown", "few keys"])
def test_a_host_in_any_state_is_brought_there(bench: HostBench, host: str) -> None:
    bench.become(fresh(HOSTS[host]))
    assert proven(switch(bench, 4))
    machine = bench.machine
    assert machine.state["entries"][machine.state["booted"]]["digest"] == digest(4)
    assert machine.count("bootc", "rollback") == 0, "the wanted image is not the fallback"
    assert [one for one in machine.state["entries"] if one["pinned"]] == (
        [one for one in HOSTS[host]["entries"] if one["pinned"]]
    )


def at_moment(bench: HostBench, repo: Path, moment: int) -> str:
    return in_a_process(f"ssh://{bench.address}", bench.known_hosts, bench.identity, repo, moment)


def completed(bench: HostBench, repo: Path) -> None:
    """Run the same command until the host is neither at work on what was asked nor down for its reboot."""
    for _ in range(120):
        said = at_moment(bench, repo, 0)
        if said.endswith("moments"):
            return
        assert "right now: bootc" in said or "cannot be reached" in said, said
        time.sleep(0.05)
    raise AssertionError("the host stayed at work")


def test_a_driver_killed_at_any_moment_is_completed_by_the_same_command(
    bench: HostBench, tmp_path: Path
) -> None:
    moment = 0
    while True:
        moment += 1
        repo = tmp_path / str(moment)
        checkout(repo)
        bench.become(machine_state("bootc", 2, 1))
        first = at_moment(bench, repo, moment)
        if first != "killed":
            break
        completed(bench, repo)
        machine: Machine = bench.machine
        state = machine.state
        assert state["entries"][state["booted"]]["digest"] == digest(1), moment
        assert machine.count("bootc", "rollback") == 1, (moment, json.dumps(state["log"]))
        assert machine.count("systemctl", "mask", "--now") >= 1
        steps = [one.step.value for one in ledger(repo).read() if isinstance(one, Deployment)]
        assert steps == ["wanted", "staged", "booted"], (moment, steps)
        bench.settle()
    assert first == "10 moments", "three records, five commands, two of them also halfway"
    assert moment == 11
