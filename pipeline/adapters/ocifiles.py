"""The files of an OCI image layout: blobs found by their digests alone, below folders that are no links.

Rules: no name that somebody else chose ever becomes a path; every byte is hashed as it is read, and what was
read is good only when the last piece came; a file gets its name when it is complete and on the disk.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from pipeline.domain.image import Digest
from pipeline.domain.oci import DOCUMENT_LIMIT
from pipeline.domain.text import plain
from pipeline.errors import NotFoundError, RegistryError, StateError

FOREIGN = "take the folder from who wrote it once more, and do not use what is in it"

_CHUNK = 1 << 20
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class LayoutFiles:
    """The files below one folder.

    Args:
        folder: Where it is; the name a user gave, which may be a link.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def create(self) -> bool:
        """Make the folders; return whether the folder was empty before.

        Raises:
            StateError: Something else lies there, or it cannot be made.
        """
        with telling(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            ours = (self.folder / "oci-layout").exists()
            if not ours and {one.name for one in self.folder.iterdir()} - {"blobs", "index.json"}:
                raise StateError(
                    f"{self.folder} holds something else than images", hint="name an empty or a new folder"
                )
            for name in ("blobs", "blobs/sha256"):
                (self.folder / name).mkdir(exist_ok=True)
            return not ours

    def document(self, name: str) -> bytes:
        """Return a small file of the top folder.

        Raises:
            StateError: It is not there or cannot be read.
            RegistryError: It is no file, or too large.
        """
        with telling(self.folder), self._top() as top:
            file = os.open(name, _READ, dir_fd=top)
        data = b""
        for chunk in _chunks(file, f"{self.folder}/{name}"):
            data += chunk
            if len(data) > DOCUMENT_LIMIT:
                raise RegistryError(
                    f"{name} of {self.folder} is larger than {DOCUMENT_LIMIT} bytes", hint=FOREIGN
                )
        return data

    def replace(self, name: str, data: bytes) -> None:
        """Write a small file of the top folder, whole or not at all.

        Raises:
            StateError: It cannot be written.
        """
        with self._top() as top, self._part(top, f".{name}.part") as part:
            part.write(data)
            part.keep(name)

    def read(self, digest: Digest) -> Iterator[bytes]:
        """Yield a blob in pieces.

        Raises:
            NotFoundError: It is not there.
            RegistryError: It is no file, or not what its digest says, which the last piece tells.
            StateError: It cannot be read.
        """
        seen = hashlib.sha256()
        with self._blobs() as blobs:
            try:
                file = os.open(digest.hex, _READ, dir_fd=blobs)
            except FileNotFoundError:
                raise NotFoundError(
                    f"{self.folder} has no blob {digest}", hint="the copy was cut short; write it once more"
                ) from None
            except OSError as error:
                raise RegistryError(f"blob {digest} of {self.folder}: {error}", hint=FOREIGN) from None
        for chunk in _chunks(file, f"blob {digest} of {self.folder}"):
            seen.update(chunk)
            yield chunk
        if seen.hexdigest() != digest.hex:
            raise RegistryError(
                f"blob {digest} of {self.folder} is sha256:{seen.hexdigest()} in truth", hint=FOREIGN
            )

    def write(self, digest: Digest, size: int, chunks: Callable[[], Iterable[bytes]]) -> None:
        """Write a blob from pieces.

        Raises:
            RegistryError: The pieces are not what the digest and the size say; nothing stays.
            StateError: The folder cannot be written to.
        """
        seen, got = hashlib.sha256(), 0
        with self._blobs() as blobs, self._part(blobs, f".{digest.hex}.{threading.get_ident()}") as part:
            for chunk in chunks():
                seen.update(chunk)
                got += len(chunk)
                if got > size:
                    break
                part.write(chunk)
            if got != size or seen.hexdigest() != digest.hex:
                raise RegistryError(
                    f"blob {digest} should have {size} bytes; what came has {got} or more"
                    f" and the digest sha256:{seen.hexdigest()}",
                    hint="somebody changed or damaged it on the way; see where it comes from",
                )
            part.keep(digest.hex)

    @contextlib.contextmanager
    def _top(self) -> Iterator[int]:
        with telling(self.folder):
            descriptor = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def _blobs(self) -> Iterator[int]:
        """Open the folder of blobs; a link on the way is refused."""
        with self._top() as top, contextlib.ExitStack() as opened:
            at = top
            for name in ("blobs", "sha256"):
                with telling(self.folder):
                    at = os.open(name, _FOLDER, dir_fd=at)
                opened.callback(os.close, at)
            yield at

    @contextlib.contextmanager
    def _part(self, folder: int, name: str) -> Iterator[_Part]:
        with telling(self.folder):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name, dir_fd=folder)
            part = _Part(folder, name)
            try:
                yield part
            finally:
                part.close()


class _Part:
    """A file that has its final name only when it is whole."""

    def __init__(self, folder: int, name: str) -> None:
        self._folder, self._name = folder, name
        self._file = os.open(name, _NEW, 0o644, dir_fd=folder)
        self._kept = False

    def write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._file, view) :]

    def keep(self, name: str) -> None:
        os.fsync(self._file)
        os.rename(self._name, name, src_dir_fd=self._folder, dst_dir_fd=self._folder)
        self._kept = True

    def close(self) -> None:
        os.close(self._file)
        if not self._kept:
            with contextlib.suppress(OSError):
                os.unlink(self._name, dir_fd=self._folder)


def _chunks(file: int, what: str) -> Iterator[bytes]:
    """Yield what an open file holds, and close it; a pipe or a device is refused."""
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise RegistryError(f"{what} is no file", hint=FOREIGN)
        while chunk := os.read(file, _CHUNK):
            yield chunk
    finally:
        os.close(file)


@contextlib.contextmanager
def telling(folder: Path) -> Iterator[None]:
    """Turn what the system says of a folder into a message.

    Raises:
        StateError: The system refused.
    """
    try:
        yield
    except OSError as error:
        raise StateError(
            f"{folder}: {plain(str(error), 200)}",
            hint="name a folder with an image layout that you may read, or for writing a new one",
        ) from error
