"""One fault of a definition file, as `DefinitionError` lists them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """One fault in a definition.

    Attributes:
        file: Path of the file, relative to the images folder's parent where possible.
        line: 1-based line, or None when the fault has no single line.
        key: Dotted key, such as `modules.0.name`; empty for a fault of the whole file.
        message: What is wrong and what was allowed.
        hint: What to write instead.
    """

    file: str
    line: int | None
    key: str
    message: str
    hint: str

    def __str__(self) -> str:
        where = self.file if self.line is None else f"{self.file}:{self.line}"
        key = f" [{self.key}]" if self.key else ""
        return f"{where}{key}: {self.message} ({self.hint})"
