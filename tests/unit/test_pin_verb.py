"""`pin` and `pin --check` over an engine that compiles by a table: what is compiled, kept, and said."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from buildkit import NOW, USERSPACE, VERSIONS, Yard, kernel, make_yard, offer, release, sha
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.domain.image import Digest
from pipeline.domain.kernel import DeclaredRange, KernelCandidate, RangeRule, Workshop
from pipeline.domain.offer import Offer
from pipeline.domain.pin import PinState
from pipeline.domain.record import Candidate
from pipeline.errors import BuildFailedError, PinError, PinGoneError, PinObsoleteError, UsageError
from pipeline.verbs import check_pins
from pipeline.verbs.pin import ByHand, ask, pin, pin_by_hand, verdict

ALL = (117, 116, 113, 111, 94)


@pytest.fixture
def yard(tmp_path: Path) -> Yard:
    made = make_yard(tmp_path)
    made.upstream_candidate()
    return made


def parent(yard: Yard) -> Candidate:
    return yard.world.records[0]


def fail(yard: Yard, *numbers: int, module: str = "nvidia") -> None:
    yard.world.fails |= {(module, release(number)) for number in numbers}


def kernels(yard: Yard) -> list[str]:
    """Return the kernels something was compiled for, in order, each once."""
    return list(dict.fromkeys(name for _, name in yard.world.compiled))


# --- the search ------------------------------------------------------------------------------------------


def test_the_newest_that_compiles_everything_is_pinned(yard: Yard) -> None:
    made = pin(yard.run, yard.base, offer(parent(yard), ALL), yard.pins)
    assert made.kernel == release(117)
    assert yard.world.compiled == [("nvidia", release(117)), ("zfs", release(117))]
    assert made.passed_over == ()
    assert made.modules == VERSIONS
    assert made.userspace == USERSPACE
    assert made.kernel_devel == (kernel(117).devel_package,)
    assert made.kernel_packages == kernel(117).image_packages
    assert made.upstream_digest == parent(yard).digest
    assert yard.pins.read().pins == {"base": made}


def test_evidence_is_the_digest_of_each_successful_log(yard: Yard) -> None:
    made = pin(yard.run, yard.base, offer(parent(yard), ALL), yard.pins)
    assert made.evidence == {name: sha(f"making {name} for {release(117)}\n") for name in ("nvidia", "zfs")}


def test_all_kernels_are_tried_on_one_toolchain(yard: Yard) -> None:
    fail(yard, 117, 116)
    equipped = yard.with_base(toolchain=yard.images.parent / "toolchain.Containerfile")
    pin(equipped.run, equipped.base, offer(parent(yard), (117, 116, 94)), yard.pins)
    assert yard.world.happened.count("build toolchain") == 1
    assert len({one["UPSTREAM"] for one in yard.world.arguments if "MODULE_SET" in one}) == 1


def test_a_pin_that_stands_builds_no_toolchain(yard: Yard) -> None:
    equipped = yard.with_base(toolchain=yard.images.parent / "toolchain.Containerfile")
    offered = offer(parent(yard), (94,))
    pin(equipped.run, equipped.base, offered, equipped.pins)
    yard.world.happened.clear()
    pin(equipped.run, equipped.base, offered, equipped.pins)
    assert "build toolchain" not in yard.world.happened


def test_a_toolchain_that_cannot_be_built_says_nothing_of_a_kernel(yard: Yard) -> None:
    equipped = yard.with_base(toolchain=yard.images.parent / "toolchain.Containerfile")
    yard.world.fails.add(("toolchain", ""))
    with pytest.raises(BuildFailedError, match="toolchain"):
        pin(equipped.run, equipped.base, offer(parent(yard), ALL), equipped.pins)
    assert equipped.pins.read().failures == ()


def test_older_ones_are_searched_without_a_linear_walk(yard: Yard) -> None:
    numbers = tuple(range(164, 100, -1))
    fail(yard, *range(104, 165))
    made = pin(yard.run, yard.base, offer(parent(yard), numbers), yard.pins)
    assert made.kernel == release(103)
    assert len(kernels(yard)) <= 8  # the newest, then halving 63


def test_every_newer_kernel_is_said_why_it_was_passed_over(yard: Yard) -> None:
    fail(yard, 117, 116, 113, 111)
    offered = offer(
        parent(yard), (120, *ALL), dropped={120: "zfs META: the newest kernel it declares is 6.11"}
    )
    made = pin(yard.run, yard.base, offered, yard.pins)
    assert made.kernel == release(94)
    reasons = {one.kernel: one.reason for one in made.passed_over}
    assert list(reasons) == [release(number) for number in (120, 117, 116, 113, 111)]
    assert reasons[release(120)].endswith("declares is 6.11")
    assert "nvidia 550.163.01-2 does not compile: foo.c:12:3: error: too few" in reasons[release(117)]
    assert "nvidia" in reasons[release(111)]
    assert release(120) not in kernels(yard)


def test_all_modules_must_compile_and_the_first_that_fails_spares_the_rest(yard: Yard) -> None:
    fail(yard, 117, module="zfs")
    fail(yard, 116, module="nvidia")
    made = pin(yard.run, yard.base, offer(parent(yard), (117, 116, 94)), yard.pins)
    assert made.kernel == release(94)
    assert ("zfs", release(116)) not in yard.world.compiled
    assert {(one.module, one.kernel) for one in yard.pins.read().failures} == {
        ("zfs", release(117)),
        ("nvidia", release(116)),
    }


def test_a_stage_that_leaves_the_wrong_files_is_a_failure_of_that_kernel(yard: Yard) -> None:
    yard.world.extra["zfs"] = {"/out/etc/evil.conf": "x"}
    with pytest.raises(PinError):
        pin(yard.run, yard.base, offer(parent(yard), (94,)), yard.pins)
    [kept] = yard.pins.read().failures
    assert (kept.module, kept.kernel) == ("zfs", release(94))
    assert "/etc/evil.conf" in kept.error


def test_nothing_compiles_names_every_kernel_and_its_reason(yard: Yard) -> None:
    fail(yard, *ALL)
    offered = offer(parent(yard), (120, *ALL), dropped={120: "its kernel-devel is not in the repositories"})
    with pytest.raises(PinError) as caught:
        pin(yard.run, yard.base, offered, yard.pins)
    lines = caught.value.message.splitlines()
    assert len(lines) == 1 + 1 + len(ALL)
    assert f"  {release(120)}: its kernel-devel is not in the repositories" in lines
    for number in ALL:
        assert any(line.startswith(f"  {release(number)}: nvidia 550.163.01-2: foo.c") for line in lines)
    assert "--reprove" in caught.value.hint
    assert yard.pins.read().pins == {}


def test_no_offered_kernel_at_all_is_a_pin_error(yard: Yard) -> None:
    with pytest.raises(PinError, match="no offered kernel serves debian/base"):
        pin(yard.run, yard.base, offer(parent(yard), ()), yard.pins)


# --- memory ----------------------------------------------------------------------------------------------


def test_a_failure_is_kept_before_the_next_kernel_is_tried(yard: Yard) -> None:
    fail(yard, 117)
    yard.world.interrupts.add(("nvidia", release(113)))
    with pytest.raises(KeyboardInterrupt):
        pin(yard.run, yard.base, offer(parent(yard), ALL), yard.pins)
    [kept] = yard.pins.read().failures
    assert (kept.kernel, kept.module, kept.version) == (release(117), "nvidia", VERSIONS["nvidia"])
    assert kept.error == f"foo.c:12:3: error: too few arguments for {release(117)}"
    assert kept.log == sha(f"making nvidia\n{kept.error}\nmake: *** Error 2\n")
    assert kept.time == NOW
    assert yard.pins.read().pins == {}


def test_what_failed_is_not_tried_again(yard: Yard) -> None:
    fail(yard, *ALL)
    offered = offer(parent(yard), ALL)
    for _ in range(2):
        with pytest.raises(PinError):
            pin(yard.run, yard.base, offered, yard.pins)
    assert sorted(kernels(yard)) == sorted(release(number) for number in ALL)
    assert len(yard.world.compiled) == len(ALL)


def test_what_is_proved_is_not_compiled_again(yard: Yard) -> None:
    fail(yard, 117)
    offered = offer(parent(yard), ALL)
    first = pin(yard.run, yard.base, offered, yard.pins)
    count = len(yard.world.compiled)
    newer = yard.upstream_candidate(2)
    second = pin(yard.run, yard.base, offer(newer, ALL), yard.pins)
    assert len(yard.world.compiled) == count
    assert second == dataclasses.replace(first, upstream_digest=newer.digest)
    assert any("nothing was compiled" in note for note in yard.world.notes)


def test_a_newer_kernel_is_tried_and_the_old_proof_stays_good(yard: Yard) -> None:
    pin(yard.run, yard.base, offer(parent(yard), (94,)), yard.pins)
    fail(yard, 117, 116)
    count = len(yard.world.compiled)
    made = pin(yard.run, yard.base, offer(parent(yard), (117, 116, 94)), yard.pins)
    assert made.kernel == release(94)
    assert [name for _, name in yard.world.compiled[count:]] == [release(117), release(116)]
    assert set(made.evidence) == {"nvidia", "zfs"}


def test_another_module_version_forgets_the_failure_and_the_proof(yard: Yard) -> None:
    fail(yard, 117)
    pin(yard.run, yard.base, offer(parent(yard), (117, 94)), yard.pins)
    yard.world.fails.clear()
    count = len(yard.world.compiled)
    newer = {**VERSIONS, "nvidia": "560.1-1"}
    made = pin(yard.run, yard.base, offer(parent(yard), (117, 94), modules=newer), yard.pins)
    assert made.kernel == release(117)
    assert made.modules == newer
    assert yard.world.compiled[count:] == [("nvidia", release(117)), ("zfs", release(117))]


def test_another_module_s_version_leaves_the_failure_standing(yard: Yard) -> None:
    fail(yard, 117)
    pin(yard.run, yard.base, offer(parent(yard), (117, 94)), yard.pins)
    count = len(yard.world.compiled)
    newer = {**VERSIONS, "zfs": "2.4.0-1"}
    made = pin(yard.run, yard.base, offer(parent(yard), (117, 94), modules=newer), yard.pins)
    assert made.kernel == release(94)
    assert {name for _, name in yard.world.compiled[count:]} == {release(94)}


def test_reprove_compiles_again_and_a_proof_takes_the_failure_away(yard: Yard) -> None:
    fail(yard, 117)
    offered = offer(parent(yard), (117, 94))
    assert pin(yard.run, yard.base, offered, yard.pins).kernel == release(94)
    yard.world.fails.clear()
    made = pin(yard.run, yard.base, offered, yard.pins, reprove=True)
    assert made.kernel == release(117)
    assert yard.pins.read().failures == ()
    count = len(yard.world.compiled)
    assert pin(yard.run, yard.base, offered, yard.pins).kernel == release(117)
    assert len(yard.world.compiled) == count


def test_reprove_keeps_the_pin_when_the_search_is_interrupted(yard: Yard) -> None:
    offered = offer(parent(yard), ALL)
    before = pin(yard.run, yard.base, offered, yard.pins)
    yard.world.interrupts.add(("zfs", release(117)))
    with pytest.raises(KeyboardInterrupt):
        pin(yard.run, yard.base, offered, yard.pins, reprove=True)
    assert yard.pins.read().pins == {"base": before}


@pytest.mark.parametrize(
    "error",
    [
        "E: Failed to fetch http://archive/x.deb  Could not connect",
        "E: Unable to locate package dkms",
        "Error: Unable to find a match: kernel-devel-6.12.0",
        "cc1: fatal error: error writing to /tmp/x.s: No space left on device",
        "make[2]: *** [scripts/Makefile.build:243: x.o] Killed",
    ],
)
def test_what_says_nothing_about_the_kernel_ends_the_run_and_is_not_kept(yard: Yard, error: str) -> None:
    fail(yard, 117)
    yard.world.error = error
    with pytest.raises(BuildFailedError):
        pin(yard.run, yard.base, offer(parent(yard), ALL), yard.pins)
    assert yard.pins.read().failures == ()


@settings(derandomize=True, deadline=None, max_examples=60)
@given(st.lists(st.booleans(), min_size=1, max_size=8), st.lists(st.booleans(), min_size=8, max_size=8))
def test_the_result_is_proved_and_its_newer_neighbour_known_to_fail(
    tmp_path_factory: pytest.TempPathFactory, works: list[bool], remembered: list[bool]
) -> None:
    yard = make_yard(tmp_path_factory.mktemp("yard"))
    first = yard.upstream_candidate()
    numbers = tuple(range(len(works), 0, -1))
    for number, good in zip(numbers, works, strict=True):
        if not good:
            fail(yard, number)
    offered = offer(first, numbers)
    known = [number for number, seen in zip(numbers, remembered, strict=False) if seen]
    if known:  # an earlier run saw some of them
        try:
            pin(yard.run, yard.base, offer(first, known), yard.pins)
        except PinError:
            assert not any(works[numbers.index(number)] for number in known)
    if not any(works):
        with pytest.raises(PinError):
            pin(yard.run, yard.base, offered, yard.pins)
        return
    made = pin(yard.run, yard.base, offered, yard.pins)
    place = [release(number) for number in numbers].index(made.kernel)
    assert works[place]
    if place:
        assert not works[place - 1]
    assert len(yard.world.compiled) == len(set(yard.world.compiled))  # nothing is compiled twice


# --- asking the repositories -----------------------------------------------------------------------------


class Repositories:
    """A package manager's answers."""

    def __init__(self, versions: Mapping[str, str], ranges: Sequence[DeclaredRange] = ()) -> None:
        self.versions = versions
        self.ranges = tuple(ranges)

    def candidates(self, inside: Workshop) -> tuple[KernelCandidate, ...]:
        return (kernel(117), kernel(116, devel=False), kernel(94, in_image=True))

    def module_version(self, inside: Workshop, package: str) -> str | None:
        return self.versions.get(package)

    def declared(self, inside: Workshop, package: str, dkms: str) -> tuple[DeclaredRange, ...]:
        return self.ranges if dkms == "zfs" else ()


