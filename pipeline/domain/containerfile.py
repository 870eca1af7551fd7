"""Writes the generated lines of a base's Containerfile: what is copied in, file by file.

The line's own file stays the author's; it says with one comment line where the generated lines go. They
copy exactly the files that the manifests name, from the builder stages, and nothing else.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

from pipeline.errors import DefinitionError
from pipeline.problem import Problem

MARKER = "# pipeline:modules"
"""The comment line that the generated lines replace."""

FILES_MARKER = "# pipeline:files"
"""The same for a host's own files."""

_PATH = re.compile(r"(?:/[A-Za-z0-9._+~-]+)+")


def with_generated(text: str, lines: Sequence[str], *, file: str, marker: str = MARKER) -> str:
    """Return a Containerfile with the marker replaced by generated lines.

    Raises:
        DefinitionError: The marker is missing or stands there more than once.
    """
    own = text.splitlines()
    places = [number for number, line in enumerate(own) if line.strip() == marker]
    if len(places) != 1:
        raise DefinitionError(
            (
                Problem(
                    file=file,
                    line=places[1] + 1 if places else None,
                    key="",
                    message=f"the line `{marker}` must stand here exactly once, it does {len(places)} times",
                    hint="put it where the modules are to be copied in, before depmod"
                    if marker == MARKER
                    else "put it where the host's files are to be copied in",
                ),
            )
        )
    own[places[0] : places[0] + 1] = lines
    return "\n".join(own) + "\n"


def copy_from_context(files: Mapping[str, str]) -> tuple[str, ...]:
    """Return COPY lines for files of the build context.

    Args:
        files: Absolute path in the image to path in the context.

    Raises:
        ValueError: A path has characters a Containerfile would interpret.
    """
    for path, source in files.items():
        if not _PATH.fullmatch(path) or not _PATH.fullmatch(f"/{source}"):
            raise ValueError(f"{path!r} from {source!r} cannot be written into a Containerfile")
    return tuple(f"COPY --chmod=0644 {json.dumps([source, path])}" for path, source in sorted(files.items()))
