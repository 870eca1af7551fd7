"""`pipeline doctor`: every program with its version and the command that installs it, and what else decides.

Rules: looking is separate from judging: `doctor` returns the whole report, `refuse` says no afterwards, so
that people see everything before the run ends. Only required programs and facts that stop a build refuse.
"""

from __future__ import annotations

from pipeline.domain.tool import DoctorReport, Probe
from pipeline.errors import GateRefusedError


def doctor(probe: Probe) -> DoctorReport:
    """Return what the probe finds."""
    return DoctorReport(tools=probe.tools(), facts=probe.facts())


def refuse(report: DoctorReport) -> None:
    """Say no when something is missing that every build needs.

    Raises:
        GateRefusedError: Names each problem; the hint holds the commands that mend them.
    """
    if report.problems:
        raise GateRefusedError(
            f"this machine cannot build: {'; '.join(report.problems)}", hint="; ".join(report.remedies)
        )