OFFERED = {"nvidia-dkms": "550.163.01-2", "zfs-dkms": "2.3.9-1", "zfsutils-linux": "2.3.9-1+b1"}


def test_the_offer_drops_what_no_module_wants(yard: Yard) -> None:
    meta = DeclaredRange(source="zfs META", rule=RangeRule.SERIES, maximum="6.11")
    found = ask(yard.run, yard.base, parent(yard), Repositories(OFFERED, [meta]), arch="x86_64")
    assert found.kept == ()
    assert [one.release for one in found.dropped] == [release(117), release(116), release(94)]
    assert found.modules == {"nvidia": "550.163.01-2", "zfs": "2.3.9-1"}
    found = ask(yard.run, yard.base, parent(yard), Repositories(OFFERED), arch="x86_64")
    assert [one.release for one in found.kept] == [release(117), release(94)]
    assert found.dropped[0].reason == "its kernel-devel is not in the repositories"


@pytest.mark.parametrize("package", sorted(OFFERED))
def test_a_package_that_is_not_offered_is_named(yard: Yard, package: str) -> None:
    less = {name: version for name, version in OFFERED.items() if name != package}
    with pytest.raises(PinError, match=f"offer no package {package}"):
        ask(yard.run, yard.base, parent(yard), Repositories(less), arch="x86_64")


