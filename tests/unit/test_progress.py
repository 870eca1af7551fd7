from __future__ import annotations

import io
import json
import threading
from typing import Any

import pytest
from rich.console import Console

from pipeline.domain.events import Reporter
from pipeline.errors import BuildFailedError
from pipeline.render.progress import (
    HEARTBEAT,
    JsonReporter,
    LiveReporter,
    Mode,
    PlainReporter,
    QuietReporter,
    choose,
    make,
    seconds,
)

HOSTILE = "\x1b]0;owned\x07\x1b[31mred\u202e\x07\r\n"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def lines_of(out: io.StringIO) -> list[str]:
    return out.getvalue().splitlines()


def events_of(out: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines_of(out)]


def fail(reporter: Reporter) -> None:
    with reporter.stage("modules nvidia", log=".pipeline/logs/nvidia.log") as stage:
        stage.line("gcc nv-pci.c")
        raise BuildFailedError(stage="modules nvidia", first_error="nv-pci.c:237:9: error: x", log="l")


def test_plain_lines_tell_start_end_and_notes() -> None:
    out, clock = io.StringIO(), Clock()
    reporter = PlainReporter(out, clock=clock)
    reporter.note("kernel 6.12.94")
    clock.now += 2
    with reporter.stage("upstream") as stage:
        stage.line("not shown")
        clock.now += 10.25
        stage.note("digest known")
    assert lines_of(out) == [
        "[    0.0s] kernel 6.12.94",
        "[    2.0s] upstream: started",
        "[   12.2s] upstream: digest known",
        "[   12.2s] upstream: done in 10.2s",
    ]


def test_plain_failure_names_the_error_and_the_log() -> None:
    out = io.StringIO()
    with pytest.raises(BuildFailedError):
        fail(PlainReporter(out, clock=Clock()))
    assert lines_of(out)[-1] == (
        "[    0.0s] modules nvidia: FAILED after 0.0s: stage modules nvidia failed: "
        "nv-pci.c:237:9: error: x; log: .pipeline/logs/nvidia.log"
    )


def test_a_long_stage_is_heard_every_thirty_seconds_with_its_last_line() -> None:
    out, clock = io.StringIO(), Clock()
    reporter = PlainReporter(out, clock=clock)
    with reporter.stage("modules zfs") as stage:
        for second in range(70):
            clock.now = 1000.0 + second
            stage.line(f"CC file{second}.o")
        clock.now = 1000.0 + 3 * HEARTBEAT
        reporter.heartbeat()
        reporter.heartbeat()
    assert lines_of(out)[1:-1] == [
        "[   30.0s] modules zfs: running for 30.0s: CC file30.o",
        "[   60.0s] modules zfs: running for 1m00s: CC file60.o",
        "[   90.0s] modules zfs: running for 1m30s: CC file69.o",
    ]


class Signalling(io.StringIO):
    """Tells when a text has been written."""

    def __init__(self, wanted: str) -> None:
        super().__init__()
        self.seen = threading.Event()
        self._wanted = wanted

    def write(self, text: str) -> int:
        count = super().write(text)
        if self._wanted in text:
            self.seen.set()
        return count


def test_a_silent_stage_is_heard_too() -> None:
    out, clock = Signalling("running for"), Clock()
    with PlainReporter(out, clock=clock).stage("upstream"):
        clock.now += HEARTBEAT
        assert out.seen.wait(30)
    assert lines_of(out)[1] == "[   30.0s] upstream: running for 30.0s"


def test_no_thread_is_left_when_no_stage_is_open() -> None:
    before = set(threading.enumerate())
    reporter = PlainReporter(io.StringIO(), clock=Clock())
    with reporter.stage("a"), reporter.stage("b"):
        started = set(threading.enumerate()) - before
    assert len(started) == 1
    for thread in started:
        thread.join(30)
        assert not thread.is_alive()


def test_verbose_plain_shows_every_line() -> None:
    out = io.StringIO()
    with PlainReporter(out, clock=Clock(), verbose=True).stage("upstream") as stage:
        stage.line("Get:1 linux-image")
    assert lines_of(out)[1] == "[    0.0s] upstream: Get:1 linux-image"


def test_json_events_have_stable_keys() -> None:
    out, clock = io.StringIO(), Clock()
    reporter = JsonReporter(out, clock=clock)
    with reporter.stage("upstream", log="u.log") as stage:
        clock.now += 1.5
        stage.line("fetch")
        stage.note("slow")
    reporter.note("all")
    with pytest.raises(BuildFailedError):
        fail(reporter)
    events = events_of(out)
    assert events[:5] == [
        {"event": "start", "stage": "upstream", "time": 0.0, "log": "u.log"},
        {"event": "line", "stage": "upstream", "time": 1.5, "elapsed": 1.5, "line": "fetch"},
        {"event": "note", "stage": "upstream", "time": 1.5, "line": "slow"},
        {"event": "end", "stage": "upstream", "time": 1.5, "elapsed": 1.5, "ok": True, "log": "u.log"},
        {"event": "note", "time": 1.5, "line": "all"},
    ]
    assert events[-1]["ok"] is False
    assert events[-1]["line"].endswith("nv-pci.c:237:9: error: x")
    assert events[-1]["log"] == ".pipeline/logs/nvidia.log"


