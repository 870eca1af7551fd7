"""What a machine's answers mean: a sound image passes, and each fault is found and named."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from booted import AGAIN, GOOD, KERNEL, SYSTEM, good, image, loaded, manifest, ran
from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.boot.inside import Part
from pipeline.domain.boot.judge import Judgement, judge
from pipeline.domain.boot.plan import BootPlan, read_plan
from pipeline.domain.boot.report import (
    Ending,
    Ran,
    last_lines,
    milliseconds,
    panic_in,
    phase_in,
    read_answers,
    shown_lines,
)
from pipeline.domain.boot.result import Accelerator, BootResult, Outcome
from pipeline.domain.canonical import parse_canonical
from pipeline.domain.evidence import EvidenceKind
from pipeline.domain.image import Digest

PLAN = read_plan(image())
DIGEST = Digest("sha256:" + "a" * 64)


def judged(lines: Sequence[str], plan: BootPlan = PLAN) -> Judgement:
    return judge(plan, (ran(Part.MODULES, lines),))


def system(*changes: tuple[str, str]) -> Judgement:
    text = "\n".join([*SYSTEM, *good()])
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return judge(PLAN, (ran(Part.SYSTEM, text.split("\n")), ran(Part.AGAIN, AGAIN)))


def bad(found: Judgement) -> dict[str, str]:
    return {step.name: " ".join([step.found, *step.details]) for step in found.steps if not step.ok}


def test_a_sound_base_passes() -> None:
    found = judged(good())
    assert bad(found) == {}
    assert [step.name for step in found.steps] == ["initramfs", "modules", "zfs pool"]
    outcomes = {one.name: one.outcome for one in found.modules}
    assert outcomes == {
        "spl": Outcome.LOADED,
        "zfs": Outcome.LOADED,
        "nvidia": Outcome.NO_DEVICE,
        "nvidia_uvm": Outcome.NO_DEVICE,
    }
    assert {one.name: one.milliseconds for one in found.modules}["nvidia"] == 1250
    assert KERNEL in found.steps[0].found


@pytest.mark.parametrize(
    ("topic", "lines", "named"),
    [
        (
            "zfs",
            [
                f"vermagic zfs {KERNEL} SMP",
                "module zfs 1 5.00 5.10",
                "said zfs modprobe: ERROR: could not insert 'zfs': Exec format error",
                "dmesg zfs [ 5.0] zfs: version magic '6.1 SMP' should be '6.12 SMP'",
            ],
            "version magic",
        ),
        ("zfs", [*loaded("zfs")[:1], "module zfs 1 5.00 5.10", "said zfs no such file"], "no such file"),
        ("zfs", [], "not tried"),
        ("zfs", loaded("zfs")[:2], "not loaded"),
        ("zfs", loaded("zfs")[1:], "no kernel"),
        ("zfs", [line.replace(KERNEL, "6.1") for line in loaded("zfs")], "built for 6.1 SMP"),
        ("zfs", [line.replace("2.3.9", "2.2.0") for line in loaded("zfs")], "2.2.0"),
        ("zfs", [line.replace("ABC", "XYZ") for line in loaded("zfs")], "srcversion XYZ"),
        (
            "nvidia",
            [*GOOD["nvidia"], "dmesg nvidia [ 6.1] nvidia: Unknown symbol drm_gem (err -2)"],
            "Unknown symbol drm_gem",
        ),
        (
            "nvidia",
            [*GOOD["nvidia"], "dmesg nvidia [ 6.1] nvidia: disagrees about version of symbol module_layout"],
            "disagrees",
        ),
        (
            "nvidia_uvm",
            [*GOOD["nvidia_uvm"], "dmesg nvidia_uvm [ 8.0] nvidia_uvm: Unknown symbol vm_insert (err -2)"],
            "vm_insert",
        ),
        (
            "nvidia_uvm",
            [line for line in GOOD["nvidia_uvm"] if not line.startswith("blocked")],
            "Unknown symbol nv_open",
        ),
    ],
)
def test_a_module_that_would_not_load_is_named(topic: str, lines: list[str], named: str) -> None:
    found = judged(good(**{topic: lines}))
    assert named in bad(found)["modules"]
    assert topic in bad(found)["modules"]


def test_a_module_that_needs_another_driver_may_wait_for_it() -> None:
    tree = image()
    tree.add("/usr/lib/pipeline/modules/nvidia.json", manifest("nvidia", "nvidia", "nvidia-peermem"))
    lines = [
        f"vermagic nvidia_peermem {KERNEL} SMP",
        "module nvidia_peermem 1 8.00 8.10",
        "said nvidia_peermem modprobe: ERROR: could not insert 'nvidia_peermem': Invalid argument",
        "dmesg nvidia_peermem nvidia-peermem ERROR module compiled without IB peer memory symbols present",
    ]
    plan = read_plan(tree)
    assert bad(judged(good(nvidia_uvm=lines), plan)) == {}
    assert "Invalid argument" in bad(judged(good(nvidia_uvm=lines[:3]), plan))["modules"]


@pytest.mark.parametrize("step", ["create", "export", "import", "read"])
def test_a_pool_that_fails_is_told(step: str) -> None:
    lines = [line.replace(f"{step} 0", f"{step} 1") for line in GOOD["pool"]]
    found = bad(judged(good(pool=[*lines, f"saidpool {step} cannot do it"])))
    assert found == {"zfs pool": f"{step} failed cannot do it"}


def test_a_pool_that_was_not_tried_is_no_pass() -> None:
    assert bad(judged(good(pool=[]))) == {"zfs pool": "create failed"}


def test_a_machine_that_went_off_too_early_is_told() -> None:
    assert "went off by itself, in phase modules" in bad(judged(good(done=[])))["machine"]


@pytest.mark.parametrize("ending", [Ending.PANIC, Ending.LATE, Ending.FAILED])
def test_a_machine_that_did_not_end_well_is_told_alone(ending: Ending) -> None:
    found = judge(PLAN, (ran(Part.MODULES, [], ending=ending, why="it said why"),))
    assert bad(found) == {"machine": "it said why, in phase modules"}


def test_a_hang_while_a_module_loads_tells_what_was_loaded_before() -> None:
    lines = [*GOOD["root"], *GOOD["spl"]]
    found = judge(PLAN, (ran(Part.MODULES, lines, ending=Ending.LATE, why="nothing happened"),))
    assert set(bad(found)) == {"machine", "modules", "zfs pool"}


def test_a_sound_host_passes() -> None:
    found = system()
    assert bad(found) == {}
    assert [step.name for step in found.steps] == [
        "initramfs",
        "initramfs after the reboot",
        "system",
        "read-only",
        "modules",
        "zfs pool",
        "persistence",
    ]


@pytest.mark.parametrize(
    ("change", "step", "named"),
    [
        (("state running", "state degraded"), "system", "degraded"),
        (("state running 40.00", "job 12 slow.service start waiting"), "system", "slow.service"),
        (("state running", "failed bad.service\njournal bad.service it broke\nstate running"), "system",
         "it broke"),
        (("mark refused /usr", "mark written /usr"), "read-only", "/usr was written"),
        (("mark written /var", "mark refused /var"), "read-only", "/var was refused"),
        (("mark written /tmp", "mark"), "read-only", "/tmp was not tried"),
    ],
)  # fmt: skip
def test_a_fault_of_the_system_is_named(change: tuple[str, str], step: str, named: str) -> None:
    found = bad(system(change))
    assert set(found) == {step}
    assert named in found[step]


@pytest.mark.parametrize(
    ("old", "new"),
    [("kept yes /var", "kept no /var"), ("kept no /tmp", "kept yes /tmp"), ("kept yes /etc", "")],
)
def test_what_does_not_persist_as_promised_is_named(old: str, new: str) -> None:
    again = [new if line == old else line for line in AGAIN]
    found = judge(PLAN, (ran(Part.SYSTEM, [*SYSTEM, *good()]), ran(Part.AGAIN, again)))
    assert old.split()[2] in bad(found)["persistence"]


def test_failed_units_keep_the_end_of_their_journal() -> None:
    found = system(("state running", "failed bad.service\njournal bad.service one\nstate degraded"))
    assert [(one.name, one.journal) for one in found.failed_units] == [("bad.service", ("one",))]


def test_directories_of_state_must_belong_to_their_owner_and_quadlets_be_made() -> None:
    tree = image()
    tree.add(
        "/usr/lib/pipeline/persistence.json", '{"state": [{"path": "/var/lib/db", "owner": "db", "why": ""}]}'
    )
    tree.add("/usr/lib/tmpfiles.d/50.conf", "d /var/lib/db 0700 2002 2002 -")
    tree.add("/etc/containers/systemd/users/2002/db.container", "[Container]\n")
    plan = read_plan(tree)
    fine = ["mark written /var/lib/db", "owner db /var/lib/db", "made yes db.service"]
    wrong = ["mark written /var/lib/db", "owner root /var/lib/db", "made no db.service"]
    assert bad(judge(plan, (ran(Part.SYSTEM, [*SYSTEM, *good(), *fine]),))) == {}
    found = bad(judge(plan, (ran(Part.SYSTEM, [*SYSTEM, *good(), *wrong]),)))
    assert set(found) == {"state", "quadlets"}
    assert "belongs to root, not db" in found["state"]


def result(*boots: Ran) -> BootResult:
    found = judge(PLAN, boots)
    return BootResult(
        accelerator=Accelerator.TCG,
        kernel=KERNEL,
        full=False,
        steps=found.steps,
        modules=found.modules,
        failed_units=found.failed_units,
        left_out=(("a.service", "no network"),),
        boots=boots,
        milliseconds=31_000,
    )


def test_evidence_is_canonical_and_names_the_image() -> None:
    document, console = result(ran(Part.MODULES, good(), console=b"\x1b[1mline\xff\n")).evidence(DIGEST)
    value = parse_canonical(document.data)
    assert (value["image"], value["ok"], value["accelerator"]) == (str(DIGEST), True, "tcg")
    assert {one["module"] for one in value["modules"]} == {"spl", "zfs", "nvidia", "nvidia_uvm"}
    assert (document.kind, console.kind) == (EvidenceKind.BOOT_TEST, EvidenceKind.CONSOLE)
    assert b"\x1b[1mline\xff\n" in console.data


def test_a_very_long_console_keeps_its_end() -> None:
    _, console = result(ran(Part.MODULES, good(), console=b"x" * (2 << 20) + b"the end")).evidence(DIGEST)
    assert len(console.data) == 1 << 20
    assert console.data.endswith(b"the end\n")


def test_nothing_asked_is_no_pass() -> None:
    assert not result().ok


@given(st.binary(max_size=2000))
def test_no_report_makes_a_pass_or_an_error(noise: bytes) -> None:
    boot = Ran(
        part=Part.MODULES, ending=Ending.OFF, phase="", why="", report=noise, console=noise, milliseconds=1
    )
    found = result(boot)
    assert not found.ok
    parse_canonical(found.evidence(DIGEST)[0].data)


@given(st.text())
def test_answers_are_harmless_text(text: str) -> None:
    answers = read_answers(b"said zfs " + text.encode("utf-8", "surrogatepass"))
    assert all(rest.isprintable() for rest in answers.all("said"))


@pytest.mark.parametrize(("text", "expected"), [("12.34", 12340), ("0.05", 50), ("x", 0), ("1", 0), ("", 0)])
def test_uptimes_become_milliseconds(text: str, expected: int) -> None:
    assert milliseconds(text) == expected


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("[ 1.0] Kernel panic - not syncing: No working init found.", "No working init found."),
        ("[ 2.0] Kernel panic - not syncing: \x1b[31mred", "\\x1b[31mred"),
        (
            "BUG: unable to handle page fault for address: 0",
            "BUG: unable to handle page fault for address: 0",
        ),
        ("[  OK  ] Started panic.service", None),
    ],
)
def test_a_panic_is_seen(line: str, why: str | None) -> None:
    assert panic_in(line) == why


@pytest.mark.parametrize(
    ("line", "phase"), [("pipeline-boot-test: phase zfs", "zfs"), ("phase zfs", None), ("", None)]
)
def test_a_phase_is_seen(line: str, phase: str | None) -> None:
    assert phase_in(line) == phase


def test_the_last_lines_are_plain() -> None:
    console = b"first\n\n\x1b[0;32mOK\x1b[0m done\r\n\x1b]0;title\x07next \xff\n"
    assert last_lines(console, 2) == ("OK done", "next \\xff")
    assert shown_lines(["", "\t", "a"]) == ("a",)
