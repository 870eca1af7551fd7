"""The SSH key that signs what git keeps: release tags, and commits of the ledger.

Rules: the key is the one that was given, else git's own `user.signingkey` where gpg.format is ssh; private
halves are read by ssh-keygen alone, which may ask for a passphrase or a touch at the terminal; several things
are signed by one call. What comes out is what `git tag -s` and `git commit -S` put into their objects.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

from pipeline.adapters.gitrepo import GitRepo
from pipeline.adapters.process import Processes
from pipeline.adapters.sshsig import SshKey
from pipeline.domain.text import plain
from pipeline.errors import SignatureError, UsageError

NO_KEY = (
    "give --git-key FILE, set PIPELINE_GIT_KEY, or tell git: git config gpg.format ssh and user.signingkey"
)
"""What to do without a key."""

_OTHERS = 0o077
_PUBLIC = re.compile(r"(?:key::)?(?P<key>(?:ssh|ecdsa|sk-ssh|sk-ecdsa)-\S+ [A-Za-z0-9+/=]+)")


class GitKey:
    """The key of who works in a repository.

    Args:
        repo: The repository, whose settings name a key where none is given.
        processes: The door to ssh-keygen.
        key: File of an SSH key, private or the public half of one in an agent; None for git's own setting.
        signs: What it signs, for people.
    """

    def __init__(self, repo: GitRepo, processes: Processes, key: Path | None, *, signs: str) -> None:
        self._repo, self._processes, self._key, self._signs = repo, processes, key, signs

    def require(self) -> None:
        """Return if there is a key; it is not used.

        Raises:
            UsageError: There is none.
        """
        with tempfile.TemporaryDirectory(prefix="pipeline-key-") as folder:
            self._file(Path(folder))

    def fingerprint(self) -> str:
        """Return the key's name, `SHA256:…`; asks for no passphrase.

        Raises:
            UsageError: There is no such key.
            ToolMissingError: ssh-keygen is not installed.
        """
        with tempfile.TemporaryDirectory(prefix="pipeline-key-") as folder:
            return SshKey(self._processes, self._file(Path(folder))).fingerprint()

    def sign(self, payloads: Sequence[bytes]) -> list[bytes]:
        """Return the signature of each payload, in its armour; a passphrase or touch is asked for once.

        Raises:
            UsageError: There is no such key.
            SignatureError: The key could not be used.
            ToolMissingError: ssh-keygen is not installed.
        """
        if not payloads:
            return []
        with tempfile.TemporaryDirectory(prefix="pipeline-key-") as name:
            folder = Path(name)
            files = [folder / f"{number}.payload" for number in range(len(payloads))]
            for file, payload in zip(files, payloads, strict=True):
                file.write_bytes(payload)
            return self._signed(files, self._file(folder))

    def _signed(self, files: Sequence[Path], key: Path) -> list[bytes]:
        public = ["-U"] if _is_public(key) else []
        argv = ["ssh-keygen", "-q", "-Y", "sign", "-n", "git", *public, "-f", str(key)]
        code = self._processes.attended([*argv, *map(str, files)])
        made = [file.with_name(f"{file.name}.sig") for file in files]
        if code != 0 or not all(one.is_file() for one in made):
            raise SignatureError(
                f"ssh-keygen did not sign {self._signs} with {key} (code {code})",
                hint="look at what it said above; `ssh-add -l` shows what an agent holds",
            )
        return [one.read_bytes() for one in made]

    def _file(self, folder: Path) -> Path:
        """Return the file of the key that signs, written to `folder` where git has the key itself."""
        key = self._key or self._configured(folder)
        if not key.is_file():
            raise UsageError(f"there is no key {plain(str(key))} to sign {self._signs} with", hint=NO_KEY)
        found = key.stat()
        if found.st_uid == os.getuid() and found.st_mode & _OTHERS and not _is_public(key):
            raise UsageError(
                f"others may read the key {plain(str(key))}, so ssh-keygen will not use it",
                hint=f"take that away: chmod 600 {plain(str(key))}",
            )
        return key.absolute()

    def _configured(self, folder: Path) -> Path:
        said = self._repo.run("config", "--get", "user.signingkey").text
        if not said or self._repo.run("config", "--get", "gpg.format").text != "ssh":
            raise UsageError(f"no SSH key is named to sign {self._signs} with", hint=NO_KEY)
        literal = _PUBLIC.match(said)
        if literal is None:
            return Path(self._repo.run("config", "--type=path", "--get", "user.signingkey").text)
        file = folder / "key.pub"
        file.write_text(literal["key"] + "\n", encoding="ascii")
        return file


def _is_public(key: Path) -> bool:
    return _PUBLIC.match(key.read_text("ascii", "replace")) is not None
