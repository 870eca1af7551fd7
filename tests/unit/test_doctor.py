from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from pipeline.domain.tool import DoctorReport, Fact, Tool, ToolReport, ToolState
from pipeline.errors import GateRefusedError
from pipeline.render.doctor import as_json, as_tables
from pipeline.verbs.doctor import doctor, refuse

PODMAN = Tool(program="podman", purpose="builds", minimum=(4, 3), required=True)
COSIGN = Tool(program="cosign", purpose="verifies", minimum=(3, 0, 4))
RUNC = Tool(program="runc", purpose="runs")


def found(
    tool: Tool,
    path: str | None = "/usr/bin/x",
    version: tuple[int, ...] | None = None,
    *,
    featured: bool = False,
) -> ToolReport:
    return ToolReport(tool=tool, path=path, version=version, install=f"get {tool.program}", featured=featured)


class FakeProbe:
    def __init__(self, *tools: ToolReport, facts: tuple[Fact, ...] = ()) -> None:
        self._tools = tools
        self._facts = facts

    def tools(self) -> tuple[ToolReport, ...]:
        return self._tools

    def facts(self) -> tuple[Fact, ...]:
        return self._facts


@pytest.mark.parametrize(
    ("report", "state", "refused"),
    [
        (found(PODMAN, version=(4, 3)), ToolState.OK, False),
        (found(PODMAN, version=(4, 3, 1)), ToolState.OK, False),
        (found(PODMAN, version=(4, 10)), ToolState.OK, False),
        (found(PODMAN, version=(4, 2, 9)), ToolState.TOO_OLD, True),
        (found(PODMAN, None), ToolState.MISSING, True),
        (found(PODMAN), ToolState.UNKNOWN, True),
        (found(COSIGN, version=(3, 0, 3)), ToolState.TOO_OLD, False),
        (found(COSIGN, None), ToolState.MISSING, False),
        (found(COSIGN, featured=True), ToolState.OK, False),
        (found(RUNC), ToolState.OK, False),
    ],
)
def test_a_program_is_judged_by_its_minimum(report: ToolReport, state: ToolState, *, refused: bool) -> None:
    assert report.state is state
    assert report.refused is refused


def test_a_missing_required_program_refuses_and_says_how_to_get_it() -> None:
    report = doctor(FakeProbe(found(PODMAN, None), found(COSIGN, None)))
    with pytest.raises(GateRefusedError) as caught:
        refuse(report)
    assert caught.value.message == "this machine cannot build: podman is missing"
    assert caught.value.hint == "get podman"
    assert caught.value.exit_code == 1


def test_a_fact_that_stops_builds_refuses() -> None:
    bad = Fact(name="runtime", value="crun", ok=False, hint="apt-get install --yes runc")
    with pytest.raises(GateRefusedError, match="runtime: crun"):
        refuse(doctor(FakeProbe(facts=(bad,))))


def test_missing_optional_programs_are_only_told() -> None:
    report = doctor(FakeProbe(found(PODMAN, version=(5, 0)), found(COSIGN, None)))
    refuse(report)
    assert "get cosign" in table_text(report)


def table_text(report: DoctorReport) -> str:
    out = io.StringIO()
    Console(file=out, width=80, color_system=None).print(as_tables(report))
    return out.getvalue()


def test_the_table_shows_versions_and_facts_harmlessly() -> None:
    fact = Fact(name="system", value="evil\x1b[31m[bold]", hint="\u202e")
    text = table_text(doctor(FakeProbe(found(PODMAN, version=(4, 2)), facts=(fact,))))
    assert "too old" in text
    assert "4.2" in text
    assert "get podman" in text
    assert "evil\\x1b[31m[bold]" in text
    assert "\x1b" not in text
    assert "\u202e" not in text


def test_the_json_has_these_keys_and_no_others() -> None:
    fact = Fact(name="user", value="root")
    report = doctor(FakeProbe(found(PODMAN, version=(4, 2)), found(RUNC, None), facts=(fact,)))
    assert json.loads(json.dumps(as_json(report))) == {
        "ok": False,
        "problems": ["podman is too old"],
        "tools": [
            {
                "program": "podman",
                "purpose": "builds",
                "required": True,
                "state": "too old",
                "path": "/usr/bin/x",
                "version": "4.2",
                "minimum": "4.3",
                "install": "get podman",
            },
            {
                "program": "runc",
                "purpose": "runs",
                "required": False,
                "state": "missing",
                "path": None,
                "version": None,
                "minimum": None,
                "install": "get runc",
            },
        ],
        "facts": [{"name": "user", "value": "root", "ok": True, "hint": ""}],
    }
