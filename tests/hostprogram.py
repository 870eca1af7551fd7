"""The stand-in host as programs behind a real sshd: state in a folder, reboots, answers that are kept.

A run has hundreds of these, each a process: what only changes with the state is answered without Python.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import sys
import time

from hostmachine import Machine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path

    from hostmachine import Answer, State


LONGEST = 200
"""Characters of a command by which its answer is known: a file's name has an end."""


def _kept(folder: Path, argv: list[str]) -> Answer:
    """Answer with the state in a folder, one command at a time."""
    if argv in (["systemctl", "reboot"], ["reboot"]):
        with (folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            state = json.loads((folder / "state.json").read_text())
            if not state.get("reboot_refused"):
                state["log"].append(argv)
                _save(folder, state)
                _begin_reboot(folder)
                return 0, "", ""
    if argv[1:2] in (["status"], ["show"], ["state"], ["get"]):
        return _looked(folder, argv)
    if argv[1:2] in (["switch"], ["rollback"], ["rebase"], ["upgrade"]):
        return _at_work(folder, argv)
    return _locked(folder, argv)


def _at_work(folder: Path, argv: list[str]) -> Answer:
    """A command that takes long works outside the lock and writes at its end, as a pull does."""
    mark = folder / f"working-{os.getpid()}"
    mark.touch()
    try:
        time.sleep(float((folder / "slow").read_text()))
        return _locked(folder, argv)
    finally:
        mark.unlink()


def _locked(folder: Path, argv: list[str]) -> Answer:
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        machine = Machine(json.loads((folder / "state.json").read_text()))
        answer = machine.run(argv)
        _save(folder, machine.state)
    return answer


def _looked(folder: Path, argv: list[str]) -> Answer:
    """A command that changes nothing; its answer is kept until something does."""
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        answer = Machine(json.loads((folder / "state.json").read_text())).run(argv)
        kept = folder / "answers" / " ".join(argv)[:LONGEST]
        if answer[0] in (0, 127) and "/" not in kept.name:
            kept.with_name(f"{kept.name}.code").write_text(f"{answer[0]}\n")
            (folder / "answer.new").write_text(answer[1])
            (folder / "answer.new").rename(kept)
    return answer


def _save(folder: Path, state: State) -> None:
    for kept in (folder / "answers").iterdir():
        kept.unlink()
    # In place: the boot id's file is bound over the kernel's, so it must stay the same file.
    (folder / "state.new").write_text(json.dumps(state))
    (folder / "state.new").rename(folder / "state.json")
    (folder / "boot_id").write_text(state["boot_id"] + "\n")
    (folder / "stat").write_text(Machine(state).stat())
    if state["system"] == "kairos":
        (folder / "state.yaml").write_text(Machine(state).state_yaml())


def script(folder: Path, name: str) -> str:
    """One of the host's programs, as a script; an answer that was kept needs no Python."""
    kept = f"""f={folder}/answers/"$(printf %.{LONGEST}s "{name} $*")"
if [ -f "$f" ] && read code <"$f.code"; then cat "$f" && exit "$code"; fi"""
    working = f"""for f in {folder}/working-*; do [ -e "$f" ] && echo 4711 && exit 0; done
exit 1"""
    words = " ".join(f"'{word}'" for word in (*program(folder), name))
    return f'#!/bin/sh\n{working if name == "pgrep" else kept}\nexec {words} "$@"\n'


def program(folder: Path) -> list[str]:
    """The command that answers with the state in a folder; the words of the host's command follow it."""
    # Imported, not run as a file: only then is the compiled form kept.
    here = str(os.path.dirname(__file__))  # noqa: PTH120
    code = f'import sys, pathlib; sys.path.insert(0, "{here}"); import hostprogram'
    call = f'raise SystemExit(hostprogram.main(pathlib.Path("{folder}"), sys.argv[1:]))'
    return [sys.executable, "-I", "-S", "-c", f"{code}; {call}"]


def _begin_reboot(folder: Path) -> None:
    import subprocess  # noqa: PLC0415

    subprocess.Popen(
        [*program(folder), "--boot"],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip


def _boot(folder: Path) -> None:
    """Go down with every connection, boot, and let sshd answer again."""
    time.sleep(0.05)
    listener = int((folder / "sshd.pid").read_text())
    with open(f"/proc/{listener}/task/{listener}/children") as file:  # noqa: PTH123
        sessions = file.read().split()
    for pid in (listener, *map(int, sessions)):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    machine = Machine(json.loads((folder / "state.json").read_text()))
    machine.boot()
    time.sleep(0.1)
    _save(folder, machine.state)
    begin_sshd(folder)


def begin_sshd(folder: Path) -> None:
    import subprocess  # noqa: PLC0415

    config, log = folder / "sshd_config", folder / "log"
    subprocess.run(["/usr/sbin/sshd", "-f", str(config), "-E", str(log)], check=True)


def main(folder: Path, argv: list[str]) -> int:
    if argv == ["--boot"]:
        _boot(folder)
        return 0
    code, out, err = _kept(folder, argv)
    sys.stdout.write(out)
    sys.stderr.write(err)
    return code
