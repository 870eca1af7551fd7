"""The table `[approval]` of `images/pipeline.toml`: who may approve, and the rule of each tier.

Rules: what counts is the table on the protected branch, never the one in a checkout; a tier without people
refuses; everything a rule should ask is asked unless a key that begins with `unsafe_` takes it away, which
warns each time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field, model_validator

from pipeline.domain.allowed_signers import PRINCIPAL
from pipeline.domain.definition import Definition, Name, Pattern, RelativePath, Sentence, Word
from pipeline.domain.evidence import EvidenceKind
from pipeline.domain.idtoken import ACCOUNT, LOGIN, TokenIssuer
from pipeline.domain.image import Tier
from pipeline.domain.people import People

Principal = Annotated[
    str, Pattern(PRINCIPAL.pattern, "principal: letters, digits, '.', '_', '@', '+' and '-'")
]
Login = Annotated[str, Pattern(LOGIN.pattern, "login: letters, digits, '_', '.' and '-'")]
CiIdentity = Annotated[
    str,
    Pattern(
        f"(?:{ACCOUNT}{LOGIN.pattern}|{PRINCIPAL.pattern})",
        "principal or gitlab:LOGIN: letters, digits, '.', '_', '@', '+' and '-'",
    ),
]
IssuerUrl = Annotated[
    str,
    Pattern(
        r"https://[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?(?::[0-9]{1,5})?(?:/[A-Za-z0-9._-]+)*",
        "issuer: https://host[:port][/path], lower case, no '/' at the end",
    ),
]
ProjectPath = Annotated[
    str, Pattern(r"[A-Za-z0-9_.-]+(?:/[A-Za-z0-9_.-]+)+", "project's path: group/project", longest=1024)
]
EnvironmentName = Annotated[
    str,
    Pattern(r"[A-Za-z0-9_/. -]+", "name of an environment: letters, digits, spaces, '_', '/', '.' and '-'"),
]
Outsider = Annotated[
    str,
    Pattern(
        r"[^\x00-\x1f\x7f*]{1,4000}|[^\x00-\x1f\x7f*]{8,4000}\*",
        "name, or 8 characters and more before a '*'",
        4096,
    ),
]


class PeopleTable(Definition):
    """So many people of one role."""

    at_least: int = Field(ge=1, le=20)
    """How many distinct people, each with a key of their own."""
    role: Name
    """The role they are in, from `[approval.roles]`."""


class RuleTable(Definition):
    """What a candidate of one tier needs to be released."""

    people: tuple[PeopleTable, ...] = ()
    """All of these have to approve."""
    any_of: tuple[PeopleTable, ...] = ()
    """One of these has to approve."""
    not_older_than_days: int = Field(default=7, ge=1, le=90)
    """Days after which an approval stops counting, whatever expiry it names."""
    evidence: tuple[Word, ...] = ()
    """Kinds of evidence needed beside sbom, diff, gates and provenance (and boot-test for a base)."""
    ci_identities: tuple[CiIdentity, ...] = ()
    """Who may approve in CI or without a terminal: principals, and `gitlab:LOGIN` for who starts a job."""
    unsafe_no_approval: bool = False
    """Release without anybody's approval."""
    unsafe_builder_may_approve: bool = False
    """Count the approval of who built the image."""
    unsafe_author_may_approve: bool = False
    """Count the approval of who wrote the change, and of keys that came with it."""
    unsafe_without_evidence: tuple[Word, ...] = ()
    """Kinds of evidence that may be missing."""

    @model_validator(mode="after")
    def _known_evidence(self) -> RuleTable:
        known = {kind.value for kind in EvidenceKind}
        for kind in (*self.evidence, *self.unsafe_without_evidence):
            if kind not in known:
                raise ValueError(f"{kind!r} is no kind of evidence; known are {', '.join(sorted(known))}")
        return self

    @model_validator(mode="after")
    def _one_meaning(self) -> RuleTable:
        if self.unsafe_no_approval and (self.people or self.any_of):
            raise ValueError("unsafe_no_approval contradicts people and any_of; leave one of them out")
        return self


class RulesTable(Definition):
    """The rule of each tier; a tier without a rule is not released."""

    upstream: RuleTable = RuleTable()
    """Upstream images."""
    base: RuleTable = RuleTable()
    """Base images."""
    instance: RuleTable = RuleTable()
    """Hosts' images."""


