"""Reads the scaffold out of the installed package or the checkout, and writes new repositories.

Rules: a repository appears whole, by one rename, or not at all; what is there already is never touched;
pins are evidence of the repository that made them and are never handed on.
"""

from __future__ import annotations

import importlib.resources
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pipeline.domain.scaffold import ScaffoldFile
from pipeline.errors import StateError

_IMAGES, _CONTAINERFILES = "images", "Containerfiles"
_SCRIPTS = ("scripts/fetch-cosign",)
"""Scripts that `pipeline doctor` names, so that they are there where it is asked."""

_NEVER = frozenset({"pins.toml", "__pycache__"})


def installed_source() -> Path:
    """Return the folder with `images` and `Containerfiles`: the wheel's scaffold, else the checkout's top.

    Raises:
        StateError: Neither is there.
    """
    package = Path(str(importlib.resources.files("pipeline")))
    for folder in (package / "scaffold", package.parent):
        if (folder / _IMAGES).is_dir() and (folder / _CONTAINERFILES).is_dir():
            return folder
    raise StateError(
        "this installation of pipeline has no scaffold",
        hint="install pipeline from a wheel, or run a checkout",
    )


class ScaffoldFolder:
    """A scaffold in a folder: `images/<line>/…`, `images/*.toml`, `Containerfiles/<line>/…` and scripts."""

    def __init__(self, source: Path) -> None:
        self._source = source

    def lines(self) -> tuple[str, ...]:
        """Return the names of the lines, sorted."""
        folder = self._source / _IMAGES
        return tuple(sorted(path.name for path in folder.iterdir() if path.is_dir() and _wanted(path)))

    def files(self, lines: Sequence[str]) -> tuple[ScaffoldFile, ...]:
        """Return the files of some lines, and those that belong to no line."""
        paths = [path for name in _SCRIPTS if (path := self._source / name).is_file()]
        for top in (self._source / _IMAGES, self._source / _CONTAINERFILES):
            paths += [path for path in top.iterdir() if path.is_file() and _wanted(path)]
            for line in lines:
                paths += [path for path in _walk(top / line) if path.is_file()]
        return tuple(self._file(path) for path in sorted(paths))

    def check(self, directory: Path) -> None:
        """Refuse a directory that is not missing or empty."""
        if directory.is_symlink() or (directory.exists() and not directory.is_dir()):
            raise StateError(f"{directory} is there and is no folder", hint="name a new folder")
        if not directory.absolute().parent.is_dir():
            parent = directory.absolute().parent
            raise StateError(f"there is no folder {parent}", hint=f"make it first: mkdir -p {parent}")
        if directory.exists() and any(directory.iterdir()):
            raise StateError(
                f"{directory} is not empty", hint="name a new or empty folder: nothing there is overwritten"
            )

    def write(self, directory: Path, files: Sequence[ScaffoldFile]) -> None:
        """Write the files beside `directory` and rename them into place."""
        self.check(directory)
        target = directory.absolute()
        try:
            with _beside(target) as folder:
                for file in files:
                    _write(folder / file.path, file)
                folder.chmod(0o755)
                folder.replace(target)  # an empty folder gives way, one that was filled meanwhile does not
        except OSError as error:
            reason = error.strerror or str(error)
            raise StateError(
                f"{directory} could not be written: {reason}",
                hint="nothing was left behind; try another folder",
            ) from error

    def _file(self, path: Path) -> ScaffoldFile:
        return ScaffoldFile(
            path=path.relative_to(self._source).as_posix(),
            content=path.read_bytes(),
            executable=os.access(path, os.X_OK),
        )


@contextmanager
def _beside(target: Path) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _walk(folder: Path) -> Iterator[Path]:
    if not folder.is_dir():
        return
    for path in folder.iterdir():
        if not _wanted(path):
            continue
        if path.is_dir():
            yield from _walk(path)
        else:
            yield path


def _wanted(path: Path) -> bool:
    """Whether a file belongs to the scaffold: no pins, nothing hidden, no editor's backup."""
    return path.name not in _NEVER and not path.name.startswith(".") and not path.name.endswith(("~", ".pyc"))


def _write(path: Path, file: ScaffoldFile) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(file.content)
    path.chmod(0o755 if file.executable else 0o644)
