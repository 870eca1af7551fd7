"""Reads the boot test's document into the dossier's part.

Rules: as in `parts`: what is not understood is an error that names the field.
"""

from __future__ import annotations

from typing import Any

from pipeline.domain.boot.result import Outcome, Step
from pipeline.domain.dossier.dossier import Boot, BootModule
from pipeline.domain.dossier.reading import Fields, NotUnderstoodError
from pipeline.domain.image import Digest

_SCHEMA = 1


def read_boot(document: Any, image: Digest, *, console: tuple[str, ...] = ()) -> Boot:
    """Return what the boot test's document says.

    Args:
        document: The parsed JSON.
        image: The candidate, which the document must speak of.
        console: Last lines of the console log.

    Raises:
        NotUnderstoodError: It is not the document this program knows, or is of another image.
    """
    fields = Fields(document, "boot-test")
    if fields.whole("schema") != _SCHEMA:
        raise NotUnderstoodError(f"boot-test.schema is {fields.whole('schema')}, known is {_SCHEMA}")
    if fields.text("image") != str(image):
        raise NotUnderstoodError(f"it is of another image, {fields.text('image')}")
    return Boot(
        ok=fields.flag("ok"),
        kernel=fields.text("kernel"),
        accelerator=fields.text("accelerator"),
        full=fields.flag("full"),
        steps=tuple(_step(one) for one in fields.objects("steps")),
        modules=tuple(_module(one) for one in fields.objects("modules")),
        left_out=tuple((one.text("unit"), one.text("why")) for one in fields.objects("left_out")),
        failed_units=tuple(one.text("unit") for one in fields.objects("failed_units")),
        milliseconds=fields.whole("milliseconds"),
        console=console,
    )


def _step(fields: Fields) -> Step:
    return Step(
        name=fields.text("step"),
        ok=fields.flag("ok"),
        found=fields.text("found"),
        details=fields.texts("details"),
        milliseconds=fields.whole("milliseconds"),
    )


def _module(fields: Fields) -> BootModule:
    return BootModule(
        name=fields.text("module"),
        outcome=_outcome(fields),
        version=fields.text("version"),
        why=fields.text("why"),
        milliseconds=fields.whole("milliseconds"),
    )


def _outcome(fields: Fields) -> Outcome:
    try:
        return Outcome(fields.text("outcome"))
    except ValueError as error:
        raise NotUnderstoodError(f"{fields.where}.outcome is {fields.text('outcome')!r}") from error
