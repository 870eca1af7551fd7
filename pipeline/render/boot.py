"""A boot test's result as tables for people; machines get `BootResult.to_json`.

Rules: what came out of the machine is shown as plain text, never as terminal escapes or markup.
"""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType
from rich.text import Text

from pipeline.domain.boot.result import BootResult, ModuleResult, Outcome, Step
from pipeline.domain.text import plain
from pipeline.render.gates import table_of

_STYLES = {Outcome.LOADED: "green", Outcome.NO_DEVICE: "green", Outcome.FAILED: "bold red"}


def to_tables(result: BootResult) -> tuple[RenderableType, ...]:
    """Return what was asked, what became of the modules, what was left out, and the outcome."""
    return tuple(_parts(result))


def _parts(result: BootResult) -> Iterator[RenderableType]:
    yield table_of(("", "step", "found", "time"), [_step(one) for one in result.steps])
    if result.modules:
        yield Text()
        yield table_of(("module", "set", "outcome", "time", "why"), [_module(one) for one in result.modules])
    if result.left_out:
        yield Text()
        yield table_of(
            ("not started", "why"), [(Text(unit), Text(plain(why))) for unit, why in result.left_out]
        )
    yield Text()
    yield _outcome(result)
    if not result.ok:
        yield from (Text(line, style="dim") for line in result.last_lines)


def _outcome(result: BootResult) -> Text:
    how = "up to its target and once more" if result.full else "as far as its modules"
    boots = f"kernel {result.kernel}, {result.accelerator}, {_seconds(result.milliseconds)}"
    if result.ok:
        return Text(f"it boots {how} ({boots})", style="green")
    failed = sum(not step.ok for step in result.steps)
    return Text(f"{failed} of {len(result.steps)} steps failed ({boots}); its last lines:", style="bold red")


def _step(one: Step) -> tuple[Text, ...]:
    found = Text(plain(one.found))
    for detail in one.details:
        found.append(f"\n{plain(detail)}", style="dim")
    mark = Text("pass", style="green") if one.ok else Text("fail", style="bold red")
    return mark, Text(one.name), found, _time(one.milliseconds)


def _module(one: ModuleResult) -> tuple[Text, ...]:
    name = Text(f"{one.name} {plain(one.version)}".strip())
    outcome = Text(one.outcome.value, style=_STYLES[one.outcome])
    return name, Text(one.set_name), outcome, _time(one.milliseconds), Text(plain(one.why))


def _time(milliseconds: int) -> Text:
    return Text(_seconds(milliseconds) if milliseconds else "", style="dim")


def _seconds(milliseconds: int) -> str:
    return f"{milliseconds / 1000:.1f} s"
