"""SSH keys of people, and programs that answer a terminal, for tests of signed decisions."""

from __future__ import annotations

import os
import pty
import shutil
import subprocess
from pathlib import Path

from pipeline.adapters.process import Processes
from pipeline.domain.decision import NAMESPACE

PROCESSES = Processes(environment=os.environ)


def ssh_key(folder: Path, name: str, *options: str, passphrase: str = "") -> Path:
    """Make a key and return the path of its private half."""
    assert shutil.which("ssh-keygen"), "ssh-keygen is missing: apt-get install openssh-client"
    path = folder / name
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", *options, "-N", passphrase, "-C", name, "-f", str(path)],
        check=True,
        stdin=subprocess.DEVNULL,
    )
    return path


def public(key: Path) -> str:
    return key.with_name(f"{key.name}.pub").read_text().strip()


def listed(key: Path, *principals: str, options: str = f'namespaces="{NAMESPACE}"') -> str:
    """A line of a list of signers."""
    names = ",".join(principals or (f"{key.name}@example.org",))
    return " ".join(part for part in (names, options, public(key)) if part) + "\n"


def at_a_terminal(
    argv: list[str], answers: dict[str, str], env: dict[str, str] | None = None
) -> tuple[int, str]:
    """Run a program in a terminal, type an answer when its question shows; return code and screen."""
    pid, screen = pty.fork()
    if pid == 0:
        os.execvpe(argv[0], argv, {**os.environ, **(env or {})})
    shown, left = "", dict(answers)
    while True:
        try:
            data = os.read(screen, 4096)
        except OSError:  # the terminal closes with its last program
            break
        if not data:
            break
        shown += data.decode(errors="replace")
        for question in [one for one in left if one in shown]:
            os.write(screen, f"{left.pop(question)}\n".encode())
    os.close(screen)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), shown