class GitlabTable(Definition):
    """Whose identity tokens prove decisions, and what they have to say."""

    issuer: IssuerUrl
    """The GitLab, as its tokens name it."""
    audience: Annotated[str, Pattern(r"[a-z0-9][a-z0-9._-]{0,63}", "word in lower case")] = "bootc-pipeline"
    """What a token's audience begins with; what is decided follows, so that it is good for nothing else."""
    projects: tuple[ProjectPath, ...] = Field(min_length=1)
    """Projects whose jobs count."""
    refs: tuple[Word, ...] = ()
    """Protected branches the job may run on; empty for the protected branch that this table is on."""
    environments: tuple[EnvironmentName, ...] = Field(min_length=1)
    """Protected environments the job may run in."""
    users: Mapping[Login, Annotated[int, Field(ge=1)]] = Field(default_factory=dict)
    """Login to the account's number. A login can change hands, a number cannot: where any are given, nobody
    else counts."""
    jwks: RelativePath | None = None
    """The issuer's public keys (JWKS), relative to the images folder. With them decisions are checked without
    asking anybody, also after the issuer has new ones; without, with those it publishes at the time."""


class ApprovalSettings(Definition):
    """Who may approve what."""

    branch: Word = "main"
    """The protected branch that this table and the list of signers are read from."""
    remote: Word = "origin"
    """The git remote that protects it."""
    allowed_signers: RelativePath = "keys/allowed_signers"
    """The list of signers (ssh-keygen(1), ALLOWED SIGNERS), relative to the images folder."""
    revoked_keys: RelativePath | None = None
    """Revoked keys, a KRL or public keys one a line, relative to the images folder."""
    gitlab: GitlabTable | None = None
    """Whose identity tokens prove decisions; without it none do."""
    people: Mapping[Name, tuple[Sentence, ...]] = Field(default_factory=dict)
    """Person to every name of theirs: principals, git names and addresses, gitlab:LOGIN, user@host."""
    outsiders: tuple[Outsider, ...] = ()
    """Names of builders and authors who are none of these; one that ends in '*' is all that begin so."""
    roles: Mapping[Name, tuple[Name, ...]] = Field(default_factory=dict)
    """Role to the people in it."""
    rules: RulesTable = RulesTable()
    """The rule of each tier."""

    @model_validator(mode="after")
    def _known_people(self) -> ApprovalSettings:
        for role, members in self.roles.items():
            unknown = sorted(set(members) - self.people.keys())
            if unknown:
                raise ValueError(f"{unknown[0]!r} in the role {role!r} is nobody in [approval.people]")
        owner: dict[str, str] = {}
        for person, names in self.people.items():
            for name in names:
                if owner.setdefault(name.casefold(), person) != person:
                    raise ValueError(
                        f"the name {name!r} belongs to {owner[name.casefold()]!r} and {person!r}"
                    )
        return self

    @model_validator(mode="after")
    def _possible(self) -> ApprovalSettings:
        for tier in Tier:
            table = self.rule_table(tier)
            for one in (*table.people, *table.any_of):
                if one.role not in self.roles:
                    raise ValueError(
                        f"the rule of {tier} names the role {one.role!r}, which [approval.roles] lacks"
                    )
                if one.at_least > len(set(self.roles[one.role])):
                    raise ValueError(
                        f"the rule of {tier} wants {one.at_least} people; fewer have the role {one.role!r}"
                    )
        return self

    @model_validator(mode="after")
    def _issuer_of_accounts(self) -> ApprovalSettings:
        for tier in Tier:
            for name in self.rule_table(tier).ci_identities:
                if name.startswith(ACCOUNT) and self.gitlab is None:
                    raise ValueError(f"the rule of {tier} names {name!r}, and there is no [approval.gitlab]")
        return self

    def token_issuer(self, keys: bytes | None) -> TokenIssuer | None:
        """Return whose tokens count, or None; `keys` is what the file of pinned keys holds, if any."""
        table = self.gitlab
        if table is None:
            return None
        return TokenIssuer(
            issuer=table.issuer,
            audience=table.audience,
            projects=table.projects,
            refs=table.refs or (self.branch,),
            environments=table.environments,
            users=dict(table.users),
            keys=keys,
        )

    def rule_table(self, tier: Tier) -> RuleTable:
        """Return the table of one tier."""
        return {
            Tier.UPSTREAM: self.rules.upstream,
            Tier.BASE: self.rules.base,
            Tier.INSTANCE: self.rules.instance,
        }[tier]

    def who(self) -> People:
        """Return the people."""
        return People(names=dict(self.people), outsiders=self.outsiders)

    def members(self) -> dict[str, frozenset[str]]:
        """Return role to the people in it."""
        return {role: frozenset(people) for role, people in self.roles.items()}
