"""`check REF`: the gates on an image that lies in the registry, measured by its definition."""

from __future__ import annotations

from collections.abc import Callable

from pipeline.domain.catalogue import AnyImage, Catalogue, Line
from pipeline.domain.checks import CheckReport
from pipeline.domain.image import ImageRef
from pipeline.domain.record import Candidate, candidates
from pipeline.errors import UsageError
from pipeline.verbs.candidates import examine
from pipeline.verbs.ports import PinStore, Run


def check_ref(
    run: Run, ref: ImageRef, *, line: str | None, image: str | None, pins: Callable[[Line], PinStore]
) -> CheckReport:
    """Pull an image and run the gates on it.

    A candidate of the ledger is measured by its own definition and pin; any other image by the definition
    that is named and its line's pin of today.

    Raises:
        NotFoundError: The registry has no such image.
        UsageError: It is no candidate and no definition was named.
    """
    digest = run.store.resolve(ref).digest
    record = _recorded(run, ref, digest_text=str(digest))
    definition = _definition(run.catalogue, record, line=line, image=image)
    kernel = _kernel(run.catalogue, record, definition, pins)
    with run.reporter.stage(f"pull {ref.repository}"):
        local = run.engine.pull(ref.repository.at(digest))
    with run.reporter.stage(f"gates {ref.repository}"):
        report, _ = examine(run, definition, local, kernel=kernel)
    return report


def _kernel(
    catalogue: Catalogue,
    record: Candidate | None,
    definition: AnyImage,
    pins: Callable[[Line], PinStore],
) -> str | None:
    if record is not None:
        return record.pins.kernel if record.pins is not None else None
    line = catalogue.line(definition.line)
    known = pins(line).read().pins
    pinned = [known[one.name] for one in (definition, *line.parents(definition)) if one.name in known]
    return pinned[0].kernel if pinned else None


def _recorded(run: Run, ref: ImageRef, *, digest_text: str) -> Candidate | None:
    found = [
        one
        for one in candidates(run.ledger.read())
        if str(one.digest) == digest_text and one.repository == ref.repository
    ]
    return found[-1] if found else None


def _definition(
    catalogue: Catalogue, record: Candidate | None, *, line: str | None, image: str | None
) -> AnyImage:
    if image is not None:
        return catalogue.line(line).image(image)
    if record is None:
        raise UsageError(
            "the image is no candidate of this ledger",
            hint="name the definition it is to be measured by: --line LINE check REF --image NAME",
        )
    return catalogue.line(record.line).image(record.image)
