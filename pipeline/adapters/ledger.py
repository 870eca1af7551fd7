"""The ledger: records on a git branch of their own, only ever added to, shared through a remote.

Rules:
1. Objects and references alone are written; work tree, index and HEAD of the checkout are never touched.
2. A tip moves by compare-and-swap here and by fast-forward push there; the push decides between machines.
3. With a remote, the local branch is a copy of what the remote has confirmed. A record that could not be
   delivered is kept in `refs/pipeline/ledger-kept/…` and goes out with the next write, once: ids tell.
4. The last tips seen are remembered in `refs/pipeline/ledger-seen/…`; a history without them was rewritten or
   truncated, and is neither read nor added to. A clone that never saw the ledger trusts what it finds first.
5. A remote that is named but not set up in this clone means: no remote.
6. A commit whose author may not write what it records is neither read over nor remembered as seen
   (`ledger_writers`); a commit is signed before anything points at it.
"""

from __future__ import annotations

import datetime as dt
import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from pipeline.adapters.gitrepo import NETWORK_TIMEOUT, Answer, GitRepo
from pipeline.adapters.ledger_commit import write_commit
from pipeline.adapters.ledger_faults import rewritten, unreachable
from pipeline.adapters.ledger_history import History, load
from pipeline.adapters.ledger_writers import LedgerWriters
from pipeline.domain.record import Kind, Record
from pipeline.domain.text import plain
from pipeline.domain.writers import Sifted
from pipeline.errors import LedgerError, LedgerRaceError, LedgerRemoteError, StateError, UsageError

ATTEMPTS = 40
"""How often a lost race is run again; with the back-off below about half a minute in all."""

_SHORTEST, _LONGEST = 0.02, 1.0
"""Seconds of the first and the longest back-off, before jitter."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*(?:[./][A-Za-z0-9][A-Za-z0-9_-]*)*")
_PERSON = re.compile(r"[^<>\x00-\x1f\x7f]*[^<>\x00-\x20\x7f.,:;'\"][^<>\x00-\x1f\x7f]*")
_MOVED = re.compile(r"but expected|already exists|File exists|unable to resolve reference")
_LOST = re.compile(
    r"^!.*(?:\[rejected\]|cannot lock ref|failed to (?:update|lock)|already exists|incorrect old value)",
    re.MULTILINE,
)

Check = Callable[[tuple[Record, ...]], None]
"""Looks at all records just before a write, again on each attempt; raises to give up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _View:
    """What a look found: the tips here and on the remote, and the checked history that counts."""

    local: str | None
    remote: str | None
    history: History


