"""What the answers of a booted image mean.

Rules: what was not answered is a no. A module is loaded when the kernel lists it with the manifest's source
version; its vermagic is looked at as well, for a kernel with symbol versions ignores the release in it. A
module may be refused for want of a device alone: its start said ENODEV, and the kernel complained of nothing
before. One whose dependency has no device is inserted alone, and may miss that one's symbols only.
Sources: kernel/module/main.c of Linux for the complaints; systemctl(1) for the states of a system.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipeline.domain.boot.inside import Part
from pipeline.domain.boot.plan import BootPlan, Keeping, PlannedModule
from pipeline.domain.boot.report import Answers, Ending, Ran, milliseconds, read_answers
from pipeline.domain.boot.result import FailedUnit, ModuleResult, Outcome, Step

_POOL_STEPS = ("create", "write", "export", "import", "read", "destroy")
_MOST_JOBS = 20
_COMPLAINT = re.compile(
    r"version magic|disagrees about version|no symbol version for|Unknown symbol|Invalid module format"
    r"|[Uu]nknown relocation|Unsupported relocation|Key was rejected|exports duplicate symbol"
    r"|needs unknown symbol|BUG:|Oops|WARNING: CPU|Call Trace"
)
_UNKNOWN = re.compile(r"Unknown symbol (\S+) \(err -?\d+\)")
_NO_DEVICE = "No such device"
_WITHOUT_COMPANION = {"nvidia_peermem": ("Invalid argument", "without IB peer memory symbols")}
"""Modules that start only beside another vendor's driver: what they say without it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What was asked and found, see `result.BootResult`."""

    steps: tuple[Step, ...]
    modules: tuple[ModuleResult, ...]
    failed_units: tuple[FailedUnit, ...]


def judge(plan: BootPlan, boots: Sequence[Ran]) -> Judgement:
    """Return what the boots of one image mean; the boots are those of `inside.Part`, in that order."""
    answers = {one.part: read_answers(one.report) for one in boots}
    first = next((one for part, one in answers.items() if part is not Part.AGAIN), Answers(lines=()))
    modules = tuple(_module(plan, one, first) for one in plan.modules)
    steps = [step for one in boots for step in _boot_steps(one, answers[one.part])]
    steps += _system_steps(plan, answers[Part.SYSTEM]) if Part.SYSTEM in answers else ()
    if first.all("module") or not _broken(boots):
        steps += _module_steps(plan, modules, first)
    if Part.AGAIN in answers:
        steps.append(_persistence(plan, answers[Part.AGAIN]))
    failed = tuple(FailedUnit(name=name, journal=first.of("journal", name)) for name in first.all("failed"))
    return Judgement(steps=tuple(steps), modules=modules, failed_units=failed)


def _broken(boots: Sequence[Ran]) -> bool:
    return any(one.ending is not Ending.OFF for one in boots)


def _boot_steps(ran: Ran, answers: Answers) -> Iterator[Step]:
    started = {name: milliseconds(up) for name, up in answers.rows("phase", 2)}
    if "root" in started:
        kernel = next(iter(answers.all("kernel")), "unknown")
        found = f"kernel {kernel}; its initramfs mounted the root"
        yield Step(name=_of("initramfs", ran), ok=True, found=found, milliseconds=started["root"])
    if ran.ending is not Ending.OFF:
        yield Step(name=_of("machine", ran), ok=False, found=f"{ran.why}, {_when(ran)}")
    elif str(ran.part) not in answers.all("done"):
        yield Step(name=_of("machine", ran), ok=False, found=f"it went off by itself, {_when(ran)}")


def _of(what: str, ran: Ran) -> str:
    return f"{what} after the reboot" if ran.part is Part.AGAIN else what


def _when(ran: Ran) -> str:
    return f"in phase {ran.phase}" if ran.phase else "before the root was mounted"


def _module(plan: BootPlan, one: PlannedModule, answers: Answers) -> ModuleResult:
    rows = [row for row in answers.rows("module", 4) if row[0] == one.name]
    lines = answers.of("dmesg", one.name)
    outcome, why = _outcome(plan, one, answers) if rows else (Outcome.FAILED, "it was not tried")
    took = milliseconds(rows[0][3]) - milliseconds(rows[0][2]) if rows else 0
    return ModuleResult(
        name=one.name,
        set_name=one.set_name,
        outcome=outcome,
        version=answers.first("version", one.name),
        why=why,
        lines=lines,
        milliseconds=max(took, 0),
    )


def _outcome(plan: BootPlan, one: PlannedModule, answers: Answers) -> tuple[Outcome, str]:
    vermagic = answers.first("vermagic", one.name)
    if vermagic.partition(" ")[0] != plan.kernel:
        return Outcome.FAILED, f"it was built for {vermagic or 'no kernel'}, the kernel is {plan.kernel}"
    if answers.first("initstate", one.name) == "live":
        return _loaded(one, answers)
    return _refused(plan, one, answers)


def _refused(plan: BootPlan, one: PlannedModule, answers: Answers) -> tuple[Outcome, str]:
    said, lines = " ".join(answers.of("said", one.name)), answers.of("dmesg", one.name)
    blocked = answers.first("blocked", one.name).split()
    allowed = {symbol for symbol, module in plan.symbols.items() if module in blocked}
    missing = {name for line in lines for name in _UNKNOWN.findall(line)}
    complaints = [
        line for line in lines if _COMPLAINT.search(line) and not set(_UNKNOWN.findall(line)) & allowed
    ]
    if complaints:
        return Outcome.FAILED, complaints[0]
    if blocked and missing:
        names = ", ".join(blocked)
        return (
            Outcome.NO_DEVICE,
            f"all symbols are there but the {len(missing)} of {names}, which has no device",
        )
    if said.endswith(f": {_NO_DEVICE}"):
        return Outcome.NO_DEVICE, "all symbols are there, and there is no device for it"
    error, line = _WITHOUT_COMPANION.get(one.name, ("", ""))
    if error and said.endswith(f": {error}") and any(line in each for each in lines):
        return Outcome.NO_DEVICE, f"all symbols are there, and it was built {line}"
    return Outcome.FAILED, said or "modprobe said nothing, and it is not loaded"


