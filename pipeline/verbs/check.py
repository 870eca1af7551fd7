"""`check`: ask every gate about one image.

Rules: every gate that applies is asked, whatever the others said; a report without an answer is no pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pipeline.domain.checks import CheckReport
from pipeline.domain.gate import Gate, GateResult, Subject, run_gates
from pipeline.domain.gates.registry import all_gates
from pipeline.domain.text import plain
from pipeline.domain.walked import WalkedTree
from pipeline.errors import GateRefusedError

_MOST_SHOWN = 12
"""Details of one gate in the message; the table and the JSON document have more."""


def check(subject: Subject, gates: Sequence[Gate] | None = None) -> CheckReport:
    """Ask every gate (or those given) that applies to the subject's tier; the tree is walked once for all."""
    walked = replace(subject, tree=WalkedTree(subject.tree))
    return CheckReport(tier=subject.tier, results=run_gates(all_gates() if gates is None else gates, walked))


def require(report: CheckReport) -> None:
    """Let a report pass, or refuse.

    Raises:
        GateRefusedError: Names every gate that said no, with what it found where.
    """
    if report.ok:
        return
    if not report.results:
        raise GateRefusedError(
            f"no gate was asked about this {report.tier} image",
            hint="ask the gates that `check --list` shows",
        )
    lines = [line for result in report.refused for line in _lines(result)]
    raise GateRefusedError(
        "\n".join([f"{len(report.refused)} of {len(report.results)} gates said no", *lines]),
        hint="mend what the gates name and build again, or waive a gate with a reason and a date",
    )


def _lines(result: GateResult) -> list[str]:
    finding = result.finding
    shown = [f"      {plain(detail)}" for detail in finding.details[:_MOST_SHOWN]]
    more = len(finding.details) - len(shown)
    rest = [f"      … and {more} more lines; `pipeline check` shows them"] if more > 0 else []
    return [f"  {result.gate}: {finding.verdict}: {plain(finding.summary)}", *shown, *rest]
