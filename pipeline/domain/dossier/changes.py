"""Reads the diff's document into what the dossier shows: groups of changes, sizes, licences, the bump.

Rules: the document has judged the risks already, and its order of kinds is kept; a kind that this program
does not know is shown with its count, never left out; each change bears the reason that names it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from pipeline.domain.canonical import canonical_digest
from pipeline.domain.dossier.difference import (
    Bump,
    Change,
    ChangeGroup,
    Difference,
    How,
    LayerLine,
    LicenceChange,
    ReleaseSize,
    Risk,
    SizeOf,
    Sizes,
)
from pipeline.domain.dossier.kinds import READERS
from pipeline.domain.dossier.reading import Fields, NotUnderstoodError
from pipeline.domain.image import Digest

_SCHEMA = 1


def read_difference(document: Any, image: Digest, *, trend: Sequence[ReleaseSize] = ()) -> Difference:
    """Return what the diff's document says.

    Args:
        document: The parsed JSON.
        image: The candidate, which the document must speak of.
        trend: Sizes of the last releases, oldest first.

    Raises:
        NotUnderstoodError: It is not the document this program knows, or is of another image.
    """
    fields = Fields(document, "diff")
    if fields.whole("schema") != _SCHEMA:
        raise NotUnderstoodError(f"diff.schema is {fields.whole('schema')}, known is {_SCHEMA}")
    if fields.object("new").text("digest") != str(image):
        raise NotUnderstoodError(f"it is of another image, {fields.object('new').text('digest')}")
    old = fields.object("old") if "old" in fields else None
    return Difference(
        predecessor="" if old is None else f"{old.text('name')}@{old.text('digest')}",
        because=fields.text("because"),
        groups=tuple(_group(fields, risk) for risk in fields.objects("risks")),
        licences=tuple(_licences(fields)),
        sizes=_sizes(fields.object("size"), first=old is None, trend=trend),
        bump=_bump(fields.object("bump")),
        digest=_digest(document),
    )


def _digest(document: Any) -> Digest:
    try:
        return canonical_digest(document)
    except (TypeError, ValueError) as error:
        raise NotUnderstoodError(f"the diff has no canonical form: {error}") from error


def _group(fields: Fields, risk: Fields) -> ChangeGroup:
    kind, count = risk.text("part"), risk.whole("count")
    reader = READERS.get(kind)
    changes = tuple(reader(fields)) if reader is not None and count else ()
    if count and not changes:
        changes = (Change(name=f"{count} changes that this program cannot show", how=How.CHANGED),)
    reasons = risk.texts("reasons")
    return ChangeGroup(
        kind=kind if reader is not None else "other",
        title=risk.text("title"),
        risk=_level(risk),
        reasons=reasons,
        total=count,
        changes=_explained(changes, reasons),
    )


def _level(fields: Fields) -> Risk:
    try:
        return Risk(fields.text("risk"))
    except ValueError as error:
        raise NotUnderstoodError(f"{fields.where}.risk is {fields.text('risk')!r}") from error


def _explained(changes: Sequence[Change], reasons: Sequence[str]) -> tuple[Change, ...]:
    """Put to each change the reason that begins with its name, and those with one first."""
    why = dict(_reason(one) for one in reasons)
    found = [replace(one, risky=one.name in why, why=why.get(one.name, "")) for one in changes]
    return tuple(sorted(found, key=lambda one: not one.risky))


def _reason(text: str) -> tuple[str, str]:
    """Return the name and the reason; no reason where it only says what became of the thing."""
    name, _, why = text.rpartition(": ")
    return (name, "" if why in set(How) else why) if name else (text, "")


def _bump(fields: Fields) -> Bump:
    reasons = tuple(one.text("reason") for one in fields.objects("reasons"))
    return Bump(proposed=fields.text("proposed"), reasons=reasons)


def _licences(fields: Fields) -> Iterator[LicenceChange]:
    for one in fields.objects("packages"):
        if one.flag("licence_changed"):
            old, new = one.object("old"), one.object("new")
            yield LicenceChange(
                package=one.text("name"), before=old.text("licence"), after=new.text("licence")
            )


def _sizes(fields: Fields, *, first: bool, trend: Sequence[ReleaseSize]) -> Sizes:
    return Sizes(
        before=None if first else fields.whole("old_files"),
        after=fields.whole("new_files"),
        grown=0 if first else fields.whole("grown"),
        download=fields.whole("new_download"),
        fetched=fields.whole("fetched"),
        packages=_packages_by_size(fields, first=first),
        folders=tuple((one.text("name"), one.whole("grown")) for one in fields.objects("folders")),
        layers=tuple(_layer(one) for one in fields.objects("new_layers")),
        trend=tuple(trend),
    )


def _layer(fields: Fields) -> LayerLine:
    return LayerLine(
        digest=fields.text("digest"),
        made_by=fields.text("created_by"),
        size=fields.whole("size"),
        unpacked=fields.whole("unpacked"),
        shared=fields.flag("shared"),
    )


def _packages_by_size(fields: Fields, *, first: bool) -> tuple[SizeOf, ...]:
    """Join the largest packages, of which the new size is told, with those that differ."""
    found: dict[str, SizeOf] = {}
    for one in fields.objects("largest"):
        size = one.whole("new")
        found[one.text("name")] = SizeOf(name=one.text("name"), before=None if first else size, after=size)
    for one in fields.objects("packages"):
        name = one.text("name").partition(":")[0]  # `largest` names no architecture
        found[name] = SizeOf(name=name, before=one.whole("old") or None, after=one.whole("new") or None)
    return tuple(sorted(found.values(), key=lambda one: (-(one.after or 0), one.delta, one.name)))