def test_userspace_of_another_version_than_its_module_is_refused(yard: Yard) -> None:
    other = {**OFFERED, "zfsutils-linux": "2.3.8-1"}
    with pytest.raises(
        PinError, match=r"zfsutils-linux is offered as 2\.3\.8-1, but the module zfs as 2\.3\.9-1"
    ):
        ask(yard.run, yard.base, parent(yard), Repositories(other), arch="x86_64")
    assert yard.world.compiled == []


# --- by hand ---------------------------------------------------------------------------------------------

YESTERDAY = dt.date(2026, 11, 20)
NEXT_YEAR = dt.date(2027, 11, 21)


def test_a_pin_by_hand_keeps_reason_and_last_day_and_compiles_nothing(yard: Yard) -> None:
    wish = ByHand(kernel=release(94), reason="known good on the racks", expires=NEXT_YEAR)
    made = pin_by_hand(yard.run, yard.base, offer(parent(yard), ALL), yard.pins, wish)
    assert (made.kernel, made.reason, made.expires) == (release(94), wish.reason, NEXT_YEAR)
    assert made.by_hand
    assert not made.evidence
    assert yard.world.compiled == []
    assert yard.pins.read().pins == {"base": made}


@pytest.mark.parametrize(
    ("wish", "error", "said"),
    [
        (ByHand(kernel=release(94), reason="  ", expires=NEXT_YEAR), UsageError, "needs a reason"),
        (
            ByHand(kernel=release(94), reason="x", expires=dt.date(2026, 11, 20)),
            UsageError,
            "2026-11-20 is over",
        ),
        (ByHand(kernel="6.12.1-gone", reason="x", expires=NEXT_YEAR), PinError, "not in the repositories"),
    ],
)
def test_a_pin_by_hand_that_cannot_be_is_refused(
    yard: Yard, wish: ByHand, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        pin_by_hand(yard.run, yard.base, offer(parent(yard), ALL), yard.pins, wish)
    assert yard.world.writes == []


def test_a_pin_by_hand_of_what_failed_is_told_so(yard: Yard) -> None:
    fail(yard, 117)
    offered = offer(parent(yard), (117, 94))
    pin(yard.run, yard.base, offered, yard.pins)
    failures = yard.pins.read().failures
    before = len(yard.world.notes)
    wish = ByHand(kernel=release(117), reason="patched in the module stage", expires=NEXT_YEAR)
    assert pin_by_hand(yard.run, yard.base, offered, yard.pins, wish).kernel == release(117)
    (note,) = yard.world.notes[before:]
    assert note.startswith(f"{release(117)}: nvidia ")
    assert "does not compile" in note
    assert yard.pins.read().failures == failures


def test_the_last_day_is_still_good(yard: Yard) -> None:
    wish = ByHand(kernel=release(94), reason="x", expires=NOW.date())
    made = pin_by_hand(yard.run, yard.base, offer(parent(yard), ALL), yard.pins, wish)
    made.require_valid(NOW.date())
    with pytest.raises(PinError, match="expired on 2026-11-21"):
        made.require_valid(NOW.date() + dt.timedelta(days=1))


def test_a_search_replaces_a_pin_by_hand_and_proves_its_kernel(yard: Yard) -> None:
    wish = ByHand(kernel=release(94), reason="x", expires=NEXT_YEAR)
    pin_by_hand(yard.run, yard.base, offer(parent(yard), (94,)), yard.pins, wish)
    made = pin(yard.run, yard.base, offer(parent(yard), (94,)), yard.pins)
    assert not made.by_hand
    assert kernels(yard) == [release(94)]


# --- verdicts --------------------------------------------------------------------------------------------


def state(yard: Yard, offered: Offer) -> tuple[PinState, tuple[str, ...]]:
    known = yard.pins.read()
    found = verdict(yard.base, known.pins["base"], offered, known)
    return found.state, found.reasons


def test_a_pin_holds_while_nothing_better_is_offered(yard: Yard) -> None:
    fail(yard, 117, 116)
    pin(yard.run, yard.base, offer(parent(yard), (117, 116, 94)), yard.pins)
    assert state(yard, offer(parent(yard), (117, 116, 94))) == (PinState.HOLDS, ())
    assert state(yard, offer(parent(yard), (117, 94))) == (PinState.HOLDS, ())


def test_a_pin_is_obsolete_when_a_newer_kernel_may_do(yard: Yard) -> None:
    pin(yard.run, yard.base, offer(parent(yard), (94,)), yard.pins)
    found, reasons = state(yard, offer(parent(yard), (117, 94)))
    assert found is PinState.OBSOLETE
    assert release(117) in reasons[0]
    dropped = offer(parent(yard), (117, 94), dropped={117: "no kernel-devel"})
    assert state(yard, dropped)[0] is PinState.HOLDS


def test_the_newest_kernel_is_tried_though_an_older_one_failed(yard: Yard) -> None:
    fail(yard, 117)
    pin(yard.run, yard.base, offer(parent(yard), (117, 94)), yard.pins)
    again = offer(parent(yard), (120, 119, 117, 94))
    found, reasons = state(yard, again)
    assert found is PinState.OBSOLETE
    assert [release(120) in reason for reason in reasons] == [True]
    assert pin(yard.run, yard.base, again, yard.pins).kernel == release(120)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"numbers": (117,)}, "kernel 6.12.94-test is no longer offered"),
        ({"modules": {**VERSIONS, "zfs": "2.4.0-1"}}, "zfs 2.3.9-1 is no longer the version offered"),
        ({"userspace": {"zfsutils-linux": "2.4.0-1"}}, "zfsutils-linux 2.3.9-1 is no longer"),
    ],
)
def test_a_pin_is_gone_when_something_it_needs_is(
    yard: Yard, change: Mapping[str, object], said: str
) -> None:
    pin(yard.run, yard.base, offer(parent(yard), (94,)), yard.pins)
    now = offer(parent(yard), **{"numbers": (94,), **change})  # type: ignore[arg-type]
    found, reasons = state(yard, now)
    assert found is PinState.GONE
    assert said in reasons[0]


