"""A run's folders: what stays, what goes, what a killed run leaves to the next, and what a live one keeps."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from pipeline.adapters.workspace import Workspace
from pipeline.errors import StateError

ROOT = Path(__file__).parents[2]

HOLDER = textwrap.dedent(
    """\
    import sys, time
    from pathlib import Path
    from pipeline.adapters.workspace import Workspace
    with Workspace(Path(sys.argv[1]), run=sys.argv[2], remove_image=print).opened() as space:
        space.tag("base")
        space.tag("modules zfs")
        (space.folder("context") / "big").write_text("x")
        space.log("zfs").write_text("said")
        print("ready", flush=True)
        time.sleep(600)
    """
)


class Holder:
    """Another process that has a run open until it is killed."""

    def __init__(self, state: Path, run: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(state), run],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate()


def space(state: Path, run: str, removed: list[str]) -> Workspace:
    return Workspace(state, run=run, remove_image=removed.append)


def test_logs_stay_and_everything_else_goes(tmp_path: Path) -> None:
    removed: list[str] = []
    with space(tmp_path / "state", "r1", removed).opened() as opened:
        first, second = opened.tag("debian/base"), opened.tag("zfs for 6.12.94+deb13-amd64")
        log = opened.log("assemble debian/base")
        log.write_text("said")
        folder = opened.folder("context ../../evil")
        assert folder.parent == opened.work
        assert removed == []
    assert first == "localhost/pipeline-run/r1:debian-base"
    assert second == "localhost/pipeline-run/r1:zfs-for-6.12.94-deb13-amd64"
    assert removed == [second, first]
    assert log.read_text() == "said"
    assert list((tmp_path / "state/work").iterdir()) == []


def test_an_error_or_ctrl_c_cleans_up_too(tmp_path: Path) -> None:
    removed: list[str] = []

    def interrupted() -> None:
        with space(tmp_path, "r1", removed).opened() as opened:
            opened.tag("base")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert removed == ["localhost/pipeline-run/r1:base"]
    assert list((tmp_path / "work").iterdir()) == []


def test_a_log_never_overwrites_another(tmp_path: Path) -> None:
    with space(tmp_path, "r1", []).opened() as opened:
        names = [opened.log(name).name for name in ("zfs", "zfs", "/zfs/", "../..")]
    assert names == ["zfs.log", "zfs-2.log", "zfs-3.log", "x.log"]


def test_what_a_killed_run_left_goes_with_the_next_and_a_live_one_is_left_alone(tmp_path: Path) -> None:
    live, dead = Holder(tmp_path, "live"), Holder(tmp_path, "dead")
    try:
        dead.kill()
        removed: list[str] = []
        with space(tmp_path, "next", removed).opened():
            assert sorted(path.name for path in (tmp_path / "work").iterdir()) == ["live", "next"]
        assert removed == ["localhost/pipeline-run/dead:modules-zfs", "localhost/pipeline-run/dead:base"]
        assert (tmp_path / "work/live/context/big").exists()
        assert (tmp_path / "logs/dead/zfs.log").read_text() == "said"
    finally:
        live.kill()
    again: list[str] = []
    with space(tmp_path, "later", again).opened():
        pass
    assert again == ["localhost/pipeline-run/live:modules-zfs", "localhost/pipeline-run/live:base"]
    assert list((tmp_path / "work").iterdir()) == []


def test_many_runs_at_once_never_sweep_each_other(tmp_path: Path) -> None:
    faults: list[BaseException] = []
    start = threading.Barrier(8)

    def work(number: int) -> None:
        try:
            for turn in range(20):
                start.wait(30)
                with space(tmp_path, f"r{number}-{turn}", []).opened() as opened:
                    opened.tag("base")
                    (opened.folder("context") / "file").write_text("x")
        except BaseException as error:  # noqa: BLE001 - told by the main thread
            faults.append(error)
            start.abort()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert list((tmp_path / "work").iterdir()) == []


def test_a_state_folder_that_cannot_be_used_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with (
        pytest.raises(StateError, match="cannot be used") as caught,
        space(tmp_path / "file", "r1", []).opened(),
    ):
        pass
    assert "--state" in caught.value.hint


def test_two_runs_of_one_id_are_refused(tmp_path: Path) -> None:
    with (
        space(tmp_path, "r1", []).opened(),
        pytest.raises(StateError),
        space(tmp_path, "r1", []).opened(),
    ):
        pass


def test_strange_things_in_the_work_folder_do_no_harm(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work/file").write_text("mine")
    (tmp_path / "work/empty").mkdir()
    (tmp_path / "work/torn").mkdir()
    (tmp_path / "work/torn/tags").write_bytes(b"localhost/pipeline-run/torn:a\n")
    removed: list[str] = []
    with space(tmp_path, "r1", removed).opened():
        assert sorted(path.name for path in (tmp_path / "work").iterdir()) == ["file", "r1"]
    assert removed == ["localhost/pipeline-run/torn:a"]
