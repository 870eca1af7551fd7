"""What `pin` remembers: failures and proofs, for the versions they were made of, and nothing else."""

from __future__ import annotations

import dataclasses

import pytest
from buildkit import NOW, VERSIONS, Yard, make_yard, offer, release, sha
from hypothesis import given, settings
from hypothesis import strategies as st
from pinkit import ALL, fail, kernels, parent, searched

from pipeline.errors import BuildFailedError, PinError
from pipeline.verbs.pin import pin


def test_a_failure_is_kept_before_the_next_kernel_is_tried(yard: Yard) -> None:
    fail(yard, 117)
    yard.world.interrupts.add(("nvidia", release(113)))
    with pytest.raises(KeyboardInterrupt):
        searched(yard, *ALL)
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
    searched(yard, 94)
    fail(yard, 117, 116)
    count = len(yard.world.compiled)
    made = searched(yard, 117, 116, 94)
    assert made.kernel == release(94)
    assert [name for _, name in yard.world.compiled[count:]] == [release(117), release(116)]
    assert set(made.evidence) == {"nvidia", "zfs"}


def test_another_module_version_forgets_the_failure_and_the_proof(yard: Yard) -> None:
    fail(yard, 117)
    searched(yard, 117, 94)
    yard.world.fails.clear()
    count = len(yard.world.compiled)
    newer = {**VERSIONS, "nvidia": "560.1-1"}
    made = searched(yard, 117, 94, modules=newer)
    assert made.kernel == release(117)
    assert made.modules == newer
    assert yard.world.compiled[count:] == [("nvidia", release(117)), ("zfs", release(117))]


def test_another_module_s_version_leaves_the_failure_standing(yard: Yard) -> None:
    fail(yard, 117)
    searched(yard, 117, 94)
    count = len(yard.world.compiled)
    newer = {**VERSIONS, "zfs": "2.4.0-1"}
    made = searched(yard, 117, 94, modules=newer)
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
        searched(yard, *ALL)
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
