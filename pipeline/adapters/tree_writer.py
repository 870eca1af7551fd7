"""Writes rendered entries into a folder, so that people and engines can take them from there.

Rules: the folder appears with all entries or not at all; one that has other content is never touched;
owners are set where this process may, else left to who reads the list of entries.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from pipeline.domain.placement import TreeEntry
from pipeline.domain.tree import FileType
from pipeline.errors import StateError


class FolderWriter:
    """Writes trees.

    Args:
        owners: Whether to set owners, which only root may.
    """

    def __init__(self, *, owners: bool) -> None:
        self._owners = owners

    def __call__(self, entries: tuple[TreeEntry, ...], target: Path) -> None:
        """Write the entries to a folder that is new or empty.

        Raises:
            StateError: The folder has content, is no folder, or cannot be written.
        """
        try:
            if target.is_symlink() or (
                target.exists() and not (target.is_dir() and not any(target.iterdir()))
            ):
                raise StateError(
                    f"{target} is not empty", hint="name a new folder, or remove this one yourself first"
                )
            target.parent.mkdir(parents=True, exist_ok=True)
            work = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        except OSError as error:
            raise _failed(target, error) from error
        try:
            work.chmod(0o755)
            for entry in sorted(entries, key=lambda entry: entry.path):
                self._write(entry, work / entry.path.removeprefix("/"))
            work.replace(target)
        except OSError as error:
            raise _failed(target, error) from error
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def _write(self, entry: TreeEntry, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        match entry.type:
            case FileType.SYMLINK:
                path.symlink_to(entry.target)
            case FileType.DIRECTORY:
                path.mkdir(exist_ok=True)
                path.chmod(entry.mode)
            case _:
                path.write_bytes(entry.content)
                path.chmod(entry.mode)
        if self._owners:
            os.chown(path, entry.uid, entry.gid, follow_symlinks=False)
            if entry.type is not FileType.SYMLINK:
                path.chmod(entry.mode)  # chown clears setuid and setgid


def _failed(target: Path, error: OSError) -> StateError:
    return StateError(f"{target} cannot be written: {error.strerror}", hint="choose another folder")
