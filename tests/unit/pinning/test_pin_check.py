"""`pin --check` and a build: whether a pin still holds, is obsolete, gone or expired."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Mapping

import pytest
from buildkit import NOW, VERSIONS, Yard, kernel, offer, release
from pinkit import fail, parent, searched

from pipeline.domain.offer import Offer
from pipeline.domain.pin import PinState
from pipeline.errors import PinError, PinGoneError, PinObsoleteError
from pipeline.verbs import check_pins
from pipeline.verbs.pin import ByHand, pin, pin_by_hand, verdict


def state(yard: Yard, offered: Offer) -> tuple[PinState, tuple[str, ...]]:
    known = yard.pins.read()
    found = verdict(yard.base, known.pins["base"], offered, known)
    return found.state, found.reasons


def test_a_pin_holds_while_nothing_better_is_offered(yard: Yard) -> None:
    fail(yard, 117, 116)
    searched(yard, 117, 116, 94)
    assert state(yard, offer(parent(yard), (117, 116, 94))) == (PinState.HOLDS, ())
    assert state(yard, offer(parent(yard), (117, 94))) == (PinState.HOLDS, ())


def test_a_pin_is_obsolete_when_a_newer_kernel_may_do(yard: Yard) -> None:
    searched(yard, 94)
    found, reasons = state(yard, offer(parent(yard), (117, 94)))
    assert found is PinState.OBSOLETE
    assert release(117) in reasons[0]
    dropped = offer(parent(yard), (117, 94), dropped={117: "no kernel-devel"})
    assert state(yard, dropped)[0] is PinState.HOLDS


def test_the_newest_kernel_is_tried_though_an_older_one_failed(yard: Yard) -> None:
    fail(yard, 117)
    searched(yard, 117, 94)
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
    searched(yard, 94)
    now = offer(parent(yard), **{"numbers": (94,), **change})  # type: ignore[arg-type]
    found, reasons = state(yard, now)
    assert found is PinState.GONE
    assert said in reasons[0]


def test_kernel_devel_that_is_gone_is_the_drift_that_counts(yard: Yard) -> None:
    searched(yard, 94)
    base = offer(parent(yard), (94,))
    drifted = dataclasses.replace(base, candidates=(kernel(94, in_image=True, devel=False),), kept=())
    assert state(yard, drifted) == (PinState.GONE, (f"kernel-devel of {release(94)} is no longer offered",))


def asks(found: Offer) -> check_pins.Ask:
    return lambda base, parent: found


def test_check_has_an_exit_code_for_each_answer(yard: Yard) -> None:
    with pytest.raises(PinError, match="no kernel is pinned for debian/base"):
        check_pins.check_pins(yard.run, [yard.base], yard.pins, asks(offer(parent(yard), (94,))))
    searched(yard, 94)
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
    made = searched(yard, 94)
    check_pins.holds(asks(offer(parent(yard), (117, 94))))(yard.base, made, parent(yard))
    with pytest.raises(PinGoneError, match="debian/base is gone"):
        check_pins.holds(asks(offer(parent(yard), (117,))))(yard.base, made, parent(yard))