def _loaded(one: PlannedModule, answers: Answers) -> tuple[Outcome, str]:
    for word, expected in (("version", one.file.version), ("srcversion", one.file.srcversion)):
        found = answers.first(word, one.name)
        if expected and found != expected:
            return Outcome.FAILED, f"the kernel has {word} {found or 'none'}, the manifest says {expected}"
    return Outcome.LOADED, ""


def _module_steps(plan: BootPlan, modules: Sequence[ModuleResult], answers: Answers) -> Iterator[Step]:
    failed = [one for one in modules if one.outcome is Outcome.FAILED]
    idle = sum(one.outcome is Outcome.NO_DEVICE for one in modules)
    found = f"{len(modules) - idle - len(failed)} loaded, {idle} without a device"
    yield Step(
        name="modules",
        ok=not failed,
        found=f"{found}, {len(failed)} failed" if failed else found,
        details=tuple(f"{one.name}: {one.why}" for one in failed),
        milliseconds=sum(one.milliseconds for one in modules),
    )
    if plan.zfs:
        yield _pool(answers)


def _pool(answers: Answers) -> Step:
    rows = {name: (code, from_, to) for name, code, from_, to in answers.rows("pool", 4)}
    bad = [name for name in _POOL_STEPS if rows.get(name, ("1", "", ""))[0] != "0"]
    took = sum(milliseconds(to) - milliseconds(from_) for _, from_, to in rows.values())
    if bad:
        details = answers.of("saidpool", bad[0])
        return Step(name="zfs pool", ok=False, found=f"{bad[0]} failed", details=details, milliseconds=took)
    found = "created, written, exported, imported, read back, destroyed"
    return Step(name="zfs pool", ok=True, found=found, milliseconds=max(took, 0))


def _system_steps(plan: BootPlan, answers: Answers) -> Iterator[Step]:
    state, _, up = next(iter(answers.all("state")), "").partition(" ")
    failed = answers.all("failed")
    jobs = [f"still waiting: {job}" for job in answers.all("job")]
    journal = [f"{name}: {line}" for name in failed for line in answers.of("journal", name)[-3:]]
    yield Step(
        name="system",
        ok=state == "running" and not failed,
        found=f"{len(failed)} units failed: {', '.join(failed)}"
        if failed
        else f"systemd is {state or 'silent'}",
        details=(*journal, *jobs[:_MOST_JOBS]),
        milliseconds=milliseconds(up),
    )
    yield from _quadlets(plan, answers)
    yield _read_only(plan, answers)
    yield from _owners(plan, answers)


def _quadlets(plan: BootPlan, answers: Answers) -> Iterator[Step]:
    wanted = [one.unit for one in plan.left_out if one.made]
    made = {unit for there, unit in answers.rows("made", 2) if there == "yes"}
    missing = tuple(unit for unit in wanted if unit not in made)
    if wanted:
        found = f"{len(wanted) - len(missing)} of {len(wanted)} were made into units; none was started"
        yield Step(name="quadlets", ok=not missing, found=found, details=missing)


def _read_only(plan: BootPlan, answers: Answers) -> Step:
    said = {path: how for how, path in answers.rows("mark", 2)}
    wanted = {one.path: "refused" if one.keeping is Keeping.REFUSED else "written" for one in plan.places}
    reasons = {row[0]: row[1] for row in answers.rows("saidmark", 2)}
    wrong = tuple(
        f"a file in {path} was {said.get(path, 'not tried')}: {reasons.get(path, '')}".rstrip(": ")
        for path, how in wanted.items()
        if said.get(path) != how
    )
    refused = ", ".join(path for path, how in wanted.items() if how == "refused")
    found = f"{len(wrong)} places are not as promised" if wrong else f"{refused} refused a write"
    return Step(name="read-only", ok=not wrong, found=found, details=wrong)


def _owners(plan: BootPlan, answers: Answers) -> Iterator[Step]:
    wanted = {one.path: one.owner for one in plan.places if one.owner}
    there = {path: owner for owner, path in answers.rows("owner", 2)}
    wrong = tuple(
        f"{path} belongs to {there.get(path, 'nobody, it is missing')}, not {owner}"
        for path, owner in wanted.items()
        if there.get(path) != owner
    )
    if wanted:
        found = f"{len(wanted) - len(wrong)} of {len(wanted)} directories are there with their owner"
        yield Step(name="state", ok=not wrong, found=found, details=wrong)


def _persistence(plan: BootPlan, answers: Answers) -> Step:
    said = {path: there for there, path in answers.rows("kept", 2)}
    words = {Keeping.KEPT: "yes", Keeping.GONE: "no"}
    wanted = {one.path: one.keeping for one in plan.places if one.keeping in words}
    wrong = tuple(
        f"{path} must be {keeping}" for path, keeping in wanted.items() if said.get(path) != words[keeping]
    )
    kept = ", ".join(path for path, keeping in wanted.items() if keeping is Keeping.KEPT)
    gone = ", ".join(path for path, keeping in wanted.items() if keeping is Keeping.GONE)
    found = f"{len(wrong)} places are not as promised" if wrong else f"kept: {kept}; gone: {gone}"
    return Step(name="persistence", ok=not wrong, found=found, details=wrong)
