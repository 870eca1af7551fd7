"""Shows what runs: live rows on a terminal, plain lines in CI, JSON lines for machines, or nothing.

Rules: everything goes to the stream given (stderr; stdout belongs to results); text from outside is made
harmless before it is shown; every method may be called from any thread; time comes from the clock given
(monotonic seconds). A terminal shows the last line of what runs, never the whole log: that is in the file.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from pipeline.domain.events import Reporter, Stage
from pipeline.domain.text import plain, without_ansi

Clock = Callable[[], float]
"""Monotonic seconds."""

HEARTBEAT = 30.0
"""Seconds of a stage after which plain output says that it is still alive."""


class Mode(StrEnum):
    """How progress is shown."""

    LIVE = "live"
    PLAIN = "plain"
    JSON = "json"
    QUIET = "quiet"


class Running:
    """One stage under way: its name, start, last line and end; knows nothing of how it is shown."""

    def __init__(self, name: str, log: str | None, started: float, sink: _Base) -> None:
        self.name = plain(name, 60)
        self.log = plain(log) if log else None
        self.started = started
        self.last = ""
        self.beat = started
        self._sink = sink

    def line(self, text: str) -> None:
        """Take one line of output; hostile, from any thread."""
        shown = plain(without_ansi(text[:4000]).rstrip().rpartition("\r")[2])
        self._sink.on_line(self, shown)

    def note(self, text: str) -> None:
        """Take one line that is shown in every mode but quiet."""
        self._sink.on_note(self.name, plain(without_ansi(text)))


class _Base:
    """A reporter that shows nothing; the modes override what they show.

    The four `on_…` methods get harmless text only and are called with no lock held.
    """

    def __init__(self, *, clock: Clock) -> None:
        self.clock = clock
        self.began = clock()
        self.lock = threading.Lock()

    @contextmanager
    def stage(self, name: str, *, log: str | None = None) -> Iterator[Stage]:
        """Open a stage; see `domain.events.Reporter`."""
        stage = Running(name, log, self.clock(), self)
        self.on_start(stage)
        try:
            yield stage
        except BaseException as error:
            said = str(error).strip() or type(error).__name__
            self.on_end(stage, plain(said.splitlines()[0]))
            raise
        self.on_end(stage, None)

    def note(self, text: str) -> None:
        """Say one line outside any stage."""
        self.on_note("", plain(without_ansi(text)))

    def on_start(self, stage: Running) -> None:
        """Show a stage that begins."""

    def on_line(self, stage: Running, text: str) -> None:
        """Show or keep one line of a stage."""

    def on_note(self, stage: str, text: str) -> None:
        """Show one line that a person should see; `stage` is empty outside any stage."""

    def on_end(self, stage: Running, failed: str | None) -> None:
        """Show a stage's end; `failed` is what went wrong, None when it is done."""

    def elapsed(self, stage: Running | None = None) -> float:
        """Return seconds since the stage, or this reporter, began."""
        return max(0.0, self.clock() - (stage.started if stage else self.began))


class QuietReporter(_Base):
    """Shows nothing at all."""


class PlainReporter(_Base):
    """Plain lines for CI and files: `[  12.3s] modules zfs: started`, never an escape code.

    A stage that runs long says so every `HEARTBEAT` seconds, with the last line of its output, also while
    it prints nothing: a timer thread sees to that as long as a stage is open.
    """

    def __init__(self, out: TextIO, *, clock: Clock, verbose: bool = False) -> None:
        super().__init__(clock=clock)
        self._out = out
        self._verbose = verbose
        self._open: list[Running] = []
        self._ticker: threading.Event | None = None

    def on_start(self, stage: Running) -> None:
        """Say that the stage began."""
        with self.lock:
            self._open.append(stage)
            self._say(stage.name, "started")
            if self._ticker is None:
                self._ticker = threading.Event()
                threading.Thread(target=self._tick, args=(self._ticker,), daemon=True).start()

    def on_line(self, stage: Running, text: str) -> None:
        """Keep the line for the next heartbeat; say it at once when verbose."""
        with self.lock:
            stage.last = text or stage.last
            if self._verbose:
                self._say(stage.name, text)
            else:
                self._beat(stage)

    def on_note(self, stage: str, text: str) -> None:
        """Say the note."""
        with self.lock:
            self._say(stage, text)

    def on_end(self, stage: Running, failed: str | None) -> None:
        """Say how the stage ended, and after how long; a failure names the log."""
        took = seconds(self.elapsed(stage))
        with self.lock:
            self._open.remove(stage)
            if failed is None:
                self._say(stage.name, f"done in {took}")
            else:
                log = f"; log: {stage.log}" if stage.log else ""
                self._say(stage.name, f"FAILED after {took}: {failed}{log}")
            if not self._open and self._ticker is not None:
                self._ticker.set()
                self._ticker = None

    def heartbeat(self) -> None:
        """Say for each open stage that has been silent for `HEARTBEAT` seconds that it still runs."""
        with self.lock:
            for stage in self._open:
                self._beat(stage)

    def _tick(self, ended: threading.Event) -> None:
        while not ended.wait(1.0):
            self.heartbeat()

    def _beat(self, stage: Running) -> None:
        now = self.clock()
        if now - stage.beat >= HEARTBEAT:
            stage.beat = now
            tail = f": {stage.last}" if stage.last else ""
            self._say(stage.name, f"running for {seconds(self.elapsed(stage))}{tail}")

    def _say(self, stage: str, text: str) -> None:
        where = f"{stage}: " if stage else ""
        print(f"[{self.elapsed():7.1f}s] {where}{text}", file=self._out, flush=True)


