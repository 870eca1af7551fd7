"""Plumbing commands on one git repository, through GitPython, whatever the user's git is set up to do.

Rules: the repository is named to git explicitly, so that a `GIT_DIR` left by a hook cannot lead elsewhere; no
hook, pager, file monitor, replacement object, garbage collection or prompt runs; no command here touches the
work tree, the index or HEAD. Git's own check of who owns the folder does not apply, for the user named it.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.adapters.tools import install_line
from pipeline.domain.text import plain
from pipeline.errors import ToolFailedError, ToolMissingError

if TYPE_CHECKING:
    from types import ModuleType

NETWORK_TIMEOUT = 300.0
"""Seconds after which a fetch or push that does not end is ended."""

_SETTINGS = (
    f"core.hooksPath={os.devnull}",
    "core.fsmonitor=false",
    "core.untrackedCache=false",
    "core.splitIndex=false",
    "core.sparseCheckout=false",
    "core.autocrlf=false",
    "commit.gpgSign=false",
    "push.gpgSign=false",
    "gc.auto=0",
    "maintenance.auto=false",
    "i18n.commitEncoding=UTF-8",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a git command said: its exit code, raw output and error text."""

    code: int
    out: bytes
    err: str

    @property
    def text(self) -> str:
        """The output as one text without the last newline; bytes that are no UTF-8 are kept as surrogates."""
        return self.out.decode(errors="surrogateescape").removesuffix("\n")


class GitRepo:
    """One repository; safe to use from several threads, nothing stays open between calls.

    Args:
        git_dir: The repository's own folder (of a linked work tree, that one's).
        common_dir: Where objects and branches are.
        work_tree: Top of the checkout, or None for a bare repository.
    """

    def __init__(self, *, git_dir: Path, common_dir: Path, work_tree: Path | None) -> None:
        self.git_dir = git_dir
        self.common_dir = common_dir
        self.work_tree = work_tree
        self._git = _gitpython().Git(str(work_tree or git_dir))
        self._environment = {
            "GIT_DIR": str(git_dir),
            "GIT_COMMON_DIR": str(common_dir),
            "GIT_OBJECT_DIRECTORY": str(common_dir / "objects"),
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": "",
            "GIT_INDEX_FILE": str(git_dir / "index"),
            "GIT_NAMESPACE": "",
            "GIT_GRAFT_FILE": os.devnull,
            "GIT_NO_REPLACE_OBJECTS": "1",
            "GIT_OPTIONAL_LOCKS": "0",
            "GIT_TERMINAL_PROMPT": "0",
        }
        if work_tree is not None:
            self._environment["GIT_WORK_TREE"] = str(work_tree)

    @classmethod
    def find(cls, path: Path) -> GitRepo | None:
        """Return the repository that holds a folder, or None.

        Raises:
            ToolMissingError: Git is not installed.
        """
        git = _gitpython()
        try:
            with git.Repo(path.absolute(), search_parent_directories=True, expand_vars=False) as repo:
                work_tree = repo.working_tree_dir
                return cls(
                    git_dir=Path(repo.git_dir).absolute(),
                    common_dir=Path(repo.common_dir).absolute(),
                    work_tree=None if repo.bare or work_tree is None else Path(work_tree).absolute(),
                )
        except (git.exc.InvalidGitRepositoryError, git.exc.NoSuchPathError):
            return None

    def run(
        self,
        *arguments: str,
        stdin: bytes = b"",
        env: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> Answer:
        """Run a git command to its end and return its answer, whatever it is.

        Raises:
            ToolMissingError: Git is not installed.
        """
        settings = [part for setting in _SETTINGS for part in ("-c", setting)]
        with tempfile.TemporaryFile() as source:
            source.write(stdin)
            source.seek(0)
            try:
                code, out, err = self._git.execute(
                    ["git", "--no-pager", *settings, *arguments],
                    istream=source,
                    with_extended_output=True,
                    with_exceptions=False,
                    stdout_as_string=False,
                    strip_newline_in_stdout=False,
                    kill_after_timeout=timeout,
                    env={**self._environment, **(env or {})},
                )
            except _gitpython().exc.GitCommandNotFound as error:
                raise _missing() from error
        return Answer(code=code, out=out, err=err)

    def ask(self, *arguments: str, stdin: bytes = b"", env: Mapping[str, str] | None = None) -> Answer:
        """Run a git command that has to succeed.

        Raises:
            ToolFailedError: It did not.
        """
        answer = self.run(*arguments, stdin=stdin, env=env)
        if answer.code != 0:
            raise ToolFailedError(
                f"git {arguments[0]} failed in {self.git_dir}: {plain(answer.err)}",
                hint="mend what git says, then run the command again; `git fsck` checks the repository",
                argv=("git", *arguments),
                code=answer.code,
                tail=answer.err,
            )
        return answer

    def literal(self, folder: Path, paths: Sequence[str]) -> list[str]:
        """Return pathspecs that mean exactly these paths, which are relative to a folder of the work tree.

        A path that leads out of the work tree is left out: no commit has it.
        """
        top = (self.work_tree or folder).resolve()
        # git takes no `..` in a path that is literal: it would match nothing, and an answer would be short.
        named = (Path(os.path.normpath(folder.resolve() / path)) for path in paths)
        below = [path.relative_to(top).as_posix() for path in named if path.is_relative_to(top)]
        return [f":(top,literal){path}" for path in below]

    def refs(self, *names: str) -> dict[str, str | None]:
        """Return what each of these refs, by its full name, points at; one program for all.

        Raises:
            ToolFailedError: git fails.
        """
        listed = self.ask("for-each-ref", "--format=%(objectname) %(refname)", *names).text
        found = dict(line.split(" ", 1)[::-1] for line in listed.splitlines())
        return {name: found.get(name) for name in names}

    def ref(self, name: str) -> str | None:
        """Return the commit a full reference name points at, or None when there is no such reference."""
        answer = self.run("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
        return answer.text if answer.code == 0 else None

    def has(self, commit: str) -> bool:
        """Whether the commit is in the repository."""
        return self.run("cat-file", "-e", f"{commit}^{{commit}}").code == 0


def _gitpython() -> ModuleType:
    try:
        import git  # noqa: PLC0415 - GitPython looks for the git program when it is imported, and raises
    except ImportError as error:
        raise _missing() from error
    return git


def _missing() -> ToolMissingError:
    return ToolMissingError("git is not installed", hint=f"install it: {install_line('git')}")
