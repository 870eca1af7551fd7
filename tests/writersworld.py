"""A shared repository whose protected branch says who may write the ledger, with writers and their keys."""

from __future__ import annotations

import datetime as dt
import random
from pathlib import Path

from ledgers import BRANCH, REF, git
from records import NOON
from sshkeys import PROCESSES, listed, ssh_key

from pipeline.adapters.gitkeys import GitKey
from pipeline.adapters.gitrepo import GitRepo
from pipeline.adapters.ledger import Ledger
from pipeline.adapters.ledger_writers import LedgerWriters
from pipeline.adapters.protected import ProtectedBranch
from pipeline.domain.record import Record, record_bytes, record_path

CI, RELEASE, EVE = "ci@example.org", "release@example.org", "eve@example.org"
TABLE = f"""
[ledger.writers]
candidate = ["{CI}"]
seal = ["{RELEASE}"]
reservation = ["{RELEASE}"]
"""
GIT = 'namespaces="git"'


class WritersWorld:
    """One project; the time of the ledger's commits stands still unless it is moved."""

    def __init__(self, folder: Path, *, table: str = TABLE) -> None:
        self.folder, self.now = folder, NOON
        self.keys = folder / "keys"
        self.keys.mkdir()
        for name in ("ci", "release", "eve"):
            ssh_key(self.keys, name)
        self.hub = folder / "hub.git"
        git(folder, "init", "-q", "--bare", "-b", "main", str(self.hub))
        self.top = self.clone("checkout")
        self.says(table, self.line("ci"), self.line("release"), self.line("eve"))

    def clone(self, name: str) -> Path:
        path = self.folder / name
        git(self.folder, "clone", "-q", str(self.hub), str(path))
        if not git(path, "branch", "--list", "main"):
            git(path, "checkout", "-q", "-b", "main")
        return path

    def line(self, name: str, options: str = GIT) -> str:
        return listed(self.keys / name, f"{name}@example.org", options=options)

    def says(self, table: str, *signers: str, revoked: str = "") -> None:
        """Let the protected branch say something else."""
        images = self.top / "images"
        (images / "keys").mkdir(parents=True, exist_ok=True)
        approval = '[approval]\nbranch = "main"\n' + ('revoked_keys = "keys/revoked"\n' if revoked else "")
        (images / "pipeline.toml").write_text(approval + table)
        if signers:
            (images / "keys/allowed_signers").write_text("".join(signers))
        (images / "keys/revoked").write_text(revoked)
        git(self.top, "add", "-A")
        git(self.top, "commit", "-q", "--allow-empty", "-m", "rules")
        git(self.top, "push", "-q", "origin", "main")

    def ledger(self, who: str | None = None, *, at: Path | None = None, named: bool = True) -> Ledger:
        """The ledger as somebody opens it, with a key or without."""
        repo = at or self.top
        return Ledger(
            repo,
            branch=BRANCH,
            remote="origin",
            identity=(who or "Nobody", f"{who or 'nobody'}@example.org"),
            clock=lambda: self.now,
            jitter=random.Random(1).random,
            sleep=lambda _: None,
            attempts=6,
            writers=self.writers(who, repo, named=named),
        )

    def writers(self, who: str | None, repo: Path, *, named: bool = True) -> LedgerWriters:
        found = GitRepo.find(repo)
        assert found is not None
        key = None if who is None else self.keys / who
        return LedgerWriters(
            ProtectedBranch(repo / "images", remote="origin"),
            GitKey(found, PROCESSES, key, signs="records of the ledger"),
            named=named and who is not None,
            processes=PROCESSES,
            clock=lambda: self.now,
        )

    def tip(self) -> str:
        return git(self.hub, "rev-parse", REF)

    def object_with(self, record: Record, *, when: dt.datetime | None = None, parent: str | None = "") -> str:
        """Write an unsigned commit with a record, as git would, and return its id; nothing points at it."""
        above = self.tip() if parent == "" else parent
        index = {"GIT_INDEX_FILE": str(self.folder / "index")}
        Path(index["GIT_INDEX_FILE"]).unlink(missing_ok=True)
        if above is not None:
            git(self.top, "fetch", "-q", "origin", above)
            git(self.top, "read-tree", above, env=index)
        file = self.folder / "record"
        file.write_bytes(record_bytes(record))
        blob = git(self.top, "hash-object", "-w", "--no-filters", str(file))
        git(
            self.top,
            "update-index",
            "--add",
            "--cacheinfo",
            f"100644,{blob},{record_path(record)}",
            env=index,
        )
        tree = git(self.top, "write-tree", env=index)
        stamp = f"@{int((when or self.now).timestamp())} +0000"
        dates = {"GIT_AUTHOR_DATE": stamp, "GIT_COMMITTER_DATE": stamp}
        return git(self.top, "commit-tree", tree, *(["-p", above] if above else []), "-m", "x", env=dates)

    def text(self, commit: str) -> bytes:
        done = GitRepo.find(self.top)
        assert done is not None
        return done.ask("cat-file", "commit", commit).out

    def write(self, data: bytes) -> str:
        """Write the bytes of a commit as they are."""
        repo = GitRepo.find(self.top)
        assert repo is not None
        return repo.ask("hash-object", "-t", "commit", "-w", "--literally", "--stdin", stdin=data).text

    def push(self, commit: str) -> str:
        """Let the shared ledger name a commit, as whoever may push can."""
        git(self.top, "push", "-q", "--force", str(self.hub), f"{commit}:{REF}")
        return commit

    def pushed(self, record: Record, *, who: str | None = None, when: dt.datetime | None = None) -> str:
        """Push a record around the program: unsigned, or signed by git itself with somebody's key."""
        commit = self.object_with(record, when=when)
        if who is None:
            return self.push(commit)
        return self.push(self.by_git(commit, who))

    def by_git(self, commit: str, who: str) -> str:
        """Sign a commit with git itself."""
        text = self.text(commit).decode()
        head = dict(line.split(" ", 1) for line in text.partition("\n\n")[0].splitlines())
        stamp = head["committer"].rpartition("> ")[2]
        dates = {"GIT_AUTHOR_DATE": f"@{stamp}", "GIT_COMMITTER_DATE": f"@{stamp}"}
        over = ["-p", head["parent"]] if "parent" in head else []
        settings = ("-c", "gpg.format=ssh", "-c", f"user.signingkey={self.keys / who}")
        return git(self.top, *settings, "commit-tree", head["tree"], *over, "-S", "-m", "x", env=dates)

    def git_says_good(self, commit: str) -> str:
        """What `git verify-commit` says of a commit it calls good, with the list of the checkout."""
        signers = self.top / "images/keys/allowed_signers"
        settings = ("-c", "gpg.format=ssh", "-c", f"gpg.ssh.allowedSignersFile={signers}")
        git(self.top, "fetch", "-q", "origin", f"+{REF}:refs/test/ledger")
        git(self.top, *settings, "verify-commit", commit)
        return git(self.top, *settings, "log", "-1", "--format=%G? %GS", commit)
