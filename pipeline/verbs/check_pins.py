"""`pin --check`: whether the pins still hold, without building anything; and what a build asks of its pin."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pipeline.domain.catalogue import Base
from pipeline.domain.offer import Offer
from pipeline.domain.pin import Pin, PinState, PinVerdict
from pipeline.domain.record import Candidate
from pipeline.errors import PinError, PinGoneError, PinObsoleteError
from pipeline.verbs.candidates import require_parent
from pipeline.verbs.pin import missing_from, verdict
from pipeline.verbs.ports import PinStore, Run

Ask = Callable[[Base, Candidate], Offer]
"""Asks the repositories of a parent what a base can have."""


def check_pins(run: Run, bases: Sequence[Base], pins: PinStore, ask: Ask) -> tuple[PinVerdict, ...]:
    """Return the state of every base's pin.

    Raises:
        PinError: A base has no pin, or one by hand that has expired.
    """
    known = pins.read()
    found: list[PinVerdict] = []
    for base in bases:
        current = known.pins.get(base.name)
        if current is None:
            raise PinError(
                f"no kernel is pinned for {base.line}/{base.name}",
                hint=f"run `pipeline --line {base.line} pin`",
            )
        current.require_valid(run.clock().date())
        found.append(verdict(base, current, ask(base, require_parent(run, base)), known))
    return tuple(found)


def require(verdicts: Sequence[PinVerdict]) -> None:
    """Refuse when a pin is gone, or else when one is obsolete.

    Raises:
        PinGoneError: A pin cannot be built any more.
        PinObsoleteError: A newer kernel could be pinned.
    """
    for state, error in ((PinState.GONE, PinGoneError), (PinState.OBSOLETE, PinObsoleteError)):
        bad = [one for one in verdicts if one.state is state]
        if bad:
            reasons = "; ".join(f"{one.base}: {', '.join(one.reasons)}" for one in bad)
            raise error(f"the pin is {state}: {reasons}", hint="run `pipeline pin` to search again")


def holds(ask: Ask) -> Callable[[Base, Pin, Candidate], None]:
    """Return the question a build asks about a pin that was made on another upstream digest.

    An obsolete pin still builds what was proved, so only a pin that is gone is refused.
    """

    def question(base: Base, pin: Pin, parent: Candidate) -> None:
        gone = missing_from(pin, ask(base, parent))
        if gone:
            raise PinGoneError(
                f"the pin of {base.line}/{base.name} is gone: {', '.join(gone)}",
                hint=f"run `pipeline --line {base.line} pin` to search again",
            )

    return question
