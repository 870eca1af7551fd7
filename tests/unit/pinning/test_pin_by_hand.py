"""A kernel that a person names: with a reason and a last day, and without compiling."""

from __future__ import annotations

import datetime as dt

import pytest
from buildkit import NOW, Yard, offer, release
from pinkit import ALL, fail, kernels, parent, searched

from pipeline.errors import PinError, UsageError
from pipeline.verbs.pin import ByHand, pin, pin_by_hand

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
    made = searched(yard, 94)
    assert not made.by_hand
    assert kernels(yard) == [release(94)]
