"""Parent of one long-running program: when the run is ended, everything the program started is ended too.

Why it exists: `podman build` that gets a signal exits at once and leaves the processes of its RUN step
behind, and nobody inherits them. This small program becomes their reaper (PR_SET_CHILD_SUBREAPER) and asks
the kernel for SIGTERM when its own parent dies, so it cleans up after a SIGKILL of `pipeline` as well.

When the program ends by itself, what it left running is ended at once; a left-over that holds our output open
would keep the reader waiting. The engine's own helpers (a rootless podman keeps one) are left alone then.

Order on a signal: first the processes inside containers and other leaves, so that the engine sees its step
fail and removes its working container itself; then, after a grace period, the program; last, everything.

It runs as `python -I -S supervisor.py PROGRAM ARGS…`, so it imports the standard library only. Linux only.
Exit code: the program's own; 128 + signal when it was ended by a signal.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_GRACE_SECONDS = 2.0
_ENGINE_GRACE_SECONDS = 10.0
"""An engine whose step has ended may still be writing; cut short, it leaves its working container."""
_ENGINE_PROGRAMS = frozenset({"podman", "buildah", "runc", "crun", "conmon", "catatonit", "fuse-overlayfs"})


def descendants(pid: int) -> list[int]:
    """Return all live processes below `pid`, children before grandchildren."""
    found: list[int] = []
    todo = [pid]
    while todo:
        current = todo.pop()
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{current}/task").iterdir():
                children = [int(word) for word in (task / "children").read_text().split()]
                found.extend(children)
                todo.extend(children)
    return found


def _in_container(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/ns/pid").stat().st_ino != Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        return False


def _is_engine(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/exe").readlink().name in _ENGINE_PROGRAMS
    except OSError:
        return False


def _kill(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def _end_leaves(program: int) -> None:
    for pid in descendants(os.getpid()):
        if pid == program:
            continue
        if _in_container(pid) or (not _is_engine(pid) and not descendants(pid)):
            _kill(pid, signal.SIGKILL)


def _end(child: subprocess.Popen[bytes]) -> None:
    grace = _ENGINE_GRACE_SECONDS if _is_engine(child.pid) else _GRACE_SECONDS
    deadline = time.monotonic() + grace
    while child.poll() is None and time.monotonic() < deadline:
        _end_leaves(child.pid)
        time.sleep(0.1)
    if child.poll() is None:
        _kill(child.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(_ENGINE_GRACE_SECONDS / 2)


def _kill_all() -> None:
    for pid in reversed(descendants(os.getpid())):
        _kill(pid, signal.SIGKILL)


def _end_leftovers() -> None:
    for pid in reversed(descendants(os.getpid())):
        if _in_container(pid) or not _is_engine(pid):
            _kill(pid, signal.SIGKILL)


class _Ended(BaseException):
    def __init__(self, number: int) -> None:
        self.number = number


def _on_signal(number: int, _frame: object) -> None:
    raise _Ended(number)


def main(argv: list[str]) -> int:
    """Run `argv`, wait for it, and end all it started when this process is told to end."""
    libc = ctypes.CDLL(None, use_errno=True)
    parent = os.getppid()
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
    signal.signal(signal.SIGTERM, _on_signal)
    signal.signal(signal.SIGINT, _on_signal)
    if os.getppid() != parent:  # the parent died between our start and prctl
        return 128 + signal.SIGTERM
    child: subprocess.Popen[bytes] | None = None
    try:
        child = subprocess.Popen(argv)
        code = child.wait()
        _end_leftovers()
    except FileNotFoundError:
        return 127
    except _Ended as ended:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if child is not None:
            _end(child)
        _kill_all()  # the signal may have come before the child had a name
        return 128 + ended.number
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
