"""Facts and approvals for tests of the approval rule: Ada built and wrote, the others may approve."""

from __future__ import annotations

import dataclasses
import datetime as dt

from records import candidate, digest

from pipeline.domain.allowed_signers import AllowedKey, AllowedSigners
from pipeline.domain.approval_rule import Facts
from pipeline.domain.approval_settings import ApprovalSettings
from pipeline.domain.approvals import Ballot, Vote
from pipeline.domain.decision import Approval, Decided, Method, Proof, Rejection, Withdrawal
from pipeline.domain.gate import Verdict
from pipeline.domain.image import Tier
from pipeline.domain.people import People
from pipeline.domain.record import Candidate

KINDS = ("sbom", "diff", "gates", "provenance", "boot-test")
EVIDENCE = {kind: digest(100 + number) for number, kind in enumerate(KINDS)}
CANDIDATE = candidate(1, evidence=EVIDENCE, author="Ada <ada@example.org>")
LATER = CANDIDATE.time + dt.timedelta(hours=1)
NOW = LATER + dt.timedelta(hours=1)
NAMES = {
    "ada": ("ada@example.org", "ada@laptop"),
    "ben": ("ben@example.org", "Ben"),
    "cleo": ("cleo@example.org",),
    "dan": ("dan@example.org", "dan@old.example.org"),
}
PEOPLE = People(names=NAMES, outsiders=("renovate@example.org", "https://gitlab.example.org/os/-/jobs/*"))
KEYS = {name: f"SHA256:{name}" for name in ("ada", "ben", "cleo", "dan", "eve")}
SIGNERS = AllowedSigners(
    data=b"",
    keys=tuple(AllowedKey(principals=(f"{name}@example.org",), key=key) for name, key in KEYS.items()),
)
ROLES = {"managers": frozenset({"ada", "ben", "cleo", "dan"}), "leads": frozenset({"cleo"})}
TABLE = {
    "people": NAMES,
    "outsiders": PEOPLE.outsiders,
    "roles": {role: tuple(sorted(people)) for role, people in ROLES.items()},
    "rules": {tier.value: {"people": ({"at_least": 2, "role": "managers"},)} for tier in Tier},
}


def settings(**changes: object) -> ApprovalSettings:
    return ApprovalSettings.model_validate({**TABLE, **changes})


def base_rule(**keys: object) -> ApprovalSettings:
    return settings(rules={"base": keys})


def decided(one: Candidate = CANDIDATE, **changes: object) -> Decided:
    base = Decided(
        line=one.line,
        image=one.image,
        tier=one.tier,
        repository=one.repository,
        digest=one.digest,
        candidate=one.id,
        version="1.2.0",
        evidence=one.evidence,
    )
    return dataclasses.replace(base, **changes)  # type: ignore[arg-type]


def proof(name: str) -> Proof:
    return Proof(method=Method.SSH, identity=f"{name}@example.org", key=KEYS[name], text=f"signed-by-{name}")


def approval(name: str = "ben", *images: Decided, **changes: object) -> Approval:
    base = Approval(
        time=LATER,
        author=f"{name} <{name}@example.org>",
        decided=images or (decided(),),
        what="a newer kernel",
        why="fixes the pool import",
        expires=LATER + dt.timedelta(days=7),
        proof=proof(name),
    )
    return dataclasses.replace(base, **changes)  # type: ignore[arg-type]


def rejection(name: str = "ben", *images: Decided) -> Rejection:
    return Rejection(
        time=LATER,
        author=name,
        decided=images or (decided(),),
        why="it does not boot here",
        proof=proof(name),
    )


def withdrawal(of: Approval | Rejection, name: str = "ben") -> Withdrawal:
    return Withdrawal(
        time=NOW, author=name, why="too early", approval=of.id, images=("debian/base",), proof=proof(name)
    )


def vote(name: str, *, identity: str = "", key: str = "", time: dt.datetime = LATER) -> Vote:
    return Vote(
        approval=f"{name:0<64}",
        decided=decided(),
        identity=identity or f"{name}@example.org",
        key=key or KEYS.get(name, f"SHA256:{name}"),
        what="a newer kernel",
        why="fixes the pool import",
        time=time,
        expires=time + dt.timedelta(days=7),
    )


def facts(*votes: Vote, **changes: object) -> Facts:
    base = Facts(
        candidate=CANDIDATE,
        ballot=Ballot(votes=votes),
        predecessor=None,
        authors=("Ada <ada@example.org>",),
        gates={"one-kernel": Verdict.PASS},
        held=frozenset(KINDS),
        people=PEOPLE,
        roles=ROLES,
        signers=SIGNERS,
        now=NOW,
    )
    return dataclasses.replace(base, **changes)  # type: ignore[arg-type]
