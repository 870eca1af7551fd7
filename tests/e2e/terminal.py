"""Runs a command on a terminal of its own, where somebody answers."""

from __future__ import annotations

import os
import pty
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path


def at_a_terminal(
    argv: Sequence[str], folder: Path, environment: Mapping[str, str], *, answer: str = ""
) -> tuple[int, str]:
    """Run a command whose standard input and errors are a terminal; return its code and all it printed."""
    ours, theirs = pty.openpty()
    os.write(ours, answer.encode())
    heard: list[bytes] = []

    def listen() -> None:
        while True:
            try:
                data = os.read(ours, 1 << 16)
            except OSError:  # the other end is closed
                return
            if not data:
                return
            heard.append(data)

    listener = threading.Thread(target=listen)
    listener.start()
    done = subprocess.run(
        argv, cwd=folder, stdin=theirs, stdout=subprocess.PIPE, stderr=theirs, text=True, check=False,
        env=dict(environment), timeout=600,
    )  # fmt: skip
    os.close(theirs)
    listener.join()
    os.close(ours)
    return done.returncode, done.stdout + b"".join(heard).decode(errors="replace")
