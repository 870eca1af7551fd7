"""The one door to other programs.

Rules: argument lists, never a shell string; standard input closed unless given; the environment is an
allow-list plus what the caller adds, in the C.UTF-8 locale; an error keeps argv, the code and the tail of
stderr, and prints so that it can be pasted into a shell; long programs run under `supervisor`, so that
nothing they started outlives the run.
"""

from __future__ import annotations

import contextlib
import json
import shlex
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from pipeline.adapters.tools import install_line
from pipeline.errors import ToolFailedError, ToolMissingError

_ALLOWED = frozenset(
    {
        "PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "TERM", "TZ",
        "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME",
        "DBUS_SESSION_BUS_ADDRESS", "SSH_AUTH_SOCK",
        "http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY",
        "SSL_CERT_FILE", "SSL_CERT_DIR", "REGISTRY_AUTH_FILE", "DOCKER_CONFIG",
        "CONTAINERS_CONF", "CONTAINERS_STORAGE_CONF",
    }
)  # fmt: skip
_TAIL_LINES = 20
_POLL_SECONDS = 0.2
_GRACE_SECONDS = 20
_STDERR = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed:
    """A program that ended: what was run, its exit code and what it said, as text."""

    argv: tuple[str, ...]
    code: int
    stdout: str
    stderr: str


class Pipes:
    """A program that is under way and spoken to: its standard input, output and errors."""

    def __init__(self, stdin: IO[bytes], stdout: IO[bytes], stderr: IO[bytes]) -> None:
        self._stdin = stdin
        self._stdout = stdout
        self._stderr = stderr

    def write(self, data: bytes) -> None:
        """Send bytes.

        Raises:
            OSError: The program has ended.
        """
        self._stdin.write(data)
        self._stdin.flush()

    def line(self) -> bytes:
        """Return the next line of its output; empty when the program has ended."""
        return self._stdout.readline()

    def read(self, size: int) -> bytes:
        """Return that many bytes of its output; fewer when the program has ended."""
        return self._stdout.read(size)

    def close(self) -> None:
        """Close its input, which is how a program is asked to end."""
        with contextlib.suppress(OSError):
            self._stdin.close()

    def errors(self) -> str:
        """Close its input and return what it said on standard error until it ended."""
        self.close()
        return self._stderr.read().decode(errors="replace")


