"""The ledger's history, read from git and checked while it is read.

Rules: one line of commits from one root, no merges; a commit adds record files and does nothing else; every
record is understood in full (`domain.record_parser`). Anything else is an error that names the commit.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from pipeline.adapters.gitrepo import GitRepo
from pipeline.adapters.ledger_faults import damaged
from pipeline.domain.record import Record
from pipeline.domain.record_parser import parse_record
from pipeline.domain.text import plain
from pipeline.errors import LedgerError


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One commit and the records it added, by time, then title, then id."""

    commit: str
    records: tuple[Record, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """A checked history, oldest commit first.

    Attributes:
        entries: The commits with their records.
        positions: Commit id to its index in `entries`.
        commits: Record id to the commit that added it.
    """

    entries: tuple[Entry, ...] = ()
    positions: dict[str, int] = field(default_factory=dict)
    commits: dict[str, str] = field(default_factory=dict)

    @property
    def tip(self) -> str | None:
        """The newest commit, or None when there is none."""
        return self.entries[-1].commit if self.entries else None

    @property
    def records(self) -> tuple[Record, ...]:
        """All records, oldest first."""
        return tuple(record for entry in self.entries for record in entry.records)


def load(repo: GitRepo, tip: str | None, known: History | None = None) -> History:
    """Read the history that ends in `tip`; what `known` holds of it already is not read again.

    Raises:
        LedgerError: It is no ledger, incomplete, or a record is not understood.
    """
    known = known or History()
    if tip is None:
        return History()
    if tip == known.tip:
        return known
    if known.tip is not None:
        chain = _chain(repo, tip, without=known.tip)
        if chain and chain[0][1:] == (known.tip,):
            return _extended(known, _entries(repo, chain))
    chain = _chain(repo, tip)
    if chain[0][1:]:
        raise damaged(chain[0][0], "its parent is not there")
    return _extended(History(), _entries(repo, chain))


def _extended(known: History, entries: Sequence[Entry]) -> History:
    joined = (*known.entries, *entries)
    return History(
        entries=joined,
        positions={entry.commit: index for index, entry in enumerate(joined)},
        commits={record.id: entry.commit for entry in joined for record in entry.records},
    )


def _chain(repo: GitRepo, tip: str, *, without: str | None = None) -> list[tuple[str, ...]]:
    """Return (commit, parent…) oldest first, in one line; only those that `without` does not contain."""
    exclude = [] if without is None else [f"^{without}"]
    answer = repo.run("rev-list", "--parents", "--reverse", "--topo-order", tip, *exclude, "--")
    if answer.code != 0:
        raise damaged(tip, f"git cannot read the commits before it: {plain(answer.err)}")
    chain = [tuple(line.split()) for line in answer.text.splitlines()]
    _refuse_shallow(repo, chain)
    for before, (commit, *parents) in itertools.pairwise(chain):
        if parents != [before[0]]:
            raise damaged(
                commit, "it is a merge or starts a second history; the ledger is one line of commits"
            )
    if chain and len(chain[0]) > 2:  # noqa: PLR2004 - a commit and one parent
        raise damaged(chain[0][0], "it is a merge; the ledger is one line of commits")
    return chain


def _refuse_shallow(repo: GitRepo, chain: Sequence[tuple[str, ...]]) -> None:
    """Git shows the oldest commit of a shallow clone as a root: then the rest would be missed silently."""
    try:
        cut = set((repo.common_dir / "shallow").read_text().split())
    except FileNotFoundError:
        return
    if any(commit in cut for commit, *_ in chain):
        raise LedgerError(
            "this clone is shallow and holds only the newest part of the ledger",
            hint="run `git fetch --unshallow`, then the command again",
        )


def _entries(repo: GitRepo, chain: Sequence[tuple[str, ...]]) -> list[Entry]:
    added = [(commit, list(_added(commit, changes))) for commit, changes in _changes(repo, chain)]
    blobs = objects(repo, [blob for _, files in added for _, blob in files], b"blob")
    return [
        Entry(commit=commit, records=_records(commit, [(path, blobs[blob]) for path, blob in files]))
        for commit, files in added
    ]


def _changes(repo: GitRepo, chain: Sequence[tuple[str, ...]]) -> Iterator[tuple[str, list[str]]]:
    """Yield each commit with its raw changes: `:mode mode blob blob status`, path, and so on."""
    commits = [commit for commit, *_ in chain]
    options = ("--stdin", "--root", "-r", "--raw", "-z", "--no-renames", "--no-abbrev", "--always")
    answer = repo.ask("diff-tree", *options, stdin="".join(f"{commit}\n" for commit in commits).encode())
    fields = answer.out.decode(errors="surrogateescape").removesuffix("\0").split("\0")
    position = 0
    for commit in commits:
        if fields[position] != commit:
            raise damaged(commit, "git lists its changes in a form that is not known")
        end = position + 1
        while end < len(fields) and fields[end].startswith(":"):
            end += 2
        yield commit, fields[position + 1 : end]
        position = end


def _added(commit: str, changes: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield path and blob of each file, all of which must be new plain files."""
    if not changes:
        raise damaged(commit, "it records nothing")
    for what, path in zip(changes[::2], changes[1::2], strict=True):
        _, mode, _, blob, status = what.split()
        if status != "A":
            verb = {"D": "deletes", "M": "changes", "T": "changes"}.get(status, "touches")
            raise damaged(commit, f"it {verb} {plain(path)}; the ledger only grows")
        if mode != "100644":
            raise damaged(commit, f"{plain(path)} is no plain file")
        yield path, blob


def objects(repo: GitRepo, ids: Sequence[str], kind: bytes) -> dict[str, bytes]:
    """Return git objects by their ids, all of one kind, by one process.

    Raises:
        LedgerError: One is missing, or of another kind.
    """
    out = repo.ask("cat-file", "--batch", stdin="".join(f"{name}\n" for name in ids).encode()).out
    found: dict[str, bytes] = {}
    position = 0
    for name in ids:
        end = out.index(b"\n", position)
        head = out[position:end].split()
        if len(head) != 3 or head[1] != kind:  # noqa: PLR2004 - name, type, size
            raise damaged(name, "the object is missing")
        size = int(head[2])
        found[name] = out[end + 1 : end + 1 + size]
        position = end + 1 + size + 1
    return found


def _records(commit: str, files: Sequence[tuple[str, bytes]]) -> tuple[Record, ...]:
    try:
        records = [parse_record(path, data) for path, data in files]
    except LedgerError as error:
        raise LedgerError(f"commit {commit}: {error.message}", hint=error.hint) from error
    # A tree keeps no order of its own; the path ends in the id, so equal times and titles stay in its order.
    return tuple(sorted(records, key=lambda record: (record.time, record.title)))
