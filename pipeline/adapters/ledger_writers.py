"""Holds the ledger's commits against the rule of who may write what, and signs those that are written here.

Rules: the rule is read once a run, from the protected branch; without its table anybody may write whom the
git server lets. A commit is judged by its own signature, in this process; its place in the history, not its
date, says whether it is from before the rule. What is written here is judged like what others wrote, before
anything points at it. Where the rule asks for no signature, only a key that was named outright signs.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

from pipeline.adapters.gitkeys import NO_KEY, GitKey
from pipeline.adapters.gitrepo import GitRepo
from pipeline.adapters.ledger_faults import rewritten
from pipeline.adapters.ledger_history import Entry, History, objects
from pipeline.adapters.process import Processes
from pipeline.adapters.revoked import revoked_keys
from pipeline.adapters.signed_commit import SignedCommit, read_commit, with_signature
from pipeline.domain.protected_rules import ProtectedRules
from pipeline.domain.record import Kind, Record
from pipeline.domain.ssh_signature import SshSignature, parse_ssh_signature
from pipeline.domain.text import plain
from pipeline.domain.writers import DEMANDABLE, NAMESPACE, Breach, WriterRules, WritersTable, refused
from pipeline.errors import LedgerRemoteError, SignatureError, UsageError


class RuleSource(Protocol):
    """Where the rule is read; `adapters.protected.ProtectedBranch` is one."""

    def writers(self, *, offline: bool = False) -> tuple[WritersTable, ProtectedRules] | None:
        """Return the table, and what else is said there, or None without it; `offline` asks no remote."""


class LedgerWriters:
    """Who may write the ledger, for one run.

    Args:
        source: Where the rule is read.
        key: The key of who works here.
        named: Whether that key was named outright, and not found in git's settings.
        processes: The door to ssh-keygen, which reads binary lists of revoked keys.
        clock: Tells the time, with a time zone.
    """

    def __init__(
        self,
        source: RuleSource,
        key: GitKey,
        *,
        named: bool,
        processes: Processes,
        clock: Callable[[], dt.datetime],
    ) -> None:
        self._source, self._key, self._named = source, key, named
        self._processes, self._clock = processes, clock
        self._read: list[WriterRules | None] = []
        self._good: dict[str, int] = {}
        self._latest = 0
        self._cut_off = False

    def refuse(self, repo: GitRepo, history: History, *, offline: bool = False) -> None:
        """Return if every author may write what he wrote.

        Raises:
            LedgerError: One may not, or the history does not hold the commit that the rule begins with.
            DefinitionError: The rule is wrong.
            LedgerRemoteError: The remote that the rule is read from cannot be reached.
        """
        found = self.breaches(repo, history, offline=offline)
        if found:
            raise refused(found)

    def breaches(self, repo: GitRepo, history: History, *, offline: bool = False) -> tuple[Breach, ...]:
        """Return the commits that their authors may not write, oldest first; raises as `refuse`."""
        rules = self._rules(offline=offline)
        self._latest = 0
        if rules is None:
            return ()
        first = self._first(repo, rules, history, offline=offline)
        listed = [one for one in history.entries[first:] if rules.demanding(_kinds(one.records))]
        new = [one.commit for one in listed if one.commit not in self._good]
        commits = objects(repo, new, b"commit") if new else {}
        return tuple(self._judged(rules, listed, commits))

    def require(self, kinds: frozenset[Kind]) -> None:
        """Return if who works here may write records of these kinds now.

        Where the remote cannot be reached, what this clone fetched last is asked.

        Raises:
            UsageError: They have to be signed, or a key was named, and there is no such key.
            SignatureError: The key may not sign them.
            DefinitionError: The rule is wrong.
        """
        rules = self._known() if kinds else None
        demanded = () if rules is None else rules.demanding(kinds)
        if rules is None or not demanded:
            if self._signs(kinds):
                self._key.require()
            return
        try:
            key = self._key.fingerprint()
        except UsageError as error:
            raise UsageError(
                f"what this records has to be signed, and {error.message}: "
                f"{rules.wanted(demanded)} ({rules.source})",
                hint=NO_KEY,
            ) from error
        why = rules.refusal(demanded, key, [int(self._clock().timestamp())])
        if why:
            raise _unfit(rules, demanded, why)

    def may(self, kinds: Iterable[Kind]) -> bool:
        """Whether who works here may write records of these kinds; raises when that cannot be asked."""
        try:
            self.require(frozenset(kinds))
        except (UsageError, SignatureError):
            return False
        return True

    def signed(self, repo: GitRepo, commit: str, records: Sequence[Record]) -> str:
        """Return the commit with its signature, where it has to have one, or a key was named; else as it is.

        Raises:
            UsageError: There is no key.
            SignatureError: The key could not be used, or may not sign these records.
        """
        rules, kinds = self._known(), _kinds(records)
        demanded = () if rules is None else rules.demanding(kinds)
        if not demanded and not self._signs(kinds):
            return commit
        bare = objects(repo, [commit], b"commit")[commit]
        [signature] = self._key.sign([bare])
        data = with_signature(commit, bare, signature)
        if rules is not None and demanded:
            why, _ = _verdict(rules, demanded, read_commit(commit, data), self._latest)
            if why:
                raise _unfit(rules, demanded, why)
        return repo.ask("hash-object", "-t", "commit", "-w", "--stdin", "--no-filters", stdin=data).text

    def _signs(self, kinds: Iterable[Kind]) -> bool:
        """Whether a key that was named signs such records unasked: those that can be asked for."""
        return self._named and bool(DEMANDABLE & frozenset(kinds))

    def _known(self) -> WriterRules | None:
        """Return the rule, as this clone knows it where the remote cannot be reached."""
        try:
            return self._rules(offline=self._cut_off)
        except LedgerRemoteError:
            self._cut_off = True
            return self._rules(offline=True)

    def _rules(self, *, offline: bool = False) -> WriterRules | None:
        if self._read:
            return self._read[0]
        stated = self._source.writers(offline=offline)
        found = None if stated is None else self._composed(*stated)
        if not offline:
            self._read.append(found)
        return found

    def _composed(self, table: WritersTable, stated: ProtectedRules) -> WriterRules:
        return WriterRules(
            allowed=table.allowed(),
            since=table.since,
            signers=stated.signers,
            revoked=revoked_keys(self._processes, stated.revoked, stated.signers),
            source=stated.source,
        )

    def _first(self, repo: GitRepo, rules: WriterRules, history: History, *, offline: bool) -> int:
        """Return where in the history the rule begins.

        Raises:
            LedgerError: The commit it begins after is not there.
        """
        since = rules.since
        if since is None:
            return 0
        if since in history.positions:
            return history.positions[since] + 1
        if offline and _leads_to(repo, history.tip, since):
            return len(history.entries)
        raise rewritten(
            f"it does not hold {since[:12]}, which [ledger.writers] of {rules.source} says is in it",
            "write it to the ledger's branch again from a clone that has it, or correct `since`",
        )

    def _judged(
        self, rules: WriterRules, entries: Sequence[Entry], commits: dict[str, bytes]
    ) -> Iterator[Breach]:
        for entry in entries:
            if entry.commit not in self._good:
                kinds = _kinds(entry.records)
                commit = read_commit(entry.commit, commits[entry.commit])
                why, time = _verdict(rules, kinds, commit, self._latest)
                if why:
                    yield _breach(rules, entry, commit, why)
                    continue
                self._good[entry.commit] = time
            self._latest = max(self._latest, self._good[entry.commit])


def _verdict(rules: WriterRules, kinds: Iterable[Kind], commit: SignedCommit, latest: int) -> tuple[str, int]:
    """Return why a commit's author may not write these kinds, "" when he may, and its time."""
    if commit.fault or commit.time is None:
        return commit.fault or "its head is not understood", 0
    try:
        signature = parse_ssh_signature(commit.signature)
    except SignatureError as error:
        return f"its signature is no SSH signature: {error.message}", 0
    times = (commit.time, max(latest, commit.time))
    why = _fault(signature, commit.payload) or rules.refusal(kinds, signature.key, times)
    return why, commit.time