def test_kernel_devel_that_is_gone_is_the_drift_that_counts(yard: Yard) -> None:
    pin(yard.run, yard.base, offer(parent(yard), (94,)), yard.pins)
    base = offer(parent(yard), (94,))
    drifted = dataclasses.replace(base, candidates=(kernel(94, in_image=True, devel=False),), kept=())
    assert state(yard, drifted) == (PinState.GONE, (f"kernel-devel of {release(94)} is no longer offered",))


def asks(found: Offer) -> check_pins.Ask:
    return lambda base, parent: found


def test_check_has_an_exit_code_for_each_answer(yard: Yard) -> None:
    with pytest.raises(PinError, match="no kernel is pinned for debian/base"):
        check_pins.check_pins(yard.run, [yard.base], yard.pins, asks(offer(parent(yard), (94,))))
    pin(yard.run, yard.base, offer(parent(yard), (94,)), yard.pins)
    answers = {(94,): None, (117, 94): PinObsoleteError, (117,): PinGoneError}
    for numbers, error in answers.items():
        asked = asks(offer(parent(yard), numbers))
        verdicts = check_pins.check_pins(yard.run, [yard.base], yard.pins, asked)
        if error is None:
            check_pins.require(verdicts)
        else:
            with pytest.raises(error, match="base: "):
                check_pins.require(verdicts)


