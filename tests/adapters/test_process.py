"""The door to other programs, with real programs: what they get, what they say, and that none outlives us."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.adapters.process import Processes
from pipeline.errors import ToolFailedError, ToolMissingError

ROOT = Path(__file__).parents[2]
PATIENCE = 30.0
"""Seconds until something that must happen is given up; no test measures time."""


@pytest.fixture
def processes() -> Processes:
    return Processes(environment=os.environ)


def wait_for(happened: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def pids(folder: Path, count: int) -> list[int]:
    """Return the process ids that `count` programs wrote down in a folder."""
    wait_for(lambda: len(list(folder.glob("*.pid"))) == count)
    wait_for(lambda: all(path.read_text().endswith("\n") for path in folder.glob("*.pid")))
    return [int(path.read_text()) for path in folder.glob("*.pid")]


@contextlib.contextmanager
def none_left(folder: Path) -> Iterator[None]:
    """End what a failed test left, so that it does not live on."""
    try:
        yield
    finally:
        for path in folder.glob("*.pid"):
            with contextlib.suppress(ProcessLookupError, ValueError):
                os.kill(int(path.read_text()), signal.SIGKILL)


FAMILY = """\
import os, sys, time
folder = sys.argv[1]
def note(name):
    path = os.path.join(folder, name)
    with open(path + ".new", "w") as file:
        file.write(f"{os.getpid()}\\n")
    os.rename(path + ".new", path + ".pid")
if os.fork() == 0:  # a child that ignores what it can
    import signal
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    note("child")
    time.sleep(600)
if os.fork() == 0:  # a daemon: new session, parent gone
    os.setsid()
    if os.fork():
        os._exit(0)
    note("daemon")
    time.sleep(600)