def _unfit(rules: WriterRules, kinds: Iterable[Kind], why: str) -> SignatureError:
    return SignatureError(
        f"your key may not sign what this records: {why}; {rules.wanted(kinds)} ({rules.source})",
        hint="sign with a key of one of them (PIPELINE_GIT_KEY), or have [ledger.writers] of the "
        "protected branch changed",
    )


def _fault(signature: SshSignature, payload: bytes) -> str:
    if signature.namespace != NAMESPACE:
        return f"its signature is for {plain(signature.namespace, 60)!r}, not for {NAMESPACE!r}"
    fault = signature.fault(payload)
    return f"its signature is not good: {fault}" if fault else ""


def _breach(rules: WriterRules, entry: Entry, commit: SignedCommit, why: str) -> Breach:
    held = [one for one in entry.records if one.kind in rules.allowed]
    return Breach(
        commit=entry.commit,
        titles=tuple(f"{plain(one.title, 200)} ({one.id[:12]})" for one in held),
        images=frozenset(name for one in held for name in one.names()),
        committer=plain(commit.committer, 200),
        why=why,
        wanted=rules.wanted(_kinds(held)),
        source=rules.source,
    )


def _kinds(records: Iterable[Record]) -> frozenset[Kind]:
    return frozenset(record.kind for record in records)


def _leads_to(repo: GitRepo, tip: str | None, later: str) -> bool:
    """Whether a commit is from before another one that is here."""
    return tip is None or repo.run("merge-base", "--is-ancestor", tip, later).code == 0