def test_check_refuses_an_expired_pin_by_hand(yard: Yard) -> None:
    wish = ByHand(kernel=release(94), reason="racks", expires=NOW.date())
    pin_by_hand(yard.run, yard.base, offer(parent(yard), (94,)), yard.pins, wish)
    tomorrow = dataclasses.replace(yard.run, clock=lambda: NOW + dt.timedelta(days=1))
    with pytest.raises(PinError, match=r"by hand \(racks\) expired"):
        check_pins.check_pins(tomorrow, [yard.base], yard.pins, asks(offer(parent(yard), (94,))))


def test_a_build_accepts_an_obsolete_pin_and_refuses_one_that_is_gone(yard: Yard) -> None:
    made = pin(yard.run, yard.base, offer(parent(yard), (94,)), yard.pins)
    check_pins.holds(asks(offer(parent(yard), (117, 94))))(yard.base, made, parent(yard))
    with pytest.raises(PinGoneError, match="debian/base is gone"):
        check_pins.holds(asks(offer(parent(yard), (117,))))(yard.base, made, parent(yard))


def test_the_pin_remembers_which_image_was_asked(yard: Yard) -> None:
    made = pin(yard.run, yard.base, offer(parent(yard), (94,)), yard.pins)
    assert made.upstream == "debian-13"
    assert isinstance(made.upstream_digest, Digest)
    assert made.upstream_digest == parent(yard).digest
