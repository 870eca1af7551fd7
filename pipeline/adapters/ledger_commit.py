"""Writes one commit of the ledger: record files added to a parent's tree, and a message people can read.

Rules: objects only, no reference moves; the tree is made in an index of its own, never in the user's.
"""

from __future__ import annotations

import datetime as dt
import tempfile
from collections.abc import Sequence
from pathlib import Path

from pipeline.adapters.gitrepo import GitRepo
from pipeline.domain.record import Record, record_bytes, record_path


def write_commit(
    repo: GitRepo,
    parent: str | None,
    records: Sequence[Record],
    *,
    identity: tuple[str, str],
    time: dt.datetime,
) -> str:
    """Write the commit that adds the records to `parent`, or starts a history, and return its id.

    Raises:
        ToolFailedError: Git cannot write to the repository.
    """
    with tempfile.TemporaryDirectory(prefix="pipeline-ledger-") as name:
        folder = Path(name)
        tree = _tree(repo, folder, parent, records)
        message = folder / "message"
        message.write_text(commit_message(records), encoding="utf-8")
        parents = [] if parent is None else ["-p", parent]
        signature = _signature(identity, time)
        return repo.ask("commit-tree", tree, *parents, "-F", str(message), env=signature).text


def commit_message(records: Sequence[Record]) -> str:
    """Return what `git log` shows of a commit: for one record its facts, for many a line each."""
    if len(records) == 1:
        lines = [f"{key}: {value}" for key, value in records[0].summary()]
        return "\n".join([records[0].title, "", *lines]) + "\n"
    kinds = sorted({record.kind.value for record in records})
    lines = [f"{record.title}  {record.id}" for record in records]
    return "\n".join([f"{len(records)} records: {', '.join(kinds)}", "", *lines]) + "\n"


def _tree(repo: GitRepo, folder: Path, parent: str | None, records: Sequence[Record]) -> str:
    index = {"GIT_INDEX_FILE": str(folder / "index")}
    if parent is not None:
        repo.ask("read-tree", f"{parent}^{{tree}}", env=index)
    files = [folder / record.id for record in records]
    for file, record in zip(files, records, strict=True):
        file.write_bytes(record_bytes(record))
    listing = "".join(f"{file}\n" for file in files).encode()
    blobs = repo.ask("hash-object", "-w", "--no-filters", "--stdin-paths", stdin=listing).text.split()
    entries = "".join(
        f"100644 blob {blob}\t{record_path(record)}\0" for blob, record in zip(blobs, records, strict=True)
    )
    repo.ask("update-index", "--add", "-z", "--index-info", stdin=entries.encode(), env=index)
    return repo.ask("write-tree", env=index).text


def _signature(identity: tuple[str, str], time: dt.datetime) -> dict[str, str]:
    name, address = identity
    date = f"@{int(time.timestamp())} +0000"
    return {
        f"GIT_{role}_{what}": value
        for role in ("AUTHOR", "COMMITTER")
        for what, value in (("NAME", name), ("EMAIL", address), ("DATE", date))
    }