note("program")
print("ready", flush=True)
time.sleep(600)
"""


def family(folder: Path) -> list[str]:
    return [sys.executable, "-c", FAMILY, str(folder)]


# --- run -------------------------------------------------------------------------------------------------


def test_it_returns_what_a_program_said(processes: Processes) -> None:
    done = processes.run(["sh", "-c", "echo out; echo err >&2; exit 3"], check=False)
    assert (done.code, done.stdout, done.stderr) == (3, "out\n", "err\n")
    assert done.argv[0] == "sh"


def test_words_are_never_read_by_a_shell(processes: Processes, tmp_path: Path) -> None:
    evil = f"$(touch {tmp_path}/evil); `touch {tmp_path}/evil` && touch {tmp_path}/evil"
    assert processes.run(["printf", "%s", evil]).stdout == evil
    assert not (tmp_path / "evil").exists()


def test_the_environment_is_an_allow_list() -> None:
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": "/home/ada",
        "https_proxy": "http://proxy:3128",
        "LC_ALL": "de_DE",
        "LANG": "de_DE",
        "LANGUAGE": "de",
        "SECRET_TOKEN": "hush",
        "CI_JOB_TOKEN": "hush",
        "LD_PRELOAD": "",
        "PYTHONPATH": "/evil",
        "BASH_ENV": "/evil",
    }
    ran = Processes(environment=environment, extra={"EXTRA": "yes"}).run(["env"], env={"ONCE": "1"})
    seen = dict(line.split("=", 1) for line in ran.stdout.splitlines())
    assert seen == {
        "PATH": environment["PATH"],
        "HOME": "/home/ada",
        "https_proxy": "http://proxy:3128",
        "LC_ALL": "C.UTF-8",
        "EXTRA": "yes",
        "ONCE": "1",
    }


def test_standard_input_is_closed_unless_given(processes: Processes) -> None:
    assert processes.run(["cat"]).stdout == ""
    assert processes.run(["cat"], stdin="here\n").stdout == "here\n"
    assert processes.run(["readlink", "/proc/self/fd/0"]).stdout == "/dev/null\n"


def test_bytes_that_are_no_text_survive_there_and_back(processes: Processes) -> None:
    said = processes.run(["printf", r"caf\351"]).stdout
    assert os.fsencode(said) == b"caf\xe9"
    assert processes.run(["cat"], stdin=said).stdout == said


def test_a_missing_program_names_the_line_that_installs_it(processes: Processes, tmp_path: Path) -> None:
    nothing = Processes(environment={"PATH": str(tmp_path)})
    with pytest.raises(ToolMissingError, match="podman is not installed") as caught:
        nothing.run(["podman", "info"])
    assert "install" in caught.value.hint
    with pytest.raises(ToolMissingError):
        nothing.stream(["podman"], log=tmp_path / "log", on_line=print)
    (tmp_path / "podman").write_text("no program")
    with pytest.raises(ToolMissingError):
        nothing.run(["podman", "info"])


def test_a_missing_folder_is_not_taken_for_a_missing_program(processes: Processes, tmp_path: Path) -> None:
    with pytest.raises(ToolFailedError, match="no-such-folder"):
        processes.run(["true"], cwd=tmp_path / "no-such-folder")


def test_an_error_can_be_pasted_into_a_shell(processes: Processes) -> None:
    argv = ["sh", "-c", "echo 'one two' >&2; exit 7", "a b", "$HOME", "it's"]
    with pytest.raises(ToolFailedError, match="sh ended with code 7") as caught:
        processes.run(argv)
    [line] = [line for line in caught.value.message.splitlines() if line.startswith("  $ ")]
    assert shlex.split(line.removeprefix("  $ ")) == argv
    again = subprocess.run(line.removeprefix("  $ "), shell=True, capture_output=True, check=False)
    assert (again.returncode, again.stderr) == (7, b"one two\n")
    assert (caught.value.code, caught.value.tail) == (7, "one two")


def test_an_error_keeps_the_tail_and_takes_stdout_where_stderr_is_silent(processes: Processes) -> None:
    with pytest.raises(ToolFailedError) as caught:
        processes.run(["sh", "-c", "seq 100; exit 1"], hint="do this")
    assert caught.value.tail.split() == [str(number) for number in range(81, 101)]
    assert caught.value.hint == "do this"


def test_what_takes_too_long_is_ended(processes: Processes, tmp_path: Path) -> None:
    with none_left(tmp_path):
        with pytest.raises(ToolFailedError, match="no end after 1 s") as caught:
            processes.run(["sh", "-c", f"echo $$ > {tmp_path}/it.pid; exec sleep 600"], timeout=1)
        assert caught.value.code is None
        assert not alive(pids(tmp_path, 1)[0])


def test_json_that_is_none_is_an_error_of_the_tool(processes: Processes) -> None:
    assert processes.json(["echo", '{"a": [1]}']) == {"a": [1]}
    with pytest.raises(ToolFailedError, match="printed no JSON"):
        processes.json(["echo", "oops"])


# --- stream ----------------------------------------------------------------------------------------------


def test_streams_merge_line_by_line_and_the_log_is_unchanged(processes: Processes, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"before\n")
    script = r"echo one; echo two >&2; printf '10%%\r20%%\r\n'; printf '\n'; printf 'caf\351 end'; exit 5"
    lines: list[str] = []
    assert processes.stream(["sh", "-c", script], log=log, on_line=lines.append) == 5
    assert lines == ["one", "two", "20%", "caf� end"]
    assert log.read_bytes() == b"before\none\ntwo\n10%\r20%\r\n\ncaf\xe9 end"


def test_a_stream_ends_with_its_program_whatever_it_left_running(
    processes: Processes, tmp_path: Path
) -> None:
    script = (
        f"(echo $BASHPID > {tmp_path}/left.new; mv {tmp_path}/left.new {tmp_path}/left.pid; exec sleep 600) &"
    )
    with none_left(tmp_path):
        code = processes.stream(
            ["bash", "-c", f"{script} while [ ! -e {tmp_path}/left.pid ]; do sleep 0.05; done; exit 4"],
            log=tmp_path / "log",
            on_line=print,
        )
        assert code == 4
        assert not alive(pids(tmp_path, 1)[0])


def test_a_program_ended_by_a_signal_has_the_shells_code(processes: Processes, tmp_path: Path) -> None:
    code = processes.stream(["sh", "-c", "kill -9 $$"], log=tmp_path / "log", on_line=print)
    assert code == 128 + signal.SIGKILL


def test_a_stream_that_takes_too_long_is_ended_with_all_it_started(
    processes: Processes, tmp_path: Path
) -> None:
    with none_left(tmp_path):
        with pytest.raises(ToolFailedError, match="no end after 2 s; the full log is"):
            processes.stream(family(tmp_path), log=tmp_path / "log", on_line=print, timeout=2)
        assert not [pid for pid in pids(tmp_path, 3) if alive(pid)]


def test_cancelling_ends_the_program_and_all_it_started(processes: Processes, tmp_path: Path) -> None:
    cancel = threading.Event()

    def on_line(text: str) -> None:
        pids(tmp_path, 3)
        cancel.set()

    with none_left(tmp_path):
        code = processes.stream(family(tmp_path), log=tmp_path / "log", on_line=on_line, cancel=cancel)
        assert code == 128 + signal.SIGTERM
        assert not [pid for pid in pids(tmp_path, 3) if alive(pid)]


def test_an_error_of_the_listener_ends_the_program(processes: Processes, tmp_path: Path) -> None:
    def on_line(text: str) -> None:
        pids(tmp_path, 3)
        raise RuntimeError(text)

    with none_left(tmp_path):
        with pytest.raises(RuntimeError, match="ready"):
            processes.stream(family(tmp_path), log=tmp_path / "log", on_line=on_line)
        assert not [pid for pid in pids(tmp_path, 3) if alive(pid)]


def test_stop_running_ends_what_other_threads_started(processes: Processes, tmp_path: Path) -> None:
    codes: list[int] = []

    def work() -> None:
        codes.append(processes.stream(family(tmp_path), log=tmp_path / "log", on_line=print))

    with none_left(tmp_path):
        thread = threading.Thread(target=work)
        thread.start()
        found = pids(tmp_path, 3)
        processes.stop_running()
        thread.join(PATIENCE)
        assert codes == [128 + signal.SIGTERM]
        assert not [pid for pid in found if alive(pid)]
        assert processes.run(["echo", "cleaning"]).stdout == "cleaning\n"


OWNER = textwrap.dedent(
    """\
    import os, signal, sys
    from pathlib import Path
    from pipeline.adapters.process import Processes
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    processes = Processes(environment=os.environ)
    log = Path(sys.argv[1]) / "log"
    processes.stream(sys.argv[2:], log=log, on_line=lambda text: print(text, flush=True))
    """
)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_outlives_a_killed_parent(tmp_path: Path, number: signal.Signals) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(tmp_path), *family(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with none_left(tmp_path), owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "ready\n"
        found = pids(tmp_path, 3)
        owner.send_signal(number)
        owner.wait(PATIENCE)
        wait_for(lambda: not [pid for pid in found if alive(pid)])


def test_programs_do_not_see_ctrl_c_themselves(processes: Processes, tmp_path: Path) -> None:
    lines: list[str] = []
    script = "import os; print(os.getsid(0), os.getpgid(0))"
    processes.stream([sys.executable, "-c", script], log=tmp_path / "log", on_line=lines.append)
    session, group = lines[0].split()
    assert int(session) != os.getsid(0)
    assert int(group) != os.getpgid(0)
