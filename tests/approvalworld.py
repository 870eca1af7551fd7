"""A project with a shared repository, a ledger, a list of signers and people with keys, all of it real."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Sequence
from pathlib import Path

from approvalkit import EVIDENCE, KINDS
from ledgers import git, ledger
from records import NOON, candidate
from sshkeys import PROCESSES, listed, ssh_key

from pipeline.adapters.authors import GitAuthors
from pipeline.adapters.ledger import Ledger
from pipeline.adapters.protected import ProtectedBranch
from pipeline.adapters.sshsig import SshKey, SshSignatures
from pipeline.domain.approval_summary import Brief, facts_of
from pipeline.domain.decision import Approval
from pipeline.domain.gate import Verdict
from pipeline.domain.record import Candidate, SourceState
from pipeline.verbs.approve import approve
from pipeline.verbs.deciding import Deciding, Proposal
from pipeline.verbs.standing import Known, Standing, Standings

SETTINGS = """
[approval]
branch = "main"
{more}
[approval.people]
ada = ["ada@example.org", "ada@laptop"]
ben = ["ben@example.org"]
cleo = ["cleo@example.org"]
dan = ["dan@example.org", "dan@old.example.org"]
robot = ["robot@example.org"]
[approval.roles]
managers = ["ada", "ben", "cleo", "dan", "robot"]
[approval.rules.base]
people = [{{ at_least = 2, role = "managers" }}]
{rule}
"""
START = NOON + dt.timedelta(hours=2)
PEOPLE = ("ada", "ben", "cleo", "dan", "eve", "robot")


@dataclasses.dataclass
class Says:
    """A person who answers, and remembers what was asked."""

    answer: bool = True
    asked: list[str] = dataclasses.field(default_factory=list)

    def ask(self, text: str) -> bool:
        self.asked.append(text)
        return self.answer


class World:
    """One project; the time stands still unless it is moved."""

    def __init__(self, folder: Path, *, rule: str = "", more: str = "") -> None:
        self.keys = folder / "keys"
        self.keys.mkdir()
        for name in PEOPLE:
            ssh_key(self.keys, name)
        self.hub = folder / "hub.git"
        git(folder, "init", "-q", "--bare", "-b", "main", str(self.hub))
        with (self.hub / "config").open("a") as settings:
            settings.write("[receive]\n\tautogc = false\n")
        self.top = folder / "checkout"
        git(folder, "clone", "-q", str(self.hub), str(self.top))
        git(self.top, "checkout", "-q", "-b", "main")
        self.images = self.top / "images"
        (self.images / "keys").mkdir(parents=True)
        self._rules: ProtectedBranch | None = None
        self.now = START
        self.shown: list[tuple[Sequence[Brief], Sequence[str]]] = []
        self.settings(SETTINGS.format(rule=rule, more=more))
        self.signers(*(listed(self.keys / name) for name in PEOPLE if name != "eve"))
        self.first = self.commit("start", "ada")
        self.push()

    def settings(self, text: str) -> None:
        (self.images / "pipeline.toml").write_text(text)

    def signers(self, *lines: str) -> None:
        (self.images / "keys/allowed_signers").write_text("".join(lines))

    def commit(self, subject: str, author: str) -> str:
        git(self.top, "add", "-A")
        person = f"{author} <{author}@example.org>"
        git(self.top, "commit", "-q", "--allow-empty", "-m", subject, f"--author={person}")
        return git(self.top, "rev-parse", "HEAD")

    def push(self) -> None:
        git(self.top, "push", "-q", "origin", "main")

    def ledger(self) -> Ledger:
        return ledger(self.top, remote="origin")

    def candidate(self, number: int = 1, **changes: object) -> Candidate:
        """Record a candidate that Ada built from the commit that is checked out."""
        fresh = {
            "evidence": EVIDENCE,
            "author": "Ada <ada@example.org>",
            "source": SourceState(commit=git(self.top, "rev-parse", "HEAD"), clean=True),
        }
        made = candidate(number, **{**fresh, **changes})
        self.ledger().append([made])
        return made

    def rules(self) -> ProtectedBranch:
        """The protected branch, which is asked anew where it stands whenever it is read."""
        if self._rules is None:
            self._rules = ProtectedBranch(self.images, remote="origin")
        return self._rules

    def known(self, one: Candidate, since: str | None = None, **changes: object) -> Known:
        until = one.source.commit
        found = Known(
            authors=GitAuthors(self.top).authors(since, until),
            gates={"one-kernel": Verdict.PASS},
            held=frozenset(KINDS),
            newcomers=self.rules().newcomers(self.rules().read(), since, until),
        )
        return dataclasses.replace(found, **changes)  # type: ignore[arg-type]

    def proposal(
        self, one: Candidate, version: str = "1.0.0", since: str | None = None, **known: object
    ) -> Proposal:
        seen = self.known(one, since, **known)
        return Proposal(candidate=one, version=version, known=seen, facts=facts_of(one))

    def deciding(self, name: str, identity: str | None = None) -> Deciding:
        return Deciding(
            ledger=self.ledger(),
            rules=self.rules(),
            signatures=SshSignatures(PROCESSES),
            key=SshKey(PROCESSES, self.keys / name),
            identity=identity,
            author=f"{name} <{name}@example.org>",
            clock=lambda: self.now,
        )

    def approve(
        self,
        name: str,
        *proposals: Proposal,
        person: Says | None = None,
        nobody: bool = False,
        identity: str | None = None,
    ) -> Approval:
        return approve(
            proposals,
            self.deciding(name, identity),
            person=None if nobody else person or Says(),
            show=lambda briefs, warnings: self.shown.append((briefs, warnings)),
            what="a newer kernel",
            why="fixes the pool import",
        )

    def stand(self, one: Candidate, now: dt.datetime | None = None, **known: object) -> Standing:
        rules, records = self.rules().read(), self.ledger().read()
        found = Standings(records, rules, SshSignatures(PROCESSES), now=now or self.now)
        return found.of(one, self.known(one, **known))  # type: ignore[arg-type]

    def why(self, one: Candidate, now: dt.datetime | None = None, **known: object) -> str:
        """Everything that keeps a candidate from its release, in words."""
        return "\n".join(str(refusal) for refusal in self.stand(one, now, **known).refusals)