def test_quiet_says_nothing_and_still_lets_errors_through() -> None:
    reporter = QuietReporter(clock=Clock())
    reporter.note("x")
    with pytest.raises(BuildFailedError):
        fail(reporter)


def speak_hostile(reporter: Reporter) -> None:
    with reporter.stage(HOSTILE, log=HOSTILE) as stage:
        stage.line(HOSTILE)
        stage.note(HOSTILE)
        reporter.note(HOSTILE)
        raise ValueError(HOSTILE)


@pytest.mark.parametrize("mode", list(Mode))
def test_hostile_text_is_harmless_in_every_mode(mode: Mode) -> None:
    out = io.StringIO()
    reporter = make(mode, out, clock=Clock(), verbose=True)
    with pytest.raises(ValueError, match="owned"):
        speak_hostile(reporter)
    assert not set(out.getvalue()) & set("\x1b\x07\u202e\r")
    assert (out.getvalue() == "") is (mode is Mode.QUIET)


def drawn(stages: int) -> tuple[LiveReporter, io.StringIO, Clock]:
    out, clock = io.StringIO(), Clock()
    console = Console(file=out, force_terminal=True, width=80, color_system=None, highlight=False)
    return LiveReporter(out, clock=clock, console=console), out, clock


def row_text(reporter: LiveReporter) -> str:
    out = io.StringIO()
    Console(file=out, width=80, color_system=None).print(reporter.rows())
    return out.getvalue()


def test_live_has_a_row_for_every_running_stage() -> None:
    reporter, out, clock = drawn(2)
    with reporter.stage("modules zfs") as zfs, reporter.stage("modules nvidia") as nvidia:
        zfs.line("CC [M]  zfs_vnops.o")
        nvidia.line("[bold]nv-pci.c[/bold] " + "x" * 200)
        clock.now += 125
        rows = row_text(reporter).splitlines()
    assert len(rows) == 2
    assert "modules zfs" in rows[0]
    assert "2m05s" in rows[0]
    assert "CC [M]  zfs_vnops.o" in rows[0]
    assert "[bold]nv-pci.c[/bold]" in rows[1]
    assert rows[1].rstrip().endswith("…")
    assert "✓ modules nvidia  2m05s" in out.getvalue()
    assert "✓ modules zfs  2m05s" in out.getvalue()
    assert row_text(reporter).strip() == ""


def test_live_failure_shows_error_and_log_and_ends_the_drawing() -> None:
    reporter, out, _ = drawn(1)
    with pytest.raises(BuildFailedError):
        fail(reporter)
    reporter.note("after")
    assert "✗ modules nvidia" in out.getvalue()
    assert "log: .pipeline/logs/nvidia.log" in out.getvalue()
    assert out.getvalue().rstrip().endswith("after")
    assert out.getvalue().count("\x1b[?25l") == out.getvalue().count("\x1b[?25h") == 1


def both(reporter: Reporter, count: int) -> None:
    barrier = threading.Barrier(2)

    def work(name: str) -> None:
        barrier.wait()
        for number in range(count):
            with reporter.stage(f"{name}-{number}") as stage:
                stage.line("a line")
                stage.note("a note")

    threads = [threading.Thread(target=work, args=(name,)) for name in ("zfs", "nvidia")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)


def test_two_threads_never_mix_their_lines() -> None:
    out = io.StringIO()
    both(JsonReporter(out, clock=Clock()), 200)
    events = events_of(out)
    assert len(events) == 2 * 200 * 4
    for name in ("zfs-7", "nvidia-199"):
        assert [e["event"] for e in events if e.get("stage") == name] == ["start", "line", "note", "end"]
    out = io.StringIO()
    both(PlainReporter(out, clock=Clock(), verbose=True), 200)
    assert len(lines_of(out)) == 2 * 200 * 4
    assert all(line.startswith("[    0.0s] ") for line in lines_of(out))


def test_two_threads_can_start_and_stop_the_drawing() -> None:
    reporter, out, _ = drawn(2)
    both(reporter, 20)
    assert out.getvalue().count("✓ ") == 40
    assert out.getvalue().count("\x1b[?25l") == out.getvalue().count("\x1b[?25h")


@pytest.mark.parametrize(
    ("json_events", "quiet", "verbose", "terminal", "ci", "mode"),
    [
        (False, False, False, True, False, Mode.LIVE),
        (False, False, False, False, False, Mode.PLAIN),
        (False, False, False, True, True, Mode.PLAIN),
        (False, False, True, True, False, Mode.PLAIN),
        (True, False, False, True, False, Mode.JSON),
        (True, True, False, True, False, Mode.QUIET),
        (False, True, True, True, False, Mode.QUIET),
    ],
)
def test_the_mode_follows_flags_terminal_and_ci(
    *, json_events: bool, quiet: bool, verbose: bool, terminal: bool, ci: bool, mode: Mode
) -> None:
    assert choose(json_events=json_events, quiet=quiet, verbose=verbose, terminal=terminal, ci=ci) is mode


@pytest.mark.parametrize(
    ("value", "text"), [(0.04, "0.0s"), (59.9, "59.9s"), (60, "1m00s"), (3599, "59m59s"), (3725, "1h02m")]
)
def test_durations_read_well(value: float, text: str) -> None:
    assert seconds(value) == text
