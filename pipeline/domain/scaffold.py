"""A new image repository as values: the files it gets, and where they come from and go to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaffoldFile:
    """One file: its path inside the repository (relative, `/`), its bytes, and whether it is a program."""

    path: str
    content: bytes
    executable: bool = False


class Scaffold(Protocol):
    """The files `pipeline` brings along, and the place a new repository is written to."""

    def lines(self) -> tuple[str, ...]:
        """Return the names of the lines that can be scaffolded, sorted."""

    def files(self, lines: Sequence[str]) -> tuple[ScaffoldFile, ...]:
        """Return settings, definitions and Containerfiles of some lines, by path; never pins.

        Raises:
            StateError: This installation lacks them.
        """

    def check(self, directory: Path) -> None:
        """Return when a repository can be written at `directory`: it is missing or an empty folder.

        Raises:
            StateError: Something is in the way, or the folder around it does not exist.
        """

    def write(self, directory: Path, files: Sequence[ScaffoldFile]) -> None:
        """Write the files to `directory`, all of them or none.

        Raises:
            StateError: Something is in the way, or the place cannot be written to.
        """