class Ledger:
    """Reads and appends records; safe for threads with an object each, processes and machines.

    Args:
        repo_path: A folder in the repository.
        branch: The ledger's branch, made on first use without a parent.
        remote: Name of the remote that shares it, or None.
        identity: Name and address of who commits.
        clock: Tells the time of a commit, with a time zone.
        jitter: Gives a random number from 0 to 1; spreads writers that wait.
        sleep: Waits for so many seconds.
        attempts: How often a lost race is run again.
        writers: Knows who may write which kind, and signs; None lets everybody.

    Raises:
        UsageError: A name cannot be used with git.
        StateError: The folder is in no git repository.
        ToolMissingError: Git is not installed.
    """

    def __init__(
        self,
        repo_path: Path,
        *,
        branch: str,
        remote: str | None,
        identity: tuple[str, str],
        clock: Callable[[], dt.datetime],
        jitter: Callable[[], float],
        sleep: Callable[[float], None] = time.sleep,
        attempts: int = ATTEMPTS,
        writers: LedgerWriters | None = None,
    ) -> None:
        for name in (branch, *([] if remote is None else [remote])):
            if not _NAME.fullmatch(name) or name.endswith(".lock") or ".lock/" in name:
                raise UsageError(
                    f"{plain(name)!r} is no branch or remote", hint="use letters, digits, - and /"
                )
        for part in identity:
            if not _PERSON.fullmatch(part):
                raise UsageError(f"{plain(part)!r} cannot sign a commit", hint="give a name and an address")
        self._repo = opened(repo_path)
        self._branch, self._remote, self._identity = branch, remote, identity
        self._clock, self._jitter, self._sleep, self._attempts = clock, jitter, sleep, attempts
        self._writers = writers
        self._ref = f"refs/heads/{branch}"
        self._kept_ref = f"refs/pipeline/ledger-kept/{branch}"
        self._seen_here = f"refs/pipeline/ledger-seen/here/{branch}"
        self._seen_there = f"refs/pipeline/ledger-seen/there/{remote}/{branch}"
        self._known = History()

    @property
    def shared(self) -> bool:
        """Whether a remote decides."""
        return self._remote is not None and self._repo.run("remote", "get-url", self._remote).code == 0

    def read(self, *, offline: bool = False) -> tuple[Record, ...]:
        """Return every record, oldest first; `offline` asks no remote and may miss the newest.

        Raises:
            LedgerError: The ledger is damaged, rewritten or not understood.
            LedgerRemoteError: The remote cannot be reached.
        """
        view = self._look(offline=offline)
        self._remember(view.history, there=view.remote is not None)
        return view.history.records

    def sift(self) -> Sifted:
        """Return the records that their authors may write, and the commits of others (errors as `read`)."""
        view = self._look(strict=False)
        found = () if self._writers is None else self._writers.breaches(self._repo, view.history)
        if not found:
            self._remember(view.history, there=view.remote is not None)
        bad = {one.commit for one in found}
        good = (entry for entry in view.history.entries if entry.commit not in bad)
        return Sifted(records=tuple(record for entry in good for record in entry.records), breaches=found)

    def require(self, kinds: Iterable[Kind]) -> None:
        """Return if who works here may write records of these kinds; nothing is written.

        Raises:
            UsageError: They have to be signed, and there is no key.
            SignatureError: The key may not sign them.
            LedgerRemoteError: Who may write is read from a remote that cannot be reached.
        """
        if self._writers is not None:
            self._writers.require(frozenset(kinds))

    def verify(self) -> int:
        """Read and check everything anew, and return the number of records (errors as `read`)."""
        self._known = History()
        return len(self.read())

    def kept(self) -> tuple[Record, ...]:
        """Return the records that wait here because the remote could not be reached."""
        confirmed = self._look(offline=True).history
        return tuple(record for group in self._waiting(confirmed) for record in group)

    def append(self, records: Sequence[Record], *, check: Check | None = None) -> str:
        """Write records in one commit, after those that were kept, and return the commit with the last one.

        A record whose id is there already is not written again. With `check`, nothing is kept for later: a
        decision that was right before may be wrong then.

        Raises:
            LedgerError: The ledger is damaged, rewritten or not understood; nothing was written.
            LedgerRaceError: Other writers kept winning.
            LedgerRemoteError: The remote cannot be reached or refuses. The message says what became of the
                records; without `check` they are kept here.
        """
        if not records:
            raise UsageError("there is nothing to record", hint="give one record at least")
        self._deliver(tuple(records), check)
        return self._known.commits[records[-1].id]

    def _deliver(self, records: tuple[Record, ...], check: Check | None) -> None:
        shared = self.shared
        reason = ""
        for attempt in range(self._attempts):
            try:
                view = self._look()
                new = self._extended(view.history, records, check, waiting=shared)
                if new == (view.remote if shared else view.local):
                    break
                reason = self._publish(new) if shared else self._advance(view.local, new)
            except LedgerRemoteError as error:
                self._keep(records, error, check)
            if not reason:
                self._known = load(self._repo, new, self._known)
                break
            self._sleep(min(_LONGEST, _SHORTEST * 2**attempt) * (0.5 + self._jitter()))
        else:
            lost = LedgerRaceError(
                f"other writers won the race for the ledger {self._attempts} times; last: {reason}",
                hint="run the command again; where it says 'File exists', a killed git left a lock to remove",
            )
            self._keep(records, lost, check) if shared else self._give_up(lost)
        self._remember(self._known, there=shared)
        self._forget_kept()

    def _look(self, *, offline: bool = False, strict: bool = True) -> _View:
        """Read the tips, those seen before first: what moves meanwhile then only moves on."""
        here, there = self._repo.refs(self._seen_here, self._seen_there).values()
        local = self._local_tip()
        if local is None and here is not None:
            raise rewritten(f"the branch {self._branch} is gone", f"git branch {self._branch} {here}")
        remote = None
        if not offline and self.shared:
            remote = self._remote_tip(have=(here, there, local))
            self._refuse_gone(remote, there)
        history = load(self._repo, remote or local, self._known)
        if remote is not None and there is not None and there not in history.positions:
            raise rewritten(f"{self._remote} no longer holds {there[:12]}, seen before", self._restore(there))
        self._fits(history, local, here)
        self._known = history
        if strict and self._writers is not None:
            self._writers.refuse(self._repo, history, offline=offline)
        return _View(local=local, remote=remote, history=history)

    def _refuse_gone(self, remote: str | None, there: str | None) -> None:
        """A remote without the branch has no ledger yet and gets ours, unless it had one before."""
        if remote is None and there is not None:
            raise rewritten(f"{self._remote} has no branch {self._branch} any more", self._restore(there))

    def _fits(self, history: History, local: str | None, here: str | None) -> None:
        """Refuse a local branch that has another history, or less of it than was seen in this clone."""
        if local is not None and local not in history.positions:
            raise LedgerError(
                f"the branch {self._branch} has commits that {self._remote} does not have: two histories",
                hint=f"compare both, then move it away: git branch -m {self._branch} old-{self._branch}",
            )
        if local is None or here is None:
            return
        if here not in history.positions or history.positions[local] < history.positions[here]:
            raise rewritten(
                f"{self._branch} no longer holds {here[:12]}, seen before",
                f"git branch -f {self._branch} {here}",
            )

    def _local_tip(self) -> str | None:
        answer = self._repo.ask("for-each-ref", "--format=%(objectname) %(worktreepath)", self._ref)
        tip, _, checkout = answer.text.partition(" ")
        if self._repo.work_tree is None and checkout == str(self._repo.common_dir):
            return tip  # git lists the HEAD of a bare repository, where nothing is checked out
        if checkout or (not tip and self._repo.run("symbolic-ref", "--quiet", "HEAD").text == self._ref):
            raise StateError(
                f"the ledger's branch {self._branch} is checked out in {plain(checkout) or 'this clone'}",
                hint="switch to another branch there; look at the ledger with `pipeline log` or `git log`",
            )
        return tip or None

    def _remote_tip(self, *, have: Sequence[str | None]) -> str | None:
        listed = self._network("ls-remote", "--quiet", str(self._remote), self._ref)
        tips = {name: tip for tip, _, name in (line.partition("\t") for line in listed.text.splitlines())}
        tip = tips.get(self._ref)
        if tip is None or tip in have or tip in self._known.positions:
            return tip
        # No destination and no FETCH_HEAD: two fetches in one clone then have no lock to fight for.
        self._network(
            "fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--refmap=", "--no-auto-maintenance",
            "--no-recurse-submodules", str(self._remote), self._ref,
        )  # fmt: skip
        if not self._repo.has(tip):
            raise unreachable(f"{self._remote} named {tip[:12]} but did not hand it over")
        return tip

    def _network(self, *arguments: str) -> Answer:
        answer = self._repo.run(*arguments, timeout=NETWORK_TIMEOUT)
        if answer.code != 0:
            raise unreachable(f"git {arguments[0]} from {self._remote}: {plain(answer.err) or answer.code}")
        return answer

    def _extended(
        self, history: History, records: Sequence[Record], check: Check | None, *, waiting: bool
    ) -> str | None:
        """Return the tip of `history` with what it lacks on top: what was kept, then the new records."""
        tip, there = history.tip, set(history.commits)
        # What is kept is signed anew, by who delivers it: what he may not write waits for who may.
        kept = [one for one in self._waiting(history) if self._may(one)] if waiting else []
        for group in kept:
            tip = self._commit(tip, group)
            there.update(record.id for record in group)
        fresh = {record.id: record for record in records if record.id not in there}
        if not fresh:
            return tip
        if check is not None:
            check((*history.records, *(record for group in kept for record in group)))
        return self._commit(tip, tuple(fresh.values()))

    def _waiting(self, confirmed: History) -> tuple[tuple[Record, ...], ...]:
        kept = load(self._repo, self._repo.ref(self._kept_ref), confirmed)
        groups = (
            tuple(record for record in entry.records if record.id not in confirmed.commits)
            for entry in kept.entries
            if entry.commit not in confirmed.positions
        )
        return tuple(group for group in groups if group)

    def _publish(self, new: str | None) -> str:
        """Push a commit; return why another writer was first, or nothing when it was taken."""
        answer = self._repo.run(
            "push", "--porcelain", "--no-verify", "--no-signed", "--no-follow-tags",
            "--recurse-submodules=no", str(self._remote), f"{new}:{self._ref}", timeout=NETWORK_TIMEOUT,
        )  # fmt: skip
        said = answer.out.decode(errors="replace")
        if answer.code == 0:
            return ""
        if _LOST.search(said):
            return plain(next(line for line in said.splitlines() if line.startswith("!")))
        raise unreachable(f"git push to {self._remote}: {plain(said + answer.err)}")

    def _advance(self, old: str | None, new: str | None) -> str:
        """Move the local branch; return why another writer was first, or nothing when it is done."""
        return self._swap([(self._ref, old, str(new))])

    def _swap(self, moves: Sequence[tuple[str, str | None, str]]) -> str:
        script = "".join(f"update {ref} {new} {old or '0' * len(new)}\n" for ref, old, new in moves)
        answer = self._repo.run("update-ref", "--stdin", stdin=script.encode())
        if answer.code == 0:
            return ""
        if _MOVED.search(answer.err):
            return plain(answer.err)
        raise StateError(
            f"git cannot move the ledger's references: {plain(answer.err)}",
            hint="make the repository's folder writable and free space on its disk",
        )

    def _remember(self, history: History, *, there: bool) -> None:
        """Move the branch, then the marks of what was seen, on to this history; never back."""
        if history.tip is None:
            return
        names = (self._ref, self._seen_here, *([self._seen_there] if there else []))
        for _ in range(self._attempts):
            tips = self._repo.refs(*names)
            behind = [
                (name, tip, history.tip)
                for name, tip in tips.items()
                if tip != history.tip and (tip is None or tip in history.positions)
            ]
            if not behind or not self._swap(behind):
                return
            self._sleep(_SHORTEST * (0.5 + self._jitter()))

    def _keep(
        self, records: tuple[Record, ...], cause: LedgerRemoteError | LedgerRaceError, check: Check | None
    ) -> NoReturn:
        """Put what could not be delivered aside, and raise the cause with word of it."""
        if check is not None:
            self._give_up(cause)
        for _ in range(self._attempts):
            kept = self._repo.ref(self._kept_ref)
            history = load(self._repo, kept or self._repo.ref(self._ref), self._known)
            fresh = tuple(record for record in records if record.id not in history.commits)
            if not fresh or not self._swap([(self._kept_ref, kept, self._commit(history.tip, fresh))]):
                break
            self._sleep(_SHORTEST * (0.5 + self._jitter()))
        else:
            self._give_up(cause)
        raise type(cause)(
            f"{cause.message}; {len(records)} record(s) are kept in this clone, in {self._kept_ref}",
            hint="mend the cause; the next write delivers them, or by hand: "
            f"git push {self._remote} {self._kept_ref}:{self._ref}",
        ) from cause

    def _give_up(self, cause: LedgerRemoteError | LedgerRaceError) -> NoReturn:
        raise type(cause)(f"{cause.message}; nothing was recorded", hint=cause.hint) from cause

    def _forget_kept(self) -> None:
        kept = self._repo.ref(self._kept_ref)
        if kept is not None and not self._waiting(self._known):
            self._repo.run("update-ref", "-d", self._kept_ref, kept)

    def _restore(self, tip: str) -> str:
        return f"git push --force-with-lease {self._remote} {tip}:{self._ref}"

    def _may(self, records: Sequence[Record]) -> bool:
        return self._writers is None or self._writers.may(record.kind for record in records)

    def _commit(self, parent: str | None, records: Sequence[Record]) -> str:
        made = write_commit(self._repo, parent, records, identity=self._identity, time=self._clock())
        return made if self._writers is None else self._writers.signed(self._repo, made, records)


def opened(path: Path) -> GitRepo:
    """Return the repository that a ledger is kept in.

    Raises:
        StateError: The folder is in none.
    """
    repo = GitRepo.find(path)
    if repo is None:
        raise StateError(
            f"{plain(str(path))} is in no git repository, and the ledger is a branch of one",
            hint="run `git init` in the folder that holds images/, or name another with --images",
        )
    return repo