class JsonReporter(_Base):
    """JSON lines for machines: `event` (start, line, note, end), `stage`, `time`, `elapsed`, `line`.

    `time` counts seconds since the reporter began, `elapsed` since the stage did. `end` has `ok` and, when
    false, `line` with the error and `log`.
    """

    def __init__(self, out: TextIO, *, clock: Clock) -> None:
        super().__init__(clock=clock)
        self._out = out

    def on_start(self, stage: Running) -> None:
        """Write `start`."""
        self._write("start", stage.name, log=stage.log)

    def on_line(self, stage: Running, text: str) -> None:
        """Write `line`."""
        self._write("line", stage.name, elapsed=self.elapsed(stage), line=text)

    def on_note(self, stage: str, text: str) -> None:
        """Write `note`."""
        self._write("note", stage, line=text)

    def on_end(self, stage: Running, failed: str | None) -> None:
        """Write `end`."""
        elapsed = self.elapsed(stage)
        self._write("end", stage.name, elapsed=elapsed, ok=failed is None, line=failed, log=stage.log)

    def _write(
        self, event: str, stage: str, *, elapsed: float | None = None, **more: str | bool | None
    ) -> None:
        times = {"time": round(self.elapsed(), 3), "elapsed": None if elapsed is None else round(elapsed, 3)}
        fields = {"event": event, "stage": stage or None, **times, **more}
        text = json.dumps(
            {key: value for key, value in fields.items() if value is not None}, ensure_ascii=True
        )
        with self.lock:
            print(text, file=self._out, flush=True)


class LiveReporter(_Base):
    """A row per running stage on a terminal, redrawn; what has ended scrolls away above with its time.

    The rows are there only while a stage is open, so that a question or an error is never drawn over.
    """

    def __init__(self, out: TextIO, *, clock: Clock, console: Console | None = None) -> None:
        super().__init__(clock=clock)
        self._console = console or Console(file=out, highlight=False)
        self._switch = threading.Lock()  # rich allows one drawing at a time
        self._open: dict[Running, Spinner] = {}
        self._live: Live | None = None

    def on_start(self, stage: Running) -> None:
        """Add the stage's row; the first one starts the drawing."""
        with self._switch:
            with self.lock:
                self._open[stage] = Spinner("dots")
            if self._live is None:
                self._live = Live(
                    get_renderable=self.rows,
                    console=self._console,
                    transient=True,
                    refresh_per_second=8,
                    redirect_stdout=False,
                    redirect_stderr=False,
                )
                self._live.start()

    def on_line(self, stage: Running, text: str) -> None:
        """Make the line the row's tail."""
        stage.last = text or stage.last

    def on_note(self, stage: str, text: str) -> None:
        """Print the note above the rows."""
        where = f"{stage}: " if stage else ""
        self._print(Text("  ", style="cyan"), Text(f"{where}{text}"))

    def on_end(self, stage: Running, failed: str | None) -> None:
        """Print the stage's end above the rows; the last one to end stops the drawing."""
        took = seconds(self.elapsed(stage))
        with self._switch:
            with self.lock:
                del self._open[stage]
            if failed is None:
                self._print(Text("✓ ", style="green"), Text(f"{stage.name}  {took}"))
            else:
                log = f"\n  log: {stage.log}" if stage.log else ""
                self._print(Text("✗ ", style="bold red"), Text(f"{stage.name}  {took}  {failed}{log}"))
            if not self._open and self._live is not None:
                self._live.stop()
                self._live = None

    def rows(self) -> RenderableType:
        """Return the rows of the stages that run now."""
        with self.lock:
            stages = tuple(self._open.items())
        table = Table.grid(padding=(0, 1), expand=True)
        for _ in range(3):
            table.add_column(no_wrap=True)
        table.add_column(no_wrap=True, ratio=1, overflow="ellipsis")
        for stage, spinner in stages:
            took = Text(seconds(self.elapsed(stage)), style="cyan")
            table.add_row(spinner, Text(stage.name), took, Text(stage.last, style="dim"))
        return Group(table)

    def _print(self, mark: Text, text: Text) -> None:
        self._console.print(Text.assemble(mark, text), soft_wrap=True)


def seconds(value: float) -> str:
    """Return a duration in seconds as people read it: `4.2s`, `3m07s`, `1h02m`."""
    if value < 60:  # noqa: PLR2004 - a minute
        return f"{value:.1f}s"
    minutes, rest = divmod(int(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m" if hours else f"{minutes}m{rest:02d}s"


def choose(*, json_events: bool, quiet: bool, verbose: bool, terminal: bool, ci: bool) -> Mode:
    """Return the mode that fits.

    Args:
        json_events: `--json` was given: a machine listens.
        quiet: `-q` was given.
        verbose: `-v` was given: every line is wanted, which a redrawn screen cannot show.
        terminal: stderr is a terminal that can move its cursor.
        ci: The environment says CI.
    """
    if quiet:
        return Mode.QUIET
    if json_events:
        return Mode.JSON
    return Mode.LIVE if terminal and not ci and not verbose else Mode.PLAIN


def make(mode: Mode, out: TextIO, *, clock: Clock, verbose: bool = False) -> Reporter:
    """Return the reporter of a mode, writing to `out` (stderr)."""
    match mode:
        case Mode.LIVE:
            return LiveReporter(out, clock=clock)
        case Mode.PLAIN:
            return PlainReporter(out, clock=clock, verbose=verbose)
        case Mode.JSON:
            return JsonReporter(out, clock=clock)
        case Mode.QUIET:
            return QuietReporter(clock=clock)