class Processes:
    """Runs programs. Safe to use from several threads; `stop_running` ends what is under way.

    Args:
        environment: The caller's environment; only names on the allow-list are passed on.
        extra: Variables passed on as they are.
    """

    def __init__(self, *, environment: Mapping[str, str], extra: Mapping[str, str] | None = None) -> None:
        kept = {name: value for name, value in environment.items() if name in _ALLOWED}
        self._environment = {**kept, "LC_ALL": "C.UTF-8", **(extra or {})}
        self._live: set[subprocess.Popen[Any]] = set()
        self._lock = threading.Lock()

    def which(self, program: str) -> str | None:
        """Return the path of a program on the allow-listed PATH, or None."""
        return shutil.which(program, path=self._environment.get("PATH"))

    def require(self, program: str) -> None:
        """Refuse where a program is not installed: what needs it late need not begin.

        Raises:
            ToolMissingError: It is not; the hint is the command that installs it.
        """
        if self.which(program) is None:
            raise _missing(program)

    def run(
        self,
        argv: Sequence[str],
        *,
        check: bool = True,
        stdin: str | None = None,
        timeout: float | None = 600,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        hint: str = "",
        grace: float = _GRACE_SECONDS,
    ) -> Completed:
        """Run a program to its end and return what it said.

        When it takes longer than `timeout` seconds, or the run is ended, it is told to end and killed `grace`
        seconds later.

        Raises:
            ToolMissingError: The program is not installed.
            ToolFailedError: It ended with an error (when `check`), or took longer than `timeout` seconds.
        """
        given = stdin is not None
        with self._started(argv, cwd=cwd, env=env, stdin=given, merged=False, grace=grace) as child:
            try:
                out, err = child.communicate(_bytes(stdin), timeout=timeout)
            except subprocess.TimeoutExpired:
                _end(child, grace)
                raise _failed(argv, None, f"no end after {timeout:.0f} s", hint) from None
        done = Completed(
            argv=tuple(argv),
            code=child.returncode,
            stdout=out.decode(errors="surrogateescape"),
            stderr=err.decode(errors="replace"),
        )
        if check and done.code != 0:
            raise _failed(argv, done.code, done.stderr or done.stdout, hint)
        return done

    def json(
        self, argv: Sequence[str], *, timeout: float | None = 600, env: Mapping[str, str] | None = None
    ) -> Any:
        """Run a program and parse its standard output as JSON.

        Raises:
            ToolFailedError: It failed, or what it printed is no JSON.
        """
        done = self.run(argv, timeout=timeout, env=env)
        try:
            return json.loads(done.stdout)
        except ValueError as error:
            raise _failed(argv, 0, f"printed no JSON: {error}", "") from error

    def stream(
        self,
        argv: Sequence[str],
        *,
        log: Path,
        on_line: Callable[[str], None],
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float | None = None,
        cancel: threading.Event | None = None,
    ) -> int:
        """Run a long program under the supervisor; return its exit code.

        Both streams go, merged and unchanged, to the end of `log`, and line by line to `on_line`. Setting
        `cancel` from another thread ends the program and everything it started.

        Raises:
            ToolMissingError: The program is not installed.
            ToolFailedError: It took longer than `timeout` seconds.
        """
        self.require(argv[0])
        supervisor = str(Path(__file__).with_name("supervisor.py"))
        wrapped = [sys.executable, "-I", "-S", supervisor, *argv]
        late = threading.Event()
        with (
            log.open("ab") as sink,
            self._started(wrapped, cwd=cwd, env=env, stdin=False, merged=True) as child,
            _watchdog(child, timeout, cancel, late),
        ):
            assert child.stdout is not None  # noqa: S101 - merged=True opened it
            _pump(child.stdout, sink, on_line)
            code = child.wait()
        if late.is_set():
            raise _failed(argv, None, f"no end after {timeout:.0f} s; the full log is {log}", "")
        return code

    @contextlib.contextmanager
    def conversation(self, argv: Sequence[str], *, env: Mapping[str, str] | None = None) -> Iterator[Pipes]:
        """Start a program that is spoken to while it runs; at the end of the block its input is closed.

        Raises:
            ToolMissingError: The program is not installed.
        """
        with self._started(argv, cwd=None, env=env, stdin=True, merged=False) as child:
            assert child.stdin and child.stdout and child.stderr  # noqa: S101, PT018 - stdin=True opened them
            pipes = Pipes(child.stdin, child.stdout, child.stderr)
            try:
                yield pipes
            finally:
                pipes.close()
                try:
                    child.wait(_GRACE_SECONDS)
                except subprocess.TimeoutExpired:
                    _end(child)

    def attended(
        self, argv: Sequence[str], *, env: Mapping[str, str] | None = None, timeout: float = 600
    ) -> int:
        """Run a program that talks to the person at the terminal itself; return its exit code.

        It shares the terminal, for passphrases and for touching a security key: standard input and errors are
        this program's own, and so is its output, on standard error. Ctrl-C reaches both.

        Raises:
            ToolMissingError: The program is not installed.
            ToolFailedError: It took longer than `timeout` seconds.
        """
        with self._shared(argv, env) as child:
            try:
                return child.wait(timeout)
            except subprocess.TimeoutExpired:
                _end(child)
                raise _failed(argv, None, f"no end after {timeout:.0f} s", "") from None

    @contextlib.contextmanager
    def _shared(
        self, argv: Sequence[str], env: Mapping[str, str] | None
    ) -> Iterator[subprocess.Popen[bytes]]:
        try:
            child = subprocess.Popen(list(argv), env={**self._environment, **(env or {})}, stdout=_STDERR)
        except (FileNotFoundError, PermissionError):
            raise _missing(argv[0]) from None
        with self._kept(child):
            yield child

    def stop_running(self) -> None:
        """End every program under way; programs that clean up afterwards may still be started."""
        with self._lock:
            live = list(self._live)
        for child in live:
            _signal(child, signal.SIGTERM)
        for child in live:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(_GRACE_SECONDS)
            _signal(child, signal.SIGKILL)

    @contextlib.contextmanager
    def _started(
        self,
        argv: Sequence[str],
        *,
        cwd: Path | None,
        env: Mapping[str, str] | None,
        stdin: bool,
        merged: bool,
        grace: float = _GRACE_SECONDS,
    ) -> Iterator[subprocess.Popen[bytes]]:
        # A session of its own: Ctrl-C reaches `pipeline` alone, which then ends its children in order.
        try:
            child = subprocess.Popen(
                list(argv),
                cwd=cwd,
                env={**self._environment, **(env or {})},
                stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT if merged else subprocess.PIPE,
                start_new_session=True,
            )
        except (FileNotFoundError, PermissionError) as error:
            if cwd is not None and not cwd.is_dir():
                raise _failed(argv, None, f"there is no folder {cwd} to run in", "") from error
            raise _missing(argv[0]) from None
        with self._kept(child, grace):
            yield child

    @contextlib.contextmanager
    def _kept(self, child: subprocess.Popen[bytes], grace: float = _GRACE_SECONDS) -> Iterator[None]:
        """Know a program as under way for the time of the block; an error in it ends the program."""
        with self._lock:
            self._live.add(child)
        try:
            with child:
                try:
                    yield
                except BaseException:
                    _end(child, grace)
                    raise
        finally:
            with self._lock:
                self._live.discard(child)


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else text.encode(errors="surrogateescape")


