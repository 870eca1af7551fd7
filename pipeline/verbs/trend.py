"""How large the last releases of an image were, for the dossier: read from the diff each was approved with.

Rules: a size counts only out of a document whose hash the ledger names and that speaks of that release; a
release whose document cannot be had is left out of the picture, which names each that is in it; releases that
were yanked are left out, as nothing is compared with them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from pipeline.domain.dossier.difference import ReleaseSize
from pipeline.domain.dossier.reading import Fields, NotUnderstoodError
from pipeline.domain.evidence import EvidenceKind
from pipeline.domain.lineage import Lineage
from pipeline.domain.oci import digest_of
from pipeline.domain.record import Candidate, Record, candidates
from pipeline.errors import NotFoundError, RegistryError
from pipeline.verbs.review import Documents

LAST = 8
"""Releases that are shown."""


def trend_of(
    candidate: Candidate, records: Sequence[Record], documents: Documents
) -> tuple[ReleaseSize, ...]:
    """Return the sizes of the last releases of a candidate's image, oldest first, itself left out.

    Args:
        candidate: The candidate.
        records: The ledger, oldest first.
        documents: Where evidence is.
    """
    known = {one.id: one for one in candidates(records)}
    releases = Lineage(records).good(f"{candidate.line}/{candidate.image}")
    sizes = (
        (seal, _size(known[seal.candidate], documents))
        for seal in [one for one in releases if one.digest != candidate.digest][-LAST:]
        if seal.candidate in known
    )
    return tuple(ReleaseSize(name=f"v{seal.version}", total=size) for seal, size in sizes if size is not None)


def _size(released: Candidate, documents: Documents) -> int | None:
    """Return the bytes of all layers' files that a release's diff tells; None where it tells none."""
    try:
        data = documents.fetch(released, EvidenceKind.DIFF)
        if digest_of(data) != released.evidence.get(EvidenceKind.DIFF.value):
            return None
        fields = Fields(json.loads(data), "the diff")
        if fields.object("new").text("digest") != str(released.digest):
            return None
        return fields.object("size").whole("new_files")
    except (NotFoundError, RegistryError, NotUnderstoodError, ValueError, RecursionError):
        return None
