"""Reads who may approve, and who may write the ledger, from the protected branch.

That is: the tables `[approval]` and `[ledger.writers]`, the list of signers, their keys.

Rules: nothing is read from the checkout; which branch is protected is not the checkout's to say either. It is
the one that was named to the program, or else the remote's own default branch, or the branch that the table
there names, which then has to name itself. Only files proper are read, no links. No reference is written.
Without a remote the local branch is read, and a notice says that nobody protects it. Which commit the branch
is at is asked anew each time; what a commit holds never changes and is read once.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.adapters import toml_source
from pipeline.adapters.gitrepo import NETWORK_TIMEOUT, Answer, GitRepo
from pipeline.domain.allowed_signers import AllowedSigners, parse_allowed_signers
from pipeline.domain.approval_settings import ApprovalSettings
from pipeline.domain.protected_rules import ProtectedRules
from pipeline.domain.text import plain
from pipeline.domain.validation import Model, validate
from pipeline.domain.writers import WritersTable
from pipeline.errors import DefinitionError, LedgerRemoteError, NotFoundError, StateError, UsageError
from pipeline.problem import Problem

SETTINGS = "pipeline.toml"
_BRANCH = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*(?:[./][A-Za-z0-9][A-Za-z0-9_-]*)*")
_REGULAR = ("100644", "100755")
_HEAD = re.compile(r"^(?P<commit>[0-9a-f]{40,64})\tHEAD$", re.MULTILINE)
_DEFAULT = re.compile(r"^ref: refs/heads/(?P<branch>[^\t]+)\tHEAD$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tip:
    """A branch as it was found: its name, how it is shown, and its commit."""

    branch: str
    shown: str
    commit: str


class ProtectedBranch:
    """The protected branch of the repository that holds the definitions.

    Args:
        images: The images folder in the checkout.
        remote: Name of the remote that protects the branch.
        branch: The protected branch, where the caller knows it better than the repository, else None.
        local: The branch to read where the remote is not set up.
    """

    def __init__(self, images: Path, *, remote: str, branch: str | None = None, local: str = "main") -> None:
        for name in filter(None, (remote, branch, local)):
            if not _BRANCH.fullmatch(name):
                raise UsageError(
                    f"{plain(name)!r} is no branch or remote", hint="use letters, digits, - and /"
                )
        self._images, self._remote, self._branch, self._local = images.absolute(), remote, branch, local
        self._files: dict[tuple[str, str], bytes] = {}

    def read(self) -> ProtectedRules:
        """Return what the protected branch says now.

        Raises:
            StateError: There is no git repository.
            NotFoundError: The branch or one of the files is not there.
            DefinitionError: The table or the list is wrong, or the table names yet another branch.
            LedgerRemoteError: The remote cannot be reached.
            ToolMissingError: Git is not installed.
        """
        repo = self._repo()
        shared = repo.run("remote", "get-url", self._remote).code == 0
        tip = self._named(repo, self._branch or self._default(repo, shared=shared), shared=shared)
        return self._stated(repo, tip, shared=shared)

    def writers(self, *, offline: bool = False) -> tuple[WritersTable, ProtectedRules] | None:
        """Return the table `[ledger.writers]` with what the branch says beside it, or None without the table.

        A repository whose protected branch has no settings, or is not there yet, has no table.

        Args:
            offline: Ask no remote; what counts is the branch as this clone fetched it last, if it ever did.

        Raises:
            DefinitionError: The settings are wrong.
            NotFoundError: A branch that was named is not there, or beside a table one of the other files.
            LedgerRemoteError: The remote cannot be reached.
            ToolMissingError: Git is not installed.
        """
        repo = GitRepo.find(self._images)
        if repo is None or repo.work_tree is None:
            return None
        shared = repo.run("remote", "get-url", self._remote).code == 0
        asked = shared and not offline
        try:
            tip = self._fetched_last(repo) if shared and offline else self._newest(repo, shared=shared)
        except NotFoundError:
            if self._branch is not None and not offline:
                raise  # whoever named it wants it asked
            return None
        try:
            file = self._parsed(repo, tip)
        except NotFoundError:
            return None
        other = _branch_named(file.values)
        if other != tip.branch and self._branch is None:
            # A table that is there must not go unheeded because the branch that counts is named wrongly.
            try:
                tip = self._named(repo, other, shared=asked)
                file = self._parsed(repo, tip)
            except NotFoundError:
                if _table_of_writers(file) is None:
                    return None
                raise
        table = _table_of_writers(file)
        return None if table is None else (table, self._stated(repo, tip, shared=asked))

    def _stated(self, repo: GitRepo, tip: _Tip, *, shared: bool) -> ProtectedRules:
        settings = self._settings(repo, tip)
        if settings.branch != tip.branch and self._branch is None:
            tip = self._named(repo, settings.branch, shared=shared)
            settings = self._settings(repo, tip)
        if settings.branch != tip.branch:
            raise self._wrong(
                tip, f"names the branch {settings.branch!r} as the protected one, and is on {tip.branch!r}"
            )
        revoked = settings.revoked_keys
        pinned = settings.gitlab.jwks if settings.gitlab else None
        issuer = settings.token_issuer(self._file(repo, tip, pinned) if pinned else None)
        signers = self._signers(repo, tip, settings.allowed_signers)
        return ProtectedRules(
            settings=settings,
            signers=dataclasses.replace(signers, issuer=issuer),
            revoked=b"" if revoked is None else self._file(repo, tip, revoked),
            source=f"{tip.shown} at {tip.commit[:12]}",
            notices=tuple(self._notices(repo, tip, settings, shared=shared)),
        )

    def newcomers(self, rules: ProtectedRules, since: str | None, until: str | None) -> frozenset[str]:
        """Return the fingerprints of listed keys that the change from `since` to `until` put on the list.

        Without a `since` there is no change to speak of. What cannot be looked at counts as having come with
            it.

        Args:
            rules: What the protected branch says.
            since: Full id of the predecessor's commit, or None.
            until: Full id of the candidate's commit, or None when it is not known.

        Raises:
            StateError: There is no git repository.
        """
        if since is None:
            return frozenset()
        repo, file = self._repo(), rules.settings.allowed_signers
        listed = {one.key for one in rules.signers.keys}
        before = self._keys(repo, since, file) or frozenset()
        after = None if until is None else self._keys(repo, until, file)
        return frozenset(listed - before if after is None else (listed & after) - before)

    def _keys(self, repo: GitRepo, commit: str, file: str) -> frozenset[str] | None:
        """Return the keys of the list at a commit; None where there is none that can be read."""
        tip = _Tip(branch="", shown=commit[:12], commit=commit)
        try:
            return frozenset(one.key for one in self._signers(repo, tip, file).keys)
        except (NotFoundError, DefinitionError):
            return None

    def _repo(self) -> GitRepo:
        repo = GitRepo.find(self._images)
        if repo is None or repo.work_tree is None:
            raise StateError(
                f"{self._images} is in no git checkout, and who may approve is read from a protected branch",
                hint="keep the images folder in a git repository",
            )
        return repo

    def _default(self, repo: GitRepo, *, shared: bool) -> str:
        if not shared:
            return self._local
        found = _DEFAULT.search(self._network(repo, "ls-remote", "--symref", self._remote, "HEAD").text)
        if found is None or not _BRANCH.fullmatch(found["branch"]):
            raise NotFoundError(
                f"{self._remote} does not tell its default branch", hint="name the protected branch yourself"
            )
        return found["branch"]

    def _newest(self, repo: GitRepo, *, shared: bool) -> _Tip:
        """Return the branch that was named, or the default one; that takes a single question."""
        if self._branch is not None or not shared:
            return self._named(repo, self._branch or self._local, shared=shared)
        said = self._network(repo, "ls-remote", "--symref", self._remote, "HEAD").text
        named, tip = _DEFAULT.search(said), _HEAD.search(said)
        if named is None or tip is None or not _BRANCH.fullmatch(named["branch"]):
            raise NotFoundError(
                f"{self._remote} does not tell its default branch", hint="name the protected branch yourself"
            )
        branch, commit = named["branch"], tip["commit"]
        if not repo.has(commit):
            return self._named(repo, branch, shared=shared)
        return _Tip(branch=branch, shown=f"{self._remote}/{branch}", commit=commit)

    def _fetched_last(self, repo: GitRepo) -> _Tip:
        """Return the branch as this clone knows it of the remote, or where it was never fetched the local."""
        prefix = f"refs/remotes/{self._remote}/"
        default = repo.run("symbolic-ref", "--quiet", f"{prefix}HEAD").text.removeprefix(prefix)
        branch = self._branch or default or self._local
        there, here = repo.ref(f"{prefix}{branch}"), repo.ref(f"refs/heads/{branch}")
        if there is not None:
            return _Tip(branch=branch, shown=f"{self._remote}/{branch}", commit=there)
        if here is not None:
            return _Tip(branch=branch, shown=branch, commit=here)
        raise NotFoundError(f"this clone never fetched {branch}", hint="reach the remote once")

    def _named(self, repo: GitRepo, branch: str, *, shared: bool) -> _Tip:
        shown = f"{self._remote}/{branch}" if shared else branch
        commit = self._fetched(repo, branch) if shared else repo.ref(f"refs/heads/{branch}")
        if commit is None:
            raise NotFoundError(
                f"there is no branch {shown}, from which is read who may approve",
                hint="push the branch, or name the protected one in [approval] of images/pipeline.toml there",
            )
        return _Tip(branch=branch, shown=shown, commit=commit)

    def _fetched(self, repo: GitRepo, branch: str) -> str | None:
        ref = f"refs/heads/{branch}"
        listed = self._network(repo, "ls-remote", "--quiet", self._remote, ref).text
        tips = {name: tip for tip, _, name in (line.partition("\t") for line in listed.splitlines())}
        tip = tips.get(ref)
        if tip is not None and not repo.has(tip):
            self._network(
                repo, "fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--refmap=",
                "--no-auto-maintenance", "--no-recurse-submodules", self._remote, ref,
            )  # fmt: skip
        return tip

    def _network(self, repo: GitRepo, *arguments: str) -> Answer:
        answer = repo.run(*arguments, timeout=NETWORK_TIMEOUT)
        if answer.code != 0:
            raise LedgerRemoteError(
                f"git {arguments[0]} from {self._remote}, for who may approve or write: {plain(answer.err)}",
                hint="mend the connection or the rights, then run the command again",
            )
        return answer

    def _settings(self, repo: GitRepo, tip: _Tip) -> ApprovalSettings:
        file = self._parsed(repo, tip)
        return _validated(ApprovalSettings, file, "approval.", file.values.get("approval", {}))

    def _parsed(self, repo: GitRepo, tip: _Tip) -> toml_source.TomlFile:
        data = self._file(repo, tip, SETTINGS)
        shown = f"{tip.shown}:{self._path(repo, SETTINGS)}"
        parsed = toml_source.parse(data.decode("utf-8", "replace"), shown=shown)
        if isinstance(parsed, Problem):
            raise DefinitionError((parsed,))
        return parsed

    def _signers(self, repo: GitRepo, tip: _Tip, file: str) -> AllowedSigners:
        data = self._file(repo, tip, file)
        return parse_allowed_signers(data, file=f"{tip.shown}:{self._path(repo, file)}")

    def _path(self, repo: GitRepo, file: str) -> str:
        top = (repo.work_tree or self._images).resolve()
        return (self._images.resolve() / file).relative_to(top).as_posix()

    def _file(self, repo: GitRepo, tip: _Tip, file: str) -> bytes:
        path = self._path(repo, file)
        if (tip.commit, path) not in self._files:
            self._files[tip.commit, path] = self._held(repo, tip, path)
        return self._files[tip.commit, path]

    def _held(self, repo: GitRepo, tip: _Tip, path: str) -> bytes:
        listed = repo.run("ls-tree", "-z", "--full-tree", tip.commit, "--", path)
        mode, _, rest = listed.text.removesuffix("\0").partition(" ")
        if listed.code != 0 or mode not in _REGULAR:
            raise NotFoundError(
                f"{tip.shown} has no file {path}, from which is read who may approve",
                hint="commit it there; a link does not do",
            )
        return repo.ask("cat-file", "blob", rest.split()[1]).out

    def _notices(self, repo: GitRepo, tip: _Tip, settings: ApprovalSettings, *, shared: bool) -> list[str]:
        found = []
        if not shared:
            found.append(
                f"UNPROTECTED: without a remote {self._remote!r}, who may approve is read from the branch "
                f"{tip.branch!r} here, which whoever has this folder can change"
            )
        pinned = settings.gitlab.jwks if settings.gitlab else None
        for file in (SETTINGS, settings.allowed_signers, *([pinned] if pinned else [])):
            here = self._images / file
            if not here.is_file() or here.read_bytes() != self._file(repo, tip, file):
                found.append(f"{file} differs in this checkout; what {tip.shown} says counts")
        return found

    def _wrong(self, tip: _Tip, message: str) -> DefinitionError:
        problem = Problem(
            file=f"{tip.shown}:{SETTINGS}",
            line=None,
            key="approval.branch",
            message=message,
            hint="the protected branch names itself",
        )
        return DefinitionError((problem,))


def _branch_named(values: Mapping[str, Any]) -> str:
    """Return which branch the settings call the protected one, whatever else is wrong in them."""
    table = values.get("approval")
    named = table.get("branch") if isinstance(table, Mapping) else None
    return named if isinstance(named, str) and _BRANCH.fullmatch(named) else ApprovalSettings().branch


def _table_of_writers(file: toml_source.TomlFile) -> WritersTable | None:
    table = file.values.get("ledger")
    if not isinstance(table, Mapping) or "writers" not in table:
        return None
    return _validated(WritersTable, file, "ledger.writers.", table["writers"])


def _validated(model: type[Model], file: toml_source.TomlFile, prefix: str, values: Any) -> Model:
    """Return a table of the file as a definition; `prefix` is its dotted path.

    Raises:
        DefinitionError: It is wrong.
    """
    lines = {key.removeprefix(prefix): at for key, at in file.lines.items() if key.startswith(prefix)}
    found = validate(model, values, file=file.file, lines=lines)
    if isinstance(found, tuple):
        raise DefinitionError(found)
    return found