def _pump(source: IO[bytes], sink: IO[bytes], on_line: Callable[[str], None]) -> None:
    for raw in source:
        sink.write(raw)
        sink.flush()
        # Progress bars redraw with carriage returns: the last state is the line.
        text = raw.rstrip(b"\r\n").rpartition(b"\r")[2].decode(errors="replace")
        if text.strip():
            on_line(text)


@contextlib.contextmanager
def _watchdog(
    child: subprocess.Popen[bytes],
    timeout: float | None,
    cancel: threading.Event | None,
    late: threading.Event,
) -> Iterator[None]:
    """End the child when its time is over or the caller cancels it."""
    done = threading.Event()

    def watch() -> None:
        left = timeout if timeout is not None else float("inf")
        while not done.wait(_POLL_SECONDS):
            left -= _POLL_SECONDS
            if left <= 0:
                late.set()
            if late.is_set() or (cancel is not None and cancel.is_set()):
                _end(child)
                return

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()


def _signal(child: subprocess.Popen[Any], number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        child.send_signal(number)


def _end(child: subprocess.Popen[Any], grace: float = _GRACE_SECONDS) -> None:
    _signal(child, signal.SIGTERM)
    try:
        child.wait(grace)
    except subprocess.TimeoutExpired:
        _signal(child, signal.SIGKILL)


def _missing(program: str) -> ToolMissingError:
    return ToolMissingError(f"{program} is not installed", hint=f"install it: {install_line(program)}")


def _failed(argv: Sequence[str], code: int | None, said: str, hint: str) -> ToolFailedError:
    tail = "\n".join(said.strip().splitlines()[-_TAIL_LINES:])
    how = "was ended" if code is None else f"ended with code {code}"
    return ToolFailedError(
        f"{argv[0]} {how}\n  $ {shlex.join(argv)}\n  " + tail.replace("\n", "\n  "),
        hint=hint or "run the command above by hand to see more",
        argv=tuple(argv),
        code=code,
        tail=tail,
    )
